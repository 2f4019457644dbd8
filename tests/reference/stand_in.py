"""`optim` in the place of Optax in `sys.modules`: a library that imports `optax` gets this one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(importlib.util.find_spec("optax").submodule_search_locations[0])  # which does not import it

import jax  # noqa: E402

import optim  # noqa: E402

# Private names that the tests use as tools: what they test is something else.
TOOLS = {
    "ArrayTree": dict,
    "PRNGKey": jax.Array,
    "Shape": tuple,
    "abs_sq": optim.numerics.abs_sq,
    "x64_precision": jax.enable_x64,
}


def modules():
    """The dotted names of the modules and packages of Optax, without its tests and their helper."""
    yield "optax"
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        package = path.is_dir() and path.name != "__pycache__"
        if package or (path.suffix == ".py" and not parts[-1].endswith(("_test", "test_utils", "__init__"))):
            yield ".".join(parts)


def here(name):
    """`optim.tree` for `optax.tree`; None for a module that this library does not have."""
    x = optim
    for part in name.split(".")[1:]:
        x = getattr(x, part, None)
    return x if isinstance(x, ModuleType) else None


class Private(ModuleType):
    """A private module of Optax, as the public names of `places`."""

    def __init__(self, name, places):
        super().__init__(name)
        self.places = places
        self.__path__ = [str(ROOT.parent.joinpath(*name.split(".")))]  # of a package: its tests import one another

    def __getattr__(self, name):
        if name in TOOLS:
            return TOOLS[name]
        for place in () if name.startswith("_") else self.places:
            x = getattr(place, name, None)
            if x is not None and not isinstance(x, ModuleType):
                return x
        raise AttributeError(f"{self.__name__} has no public name {name!r} here")


def install(private=True):
    """Replace `optax` and its public modules, and, if `private`, its private modules by the public names."""
    public = {name: here(name) for name in modules() if "._" not in name}
    sys.modules.update(public)  # the import of a name that is None fails
    namespaces = [optim, *(x for x in public.values() if x not in (None, optim, optim.tree))]
    for name in modules() if private else ():
        if name not in public:
            package, _, last = name.rpartition(".")
            own = public[name[: name.index("._")]]
            nearest = [x for x in (getattr(own, last[1:], None), own) if isinstance(x, ModuleType)]
            module = Private(name, [*nearest, *namespaces])
            if isinstance(sys.modules[package], Private):
                setattr(sys.modules[package], last, module)
            # `from optax.losses import _classification` asks the module `optim.losses`, by its name.
            sys.modules[name] = sys.modules[name.replace("optax", "optim", 1)] = module

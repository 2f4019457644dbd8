"""The namespaces: every public name of Optax is in ours, each lists public names only, and nothing hides one."""

import inspect
from pathlib import Path

import pytest

import optim

from ..every.rows import check_all
from .parts import MODULES, bound_names, imports_for_type_checkers
from .test_rooms import python

optax = pytest.importorskip("optax", reason="Optax is a test dependency")


def public(module):
    """The public names of a module of Optax, without what it has imported for itself."""
    private = module.__name__.rpartition(".")[2].startswith("_")
    for name in dir(module):
        value = getattr(module, name)
        home = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", "")
        own = home == module.__name__ if private else not inspect.ismodule(value) or home.startswith("optax")
        if own and not name.startswith("_"):
            yield name


def namespaces(module, path):
    """(path, module) of a module of Optax and of the public ones within."""
    yield path, module
    for name in public(module):
        if inspect.ismodule(getattr(module, name)):
            yield from namespaces(getattr(module, name), f"{path}.{name}")


def ours(path):
    found = optim
    for part in path.split(".")[1:]:
        found = getattr(found, part)
    return found


# Until there are losses here, nothing is asked of them.
LOSSES = set() if "losses" in optim.__all__ else {"losses", *public(optax.losses)}
THEIRS = [(path, module) for path, module in namespaces(optax, "optim") if path.rpartition(".")[2] not in LOSSES]
OURS = sorted({path for path, _ in THEIRS})


def test_every_name_of_optax_is_in_its_namespace():
    def check(case):
        path, theirs = case
        mine = ours(path)
        wanted = set(public(theirs)) - (LOSSES if path == "optim" else set())
        assert len(wanted) > 0
        assert wanted - set(dir(mine)) == set()
        for name in wanted:
            there, here = getattr(theirs, name), getattr(mine, name)
            assert inspect.ismodule(here) == inspect.ismodule(there), name
            assert inspect.isclass(here) >= inspect.isclass(there), name
            assert callable(here) or not inspect.isfunction(there), name

    check_all(THEIRS, check, name=lambda case: case[0])


def test_optax_was_read():
    assert len(THEIRS) > 10
    assert {"optim.transforms", "optim.experimental.aggregating"} <= set(OURS)
    assert sum(len(list(public(module))) for _, module in THEIRS) > 400


def test_namespaces_list_public_names_only():
    def check(path):
        module = ours(path)
        listed = set(dir(module)) - {"__version__"}
        assert listed == set(module.__all__)
        for name in listed:
            value = getattr(module, name)
            home = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", "")
            assert not name.startswith("_")
            assert home.split(".")[0] in ("optim", "typing"), name  # a type alias is of typing

    check_all(OURS, check)


def test_one_name_is_one_thing():
    """A name of a namespace that `optim` has too is the same object."""

    def check(path):
        for name in set(dir(ours(path))) & set(optim.__all__):
            if path not in ("optim.tree", "optim.keras"):  # tree.scale and scale are two functions
                assert getattr(ours(path), name) is getattr(optim, name), name

    check_all(OURS, check)


def test_no_file_has_the_name_of_a_function():
    """Importing the file would put the module in the function's place."""

    def functions(module):
        return {n for n in module.__all__ if not inspect.ismodule(getattr(module, n))}

    def check(path):
        place = Path(ours(path).__file__)
        if place.name == "__init__.py":
            files = {p.stem for p in place.parent.iterdir()}
            assert files & (functions(ours(path)) | functions(optim)) == set()

    check_all(OURS, check)


def test_names_from_above_are_what_type_checkers_read():
    """A namespace names what higher rooms define: in an import that only type checkers read, and in `__all__`."""

    def check(module):
        nodes = list(imports_for_type_checkers(module))
        assert all((node.module, node.level) == (None, 2) for node in nodes)
        names = [alias.name for node in nodes for alias in node.names]
        if names:
            namespace = ours(module)
            bound = {n for n in bound_names(module) if not n.startswith("_")}
            assert sorted({*bound, *names}) == namespace.__all__
            assert all(getattr(namespace, n) is getattr(optim, n) for n in names)

    check_all(MODULES, check)


def test_every_way_to_import():
    """In a new interpreter, where nothing has been asked for before."""
    code = """
        import optim.contrib, optim.transforms.clipping
        from optim.contrib import schedule_free_adamw
        from optim.transforms import MultiSteps, clip
        import optim.schedules as s
        assert optim.transforms.clip is clip is optim.clip
        assert optim.contrib.schedule_free_adamw is schedule_free_adamw
        assert s.cosine_decay_schedule is optim.cosine_decay_schedule
        from optim.schedules import *
        from optim.second_order import *
        assert inject_hyperparams is optim.inject_hyperparams and hvp is optim.second_order.hvp
    """
    run = python("\n".join(line.strip() for line in code.splitlines()))
    assert run.returncode == 0, run.stderr

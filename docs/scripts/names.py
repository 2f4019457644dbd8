"""What the library has for its users: the public names, in the groups of `optim/__init__.py`."""

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optim
import optim.interop
from optim.core.registry import Entry

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Name:
    """A public name: where users find it, and the module that it is from."""

    path: str
    module: str

    @property
    def value(self) -> Any:
        return functools.reduce(getattr, self.path.split(".")[1:], optim)

    @property
    def entry(self) -> Entry | None:
        return by_name().get(self.path.removeprefix("optim."))

    @property
    def is_state(self) -> bool:
        """A named tuple that is made for its users, not by them."""
        value = self.value
        tuples = isinstance(value, type) and hasattr(value, "_fields")
        return tuples and not issubclass(value, optim.GradientTransformation)


@functools.cache
def by_name() -> dict[str, Entry]:
    return {entry.name: entry for entry in optim.entries()}


@functools.cache
def groups() -> dict[str, list[Name]]:
    """Title -> names: a comment in `optim/__init__.py` is the title of the imports below it."""
    text = (ROOT / "optim" / "__init__.py").read_text()
    titles = [(i, line[2:]) for i, line in enumerate(text.splitlines(), 1) if line.startswith("# ")]
    found: dict[str, list[Name]] = {}
    for node in ast.parse(text).body:
        title = next((t for i, t in reversed(titles) if i < node.lineno), None)
        if title is None or not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        for alias in node.names:
            found.setdefault(title, []).append(Name(f"optim.{alias.asname}", f"optim.{node.module}"))
    return found


def of_module(module: Any) -> list[Name]:
    """The public names of a module that is itself public."""
    listed = getattr(module, "__all__", None) or [
        n for n, x in vars(module).items() if not n.startswith("_") and from_here(x, module)
    ]
    unique: dict[int, str] = {}
    for name in sorted(listed, key=str.lower):
        value = getattr(module, name)
        if not isinstance(value, types.ModuleType):
            unique.setdefault(id(value), name)
    return [Name(f"{module.__name__}.{n}", getattr(getattr(module, n), "__module__", "")) for n in unique.values()]


def from_here(x: Any, module: Any) -> bool:
    return callable(x) and str(getattr(x, "__module__", "")).startswith(module.__name__)


@functools.cache
def adapters() -> list[Any]:
    """The modules for other libraries, none of which is imported by that; what has an underscore helps them."""
    found = [m.name for m in pkgutil.iter_modules(optim.interop.__path__) if "_" not in m.name]
    return [importlib.import_module(f"optim.interop.{name}") for name in found]


@functools.cache
def links() -> Mapping[str, str]:
    """What may stand in backticks -> the place of its entry."""
    found = {}
    for name in [n for names in groups().values() for n in names] + of_module(optim.keras):
        short = name.path.removeprefix("optim.")
        found |= {short: name.path, name.path: name.path}
    for module in (optim.tree, optim.projections, *adapters()):
        for name in of_module(module):
            found |= {name.path.removeprefix("optim."): name.path, name.path: name.path}
    return found


def slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def sentence(x: Any) -> str:
    return (inspect.getdoc(x) or "").partition("\n")[0]


def others() -> list[tuple[str, str]]:
    """(name, name) of what has two."""
    body = ast.parse((ROOT / "optim" / "__init__.py").read_text()).body
    return [
        (node.targets[0].id, node.value.id)
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Name)
    ]

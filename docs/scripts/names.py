"""The public names of the library, grouped by the modules that `optim/__init__.py` imports them from."""

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

TITLES = {
    "combine": "Combining",
    "combine.labels": "Groups of parameters",
    "core": "The pair",
    "core.config": "The record of a call",
    "core.edit": "Editing",
    "core.inspection": "Inspection",
    "core.record": "The record of a call",
    "core.registry": "The record of a call",
    "lift": "Custom transformations",
    "linesearch": "Line searches",
    "matrix": "Numbers, trees and types",
    "numerics": "Numbers, trees and types",
    "portable": "Portable states",
    "distributions": "Numbers, trees and types",
    "microbatching": "Micro-batches",
    "step": "Training steps",
    "transforms": "Transformations",
    "tree": "Numbers, trees and types",
    "tree.follow": "Trees shaped like the parameters",
    "tree.packing": "Packing",
    "tree_utils": "Numbers, trees and types",
    "types": "Numbers, trees and types",
}
"""Module below `optim` -> title. A module without an entry has the title of its package, else the package's name."""


@dataclass(frozen=True)
class Name:
    """A public name: its path for users, and the module that defines it."""

    path: str
    module: str

    @property
    def short(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def value(self) -> Any:
        return functools.reduce(getattr, self.path.split(".")[1:], optim)

    @property
    def entry(self) -> Entry | None:
        return by_name().get(self.path.removeprefix("optim."))

    @property
    def is_state(self) -> bool:
        """Whether it is a state class: a named tuple that the library makes, not the user."""
        value = self.value
        tuples = isinstance(value, type) and hasattr(value, "_fields")
        return tuples and "update" not in value._fields


@functools.cache
def by_name() -> dict[str, Entry]:
    return {entry.name: entry for entry in optim.entries()}


@functools.cache
def groups() -> dict[str, list[Name]]:
    """Title -> the names that `optim/__init__.py` imports from the modules of that title, and the losses below it."""
    by_title: dict[str, list[Name]] = {}
    for node in ast.parse((ROOT / "optim" / "__init__.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            imported = [Name(f"optim.{alias.asname}", f"optim.{node.module}") for alias in node.names]
            by_title.setdefault(title_of(node.module), []).extend(imported)
    by_title[title_of("losses")] += [n for n in of_module(optim.losses) if not hasattr(optim, n.short)]
    return by_title


def title_of(module: str) -> str:
    """The title of a module's names, given its path below `optim`."""
    room = module.partition(".")[0]
    return TITLES.get(module) or TITLES.get(room) or room.capitalize()


def of_module(module: Any) -> list[Name]:
    """The public names of a public module."""
    listed = getattr(module, "__all__", None) or [
        n for n, x in vars(module).items() if not n.startswith("_") and defined_in(x, module)
    ]
    unique: dict[int, str] = {}
    for name in sorted(listed, key=lambda n: (getattr(getattr(module, n), "__name__", n) != n, n.lower())):
        value = getattr(module, name)
        if not isinstance(value, types.ModuleType):
            unique.setdefault(id(value), name)
    return [Name(f"{module.__name__}.{n}", getattr(getattr(module, n), "__module__", "")) for n in unique.values()]


@functools.cache
def namespaces() -> dict[str, list[Name]]:
    """Public module -> its names that `optim` does not have; of trees and projections all names."""
    found = {f"optim.{m}": of_module(getattr(optim, m)) for m in ("tree", "projections")}
    rooms = [x for n in optim.__all__ if inspect.ismodule(x := getattr(optim, n))]
    skipped = (optim.interop, optim.keras, optim.tree_utils, optim.experimental)
    for module in [*rooms, optim.experimental.aggregating]:
        if module not in skipped and module.__name__ not in found:
            own = [n for n in of_module(module) if getattr(optim, n.path.rpartition(".")[2], None) is not n.value]
            found |= {module.__name__: own} if own else {}
    return found | {module.__name__: of_module(module) for module in adapters()}


def defined_in(x: Any, module: Any) -> bool:
    return callable(x) and str(getattr(x, "__module__", "")).startswith(module.__name__)


@functools.cache
def adapters() -> list[Any]:
    """The adapters to other libraries; importing them does not import the libraries. Helpers have an underscore."""
    paths = [m.name for m in pkgutil.iter_modules(optim.interop.__path__) if "_" not in m.name]
    return [importlib.import_module(f"optim.interop.{name}") for name in paths]


@functools.cache
def links() -> Mapping[str, str]:
    """Name in backticks -> the anchor of its entry."""
    anchors = {}
    for name in [n for names in groups().values() for n in names] + of_module(optim.keras):
        short = name.path.removeprefix("optim.")
        anchors |= {short: name.path, name.path: name.path}
    for name in [n for members in namespaces().values() for n in members]:
        anchors |= {name.path.removeprefix("optim."): name.path, name.path: name.path}
        if name.path.split(".")[1] not in ("tree", "projections", "interop"):
            anchors.setdefault(name.path.rpartition(".")[2], name.path)
    return anchors


def slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def sentence(x: Any) -> str:
    return (inspect.getdoc(x) or "").partition("\n")[0]


def aliases() -> list[tuple[str, str]]:
    """(alias, name) of objects with two public names."""
    body = ast.parse((ROOT / "optim" / "__init__.py").read_text()).body
    return [
        (node.targets[0].id, node.value.id)
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Name)
    ]

"""Reading and setting the fields of a state by name."""

import builtins
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from .. import checks
from ..types import Tree
from .places import children, entry_name, structure

T = TypeVar("T")
Path = tuple[Any, ...]
Filter = Callable[[Path, Any], bool]


@dataclass(frozen=True)
class NamedTupleKey:
    """An entry of a path: the field `name` of a named tuple of class `tuple_name`."""

    tuple_name: str
    name: str

    def __str__(self) -> str:
        return f"{self.tuple_name}.{self.name}"


def _is_named_tuple(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")


def _entries(tree: Tree) -> list[tuple[Any, Any]] | None:
    """The entries one level down, with the class name for named tuples; None for a leaf."""
    found = children(tree)
    if found is None or not _is_named_tuple(tree):
        return found
    return [(NamedTupleKey(type(tree).__name__, entry_name(entry)), child) for entry, child in found]


def _shown(path: Path) -> str:
    return "state" + "".join(f".{k.name}" if isinstance(k, NamedTupleKey) else keystr((k,)) for k in path)


def _walk(tree: Tree, key: Any, keep: Filter | None, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The matches in `tree`: the class of the tree itself, then its own entries, then what is in each of them."""
    named = path and entry_name(path[-1]) == key  # a match that the caller has yielded
    if not named and _is_named_tuple(tree) and type(tree).__name__ == key and (keep is None or keep(path, tree)):
        yield path, tree
    below = [((*path, entry), child) for entry, child in _entries(tree) or ()]
    for place, child in below:
        if entry_name(place[-1]) == key and (keep is None or keep(place, child)):
            yield place, child
    for place, child in below:
        yield from _walk(child, key, keep, place)


def get_all_with_path(tree: Tree, key: Any, filtering: Filter | None = None) -> list[tuple[Path, Any]]:
    """Find every field, attribute or dict entry named `key`, and every named tuple of that class, with their paths.

        get_all_with_path(state, "mu")  # [((..., NamedTupleKey("ScaleByAdamState", "mu")), {...})]

    A match is searched too, after its neighbours. Fields of named tuples are `NamedTupleKey`s in a path.

    Args:
      tree: a state, or any tree.
      key: the name of a field, attribute or dict entry, or of a class.
      filtering: function (path, value) -> bool that selects among the matches; None takes all.
    """
    return list(_walk(tree, key, filtering))


@checks.entrance("tree.get")
def get(tree: Tree, key: Any, default: Any = None, filtering: Filter | None = None) -> Any:
    """The value of the field named `key`; several scalars with this name must be equal.

        get(state, "learning_rate")

    Args:
      tree: a state, or any tree.
      key: the name of a field, attribute or dict entry, or of a class.
      default: the result if there is no match.
      filtering: function (path, value) -> bool that selects among the matches; None takes all.
    Raises:  KeyError for several matches, unless they are equal scalars, with two of their paths.
    Differs: Optax raises for equal scalars too, such as the counters of a chain.
    """
    found = get_all_with_path(tree, key, filtering)
    if not found:
        return default
    (first_path, first), *others = found
    for path, value in others:
        problem = _conflict(first, value)
        if problem:
            checks.fail(
                f"{_shown(first_path)} and {_shown(path)} {problem}; choose with filtering=lambda path, value: ...",
                KeyError,
            )
    return first


def _conflict(a: Tree, b: Tree) -> str:
    """Why two matches are not the same scalar. Arrays never are: zeros are equal only before the first update."""
    if not (_is_scalar(a) and _is_scalar(b)):
        return "are several matches, and only equal scalars count as one"
    if a is b:
        return ""
    if checks.is_traced(a) or checks.is_traced(b):
        return "are being traced, and may differ"
    keys = checks.is_key(a) and checks.is_key(b)
    return "" if bool(jnp.array_equal(a, b) if keys else np.asarray(a) == np.asarray(b)) else "differ"


def _is_scalar(x: Any) -> bool:
    """Whether x is a number, a string or anything else without entries."""
    return x is None or (_entries(x) is None and np.ndim(x) == 0)


@checks.entrance("tree.set")
def set(tree: T, filtering: Filter | None = None, /, **kwargs: Any) -> T:
    """Replace every field named by a keyword; the dtypes stay, so that nothing is retraced.

        state = set(state, learning_rate=1e-4)

    A tree may be replaced by one of another structure, and an array by one of another shape: a layer was added.

    Args:
      tree: a state, or any tree.
      filtering: function (path, value) -> bool that selects among the matches; None takes all.
      kwargs: the new values by name.
    Raises:  KeyError for a name without a match, with similar names; ValueError for another kind of value: an array
             for a scalar, a number for a tree.
    Differs: Optax accepts any value, and the dtypes follow it.
    """
    for key, value in kwargs.items():
        places = [path for path, _ in get_all_with_path(tree, key, filtering)]
        if not places:
            fields = {str(entry_name(k)) for p, _ in jax.tree_util.tree_flatten_with_path(tree)[0] for k in p}
            checks.fail(f"nothing named {key!r} in the state{_hint(key, fields)}", KeyError)
        tree = _replace(tree, frozenset(places), value)
    return tree


def _hint(key: str, fields: builtins.set[str]) -> str:
    """What to do where a state has no field `key`; `fields` are the names it has."""
    names = checks.hyperparameters(key)
    matching = [name for name in names if name in fields]
    if matching:
        return f"; did you mean {matching[0]!r}?"
    if not names:
        return checks.near(key, fields)
    name = names[0]
    factory = {"weight_decay": "adamw", "momentum": "sgd"}.get(name, "adam")
    where = "scale_by_learning_rate" if name == "learning_rate" else factory
    return (
        f": {name} is part of the transformation. inject_hyperparams({factory})({name}=...) keeps it in the state; "
        f"optim.replace(tx, {where!r}, {name}=...) makes the transformation anew, and its old state fits"
    )


def _replace(tree: Tree, places: frozenset[Path], value: Any, path: Path = ()) -> Tree:
    if path in places:
        return _fitted(tree, value, path)
    children = _entries(tree)
    if children is None:
        return tree
    new = [_replace(child, places, value, (*path, entry)) for entry, child in children]
    return jax.tree.unflatten(jax.tree.structure(tree, is_leaf=lambda x: x is not tree), new)


def _fitted(old: Any, value: Any, path: Path) -> Any:
    """The new value, in the dtypes of the old one where they have the same structure."""
    if not (old is None or value is None) and _kind(old) != _kind(value):
        checks.fail(f"{_shown(path)} is {_kind(old)}, the new value is {checks.shown(value)}")

    def fit(o: Any, v: Any) -> Any:
        typed = isinstance(o, jax.Array) and not jnp.issubdtype(o.dtype, jax.dtypes.extended)
        return jnp.asarray(v, o.dtype) if typed else v

    return jax.tree.map(fit, old, value) if structure(old) == structure(value) else value


def _kind(x: Any) -> str:
    if _entries(x) is not None:
        return "a tree"
    return "an array" if np.ndim(x) else "a scalar"

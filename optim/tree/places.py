"""Leaves, structures and paths of trees, and two trees side by side.

`None` is a leaf here and means: nothing. So is a gradient of dtype float0, JAX's own word for nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey, keystr

from .. import checks
from ..types import Array, Tree

TreeDef = Any


def is_none(x: Any) -> bool:
    return x is None


def absent(x: Any) -> bool:
    """Nothing here: no gradient, or no parameter."""
    return x is None or getattr(x, "dtype", None) == jax.dtypes.float0


def trainable(x: Any) -> bool:
    """Whether a gradient can move `x`: integers and booleans are carried along and have no slots."""
    return not absent(x) and jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def is_function(x: Any) -> TypeGuard[Callable[..., Any]]:
    """A function of a tree, and not a tree that can also be called, as a module can."""
    return callable(x) and jax.tree_util.all_leaves([x])


def flatten(tree: Tree, is_leaf: Callable[[Any], bool] = is_none) -> tuple[list[Any], TreeDef]:
    """Leaves, `None` among them, and the structure."""
    return jax.tree.flatten(tree, is_leaf=is_leaf)


def structure(tree: Tree) -> TreeDef:
    """The structure in which `None` is a leaf."""
    return jax.tree.structure(tree, is_leaf=is_none)


def paths(tree: Tree, is_leaf: Callable[[Any], bool] = is_none) -> list[str]:
    """The path of each leaf as a reader would index it: `['layer']['w']`."""
    return [keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)[0]]


def names(tree: Tree) -> list[str]:
    """The path of each leaf in words: `layer/w`."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_none)
    return ["/".join(words) for words in in_words([path for path, _ in found])]


def in_words(paths: list[Any]) -> list[tuple[str, ...]]:
    """The entries of all paths of a tree as words. A box, which holds one leaf as its `value`, adds none."""
    inside = Counter(path[:i] for path in paths for i in range(len(path)))
    shorter = [p[:-1] if p and _is_value(p[-1]) and inside[p[:-1]] == 1 else p for p in paths]
    return [tuple(str(entry_name(k)) for k in path) for path in shorter]


def _is_value(entry: Any) -> bool:
    return isinstance(entry, GetAttrKey) and entry.name == "value"


def unboxed(x: Any) -> Any:
    """What a box holds, as other libraries put variables into them; anything else as it is."""
    found = children(x)
    return found[0][1] if found and len(found) == 1 and _is_value(found[0][0]) else x


def map(f: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """`jax.tree.map` that leaves alone every place where `tree` has nothing."""

    def visit(x: Any, *others: Any) -> Any:
        return x if absent(x) else f(x, *others)

    return jax.tree.map(visit, tree, *rest, is_leaf=is_none)


def leaves(tree: Tree) -> list[Any]:
    """The leaves that are there."""
    return [x for x in flatten(tree)[0] if not absent(x)]


def match(tree: Tree, other: Tree, name: str, other_name: str) -> list[Any]:
    """The leaves of `tree` in the places of `other`; where `tree` has `None` for a whole branch, so has each place.

    Raises: ValueError naming the first path at which the two differ.
    """
    found, mine = flatten(tree)
    wanted = structure(other)
    if mine == wanted:
        return found
    try:
        parts = wanted.flatten_up_to(_filled_in(tree, other))
    except ValueError:
        _differ(tree, other, name, other_name)
    for part, place in zip(parts, paths(other), strict=True):
        if not jax.tree_util.all_leaves([part], is_leaf=is_none):
            checks.fail(f"{name}{place} is a {type(part).__name__}, {other_name}{place} is a leaf")
    return list(parts)


def _filled_in(tree: Tree, other: Tree) -> Tree:
    """`tree` with each `None` that stands for a branch of `other` spread over that branch."""
    if tree is None:
        return jax.tree.map(lambda _: None, other, is_leaf=is_none)
    mine, others = children(tree), children(other)
    if mine is None or others is None or [k for k, _ in mine] != [k for k, _ in others]:
        return tree
    inner = [_filled_in(a, b) for (_, a), (_, b) in zip(mine, others, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(tree, is_leaf=lambda x: x is not tree), inner)


def children(tree: Tree) -> list[tuple[Any, Any]] | None:
    """The entries one level down, or None for a leaf."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    if len(found) == 1 and found[0][0] == ():
        return None
    return [(path[0], child) for path, child in found]


def spread(prefix: Tree, full: Tree, name: str, is_leaf: Callable[[Any], bool] = is_none) -> list[Any]:
    """The leaves of `prefix`, repeated over the branches of `full` that they stand for.

    Raises: ValueError naming the first paths that the one has and the other not.
    """
    out: list[Any] = []

    def repeat(leaf: Any, branch: Tree) -> None:
        out.extend([leaf] * len(flatten(branch)[0]))

    try:
        jax.tree.map(repeat, prefix, full, is_leaf=is_leaf)
    except ValueError as error:
        mine, others = paths(prefix, is_leaf), paths(full)
        told = [f"{name}{p} is not in params" for p in mine if not any(o.startswith(p) for o in others)]
        told += [f"params{o} is not in {name}" for o in others if not any(o.startswith(p) for p in mine)]
        why = "; ".join(told[:4]) or str(error).splitlines()[0]
        checks.fail(f"{name} must be a prefix of the parameters' tree: {why}")
    return out


def _differ(tree: Tree, other: Tree, name: str, other_name: str) -> None:
    mine, others = paths(tree), paths(other)
    told = [f"{name}{p} is not in {other_name}" for p in mine if p not in others]
    told += [f"{other_name}{p} is not in {name}" for p in others if p not in mine]
    if not told:
        told = [f"{name} is {jax.tree.structure(tree)}, {other_name} is {jax.tree.structure(other)}"]
    checks.fail("; ".join(told[:4]))


def entry_name(entry: Any) -> Any:
    """The key, field name or index that an entry of a path stands for."""
    match entry:
        case DictKey() | FlattenedIndexKey():
            return entry.key
        case GetAttrKey():
            return entry.name
        case SequenceKey():
            return entry.idx
        case _:
            return getattr(entry, "name", str(entry))


# Side by side


def aligned(trees: Mapping[str, Tree], *, strict: bool = False) -> list[tuple[Any, ...]]:
    """The leaves of several trees, place by place of the first; trees have the names that errors call them.

    Where the first has nothing, the others may have anything, unless `strict` asks that they have nothing too.

    Raises: ValueError naming the first path at which presence, shape or structure differ.
    """
    (name, tree), *others = trees.items()
    found, wanted = flatten(tree)
    columns = [found]
    for other_name, other in others:
        try:
            column = wanted.flatten_up_to(_filled_in(other, tree))
        except ValueError:
            _differ(other, tree, other_name, name)
        for i, (x, y) in enumerate(zip(found, column, strict=True)):
            _check(x, y, name, other_name, tree, i, strict=strict)
        columns.append(list(column))
    return list(zip(*columns, strict=True))


def _check(x: Any, y: Any, name: str, other_name: str, tree: Tree, i: int, *, strict: bool) -> None:
    told = ""
    if not absent(x) and not jax.tree_util.all_leaves([y], is_leaf=is_none):
        told = f"is a {type(y).__name__}, {name}{{0}} is a leaf"
    elif absent(y) and not absent(x):
        told = f"is None, {name}{{0}} is an array"
    elif absent(x) and strict and not all(absent(z) for z in jax.tree.leaves(y)):
        told = f"is an array, {name}{{0}} is None"
    elif not absent(x) and jnp.shape(x) != jnp.shape(y):
        told = f"has shape {jnp.shape(y)}, {name}{{0}} has {jnp.shape(x)}"
    if told:
        path = paths(tree)[i]
        checks.fail(f"{other_name}{path} {told.replace('{0}', path)}")


def together(f: Callable[..., Any], trees: Mapping[str, Tree], *, strict: bool = False) -> Tree:
    """`f` on the leaves of several trees, place by place, as `aligned` finds them; nothing where the first has none."""
    _, places = flatten(next(iter(trees.values())))
    return places.unflatten([xs[0] if absent(xs[0]) else f(*xs) for xs in aligned(trees, strict=strict)])


def as_array(x: Any) -> Array:
    """A Python scalar becomes the weakly typed array that JAX makes of it."""
    return x if isinstance(x, jax.Array) else jnp.asarray(x)

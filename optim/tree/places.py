"""Leaves, structures and paths of trees, and leaves of several trees side by side.

`None` is a leaf here: an absent gradient or parameter. So is an array of dtype float0, JAX's type of absent gradients,
and the code of an array, `Coded`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeGuard

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey, keystr

from .. import checks
from ..types import Array, Tree
from .coded import inside, is_coded, is_leaf as counts_as_leaf

TreeDef = Any


def is_none(x: Any) -> bool:
    """Whether x is `None`.

    Args:
      x: anything.
    """
    return x is None


def absent(x: Any) -> bool:
    """Whether x is an absent gradient or parameter: `None` or of dtype float0.

    Args:
      x: a leaf.
    """
    return x is None or getattr(x, "dtype", None) == jax.dtypes.float0


def trainable(x: Any) -> bool:
    """Whether a gradient can move x: False for `None`, integers and booleans, which have no slots.

    Args:
      x: a leaf.
    """
    return not absent(x) and jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def is_function(x: Any) -> TypeGuard[Callable[..., Any]]:
    """Whether x is a function, and not a callable tree, such as a module.

    Args:
      x: anything.
    """
    return callable(x) and jax.tree_util.all_leaves([x])


def flatten(tree: Tree, is_leaf: Callable[[Any], bool] = counts_as_leaf) -> tuple[list[Any], TreeDef]:
    """The leaves, `None` among them, and the structure.

        flatten({"a": 1, "b": None})[0]  # [1, None]

    Args:
      tree: a tree.
      is_leaf: function that decides what counts as a leaf, as in `jax.tree.flatten`.
    """
    return jax.tree.flatten(tree, is_leaf=is_leaf)


def structure(tree: Tree) -> TreeDef:
    """The structure of a tree in which `None` is a leaf.

    Args:
      tree: a tree.
    """
    return jax.tree.structure(tree, is_leaf=counts_as_leaf)


def paths(tree: Tree, is_leaf: Callable[[Any], bool] = counts_as_leaf) -> list[str]:
    """The path of each leaf in Python's notation: `['layer']['w']`.

    Args:
      tree: a tree.
      is_leaf: function that decides what counts as a leaf; None always does by default.
    """
    return [keystr(path) for path, _ in with_paths(tree, is_leaf)]


def names(tree: Tree) -> list[str]:
    """The path of each leaf, joined by slashes: `layer/w`.

    Args:
      tree: a tree.
    """
    return ["/".join(words) for words in in_words([path for path, _ in with_paths(tree)])]


def with_paths(tree: Tree, is_leaf: Callable[[Any], bool] = counts_as_leaf) -> list[tuple[Any, Any]]:
    """Pairs (path, leaf) in the order of the leaves.

    A mapping of another library that JAX knows by numbers only is given the paths of its keys.

    Args:
      tree: a tree.
      is_leaf: function that decides what counts as a leaf.
    """
    pairs = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)[0]
    if not any(isinstance(entry, FlattenedIndexKey) for path, _ in pairs for entry in path):
        return pairs
    nodes = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: is_leaf(x) or _is_unnamed(x))[0]
    named = []
    for path, node in nodes:
        if _is_unnamed(node):
            entries = jax.tree_util.tree_flatten_with_path(_as_dict(node), is_leaf=is_leaf)[0]
            named += [((*path, *rest), leaf) for rest, leaf in entries]
        else:
            named.append((path, node))
    order = {id(leaf): path for path, leaf in named}
    # Where a leaf stands twice its path is not known by identity, but the order of the keys is then the leaves'.
    if len(order) == len(pairs):
        return [(order.get(id(leaf), path), leaf) for path, leaf in pairs]
    return named if len(named) == len(pairs) else pairs


def _is_unnamed(x: Any) -> bool:
    """Whether `x` is a mapping whose keys are not in JAX's paths."""
    if not isinstance(x, Mapping) or jax.tree_util.all_leaves([x]):
        return False
    pairs, _ = jax.tree_util.tree_flatten_with_path(x, is_leaf=lambda y: y is not x)
    return any(isinstance(path[0], FlattenedIndexKey) for path, _ in pairs if path)


def _as_dict(x: Any) -> Any:
    return {key: _as_dict(value) for key, value in x.items()} if isinstance(x, Mapping) else x


def in_words(paths: list[Any]) -> list[tuple[str, ...]]:
    """Paths as tuples of words; a box, a node whose only entry is `value`, adds no word."""
    inside = Counter(path[:i] for path in paths for i in range(len(path)))
    shorter = [p[:-1] if p and _is_value(p[-1]) and inside[p[:-1]] == 1 else p for p in paths]
    return [tuple(str(entry_name(k)) for k in path) for path in shorter]


def _is_value(entry: Any) -> bool:
    return isinstance(entry, GetAttrKey) and entry.name == "value"


def unboxed(x: Any) -> Any:
    """The content of a box, such as a variable of another library; any other x unchanged."""
    entries = children(x)
    return entries[0][1] if entries and len(entries) == 1 and _is_value(entries[0][0]) else x


@checks.entrance("tree.map")
def map(f: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """`jax.tree.map` that returns absent leaves of the first tree unchanged.

        map(lambda x: 2 * x, {"a": 1, "b": None})  # {"a": 2, "b": None}

    Args:
      f: function of one leaf of each tree.
      tree: the first tree, whose structure the result has.
      rest: further trees, of which the first is a prefix.
    Raises:  ValueError naming the first paths at which the structures differ.
    """
    return beside(f, {"tree": tree, **{f"rest[{i}]": other for i, other in enumerate(rest)}})


def leaves(tree: Tree) -> list[Any]:
    """The leaves that are present.

    Args:
      tree: a tree.
    """
    return [x for x in flatten(tree)[0] if not absent(x)]


def match(tree: Tree, other: Tree, name: str, other_name: str) -> list[Any]:
    """The leaves of one tree in the order of another's; `None` in place of a branch is repeated for its leaves.

    Args:
      tree: the tree whose leaves are returned.
      other: the tree that determines their order.
      name, other_name: what errors call the trees.
    Raises:  ValueError naming the first path at which the two differ.
    """
    own_leaves, own_structure = flatten(tree)
    expected = structure(other)
    if own_structure == expected:
        return own_leaves
    try:
        parts = expected.flatten_up_to(_fill_in(tree, other))
    except ValueError:
        _differ(tree, other, name, other_name)
    for part, place in zip(parts, paths(other), strict=True):
        if not jax.tree_util.all_leaves([part], is_leaf=counts_as_leaf):
            checks.fail(f"{name}{place} is a {type(part).__name__}, {other_name}{place} is a leaf")
    return list(parts)


def _fill_in(tree: Tree, other: Tree) -> Tree:
    """`tree` with each `None` in place of a branch of `other` repeated over that branch."""
    if tree is None:
        return jax.tree.map(lambda _: None, other, is_leaf=counts_as_leaf)
    own_entries, other_entries = children(tree), children(other)
    if own_entries is None or other_entries is None or [k for k, _ in own_entries] != [k for k, _ in other_entries]:
        return tree
    inner = [_fill_in(a, b) for (_, a), (_, b) in zip(own_entries, other_entries, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(tree, is_leaf=lambda x: x is not tree), inner)


def children(tree: Tree) -> list[tuple[Any, Any]] | None:
    """The entries one level down, as pairs (entry of a path, child); None for a leaf."""
    if is_coded(tree):
        return None
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    if len(pairs) == 1 and pairs[0][0] == ():
        return None
    return [(path[0], child) for path, child in pairs]


def spread(prefix: Tree, full: Tree, name: str, is_leaf: Callable[[Any], bool] = counts_as_leaf) -> list[Any]:
    """The leaves of a prefix, each repeated for the leaves of the branch that it stands for.

    Nodes may be of different kinds (a dict, and a mapping of another library) if their keys are the same.

    Args:
      prefix: a prefix of `full`.
      full: a tree.
      name: what errors call the prefix.
      is_leaf: function that decides what counts as a leaf of the prefix.
    Raises:  ValueError naming the first paths that only one of the trees has.
    """
    out: list[Any] = []

    def repeat(leaf: Any, branch: Tree) -> None:
        out.extend([leaf] * len(flatten(branch)[0]))

    try:
        jax.tree.map(repeat, prefix, full, is_leaf=is_leaf)
    except ValueError as error:
        by_name = _spread_by_name(prefix, full, is_leaf)
        if by_name is not None:
            return by_name
        prefix_paths, full_paths = paths(prefix, is_leaf), paths(full)
        extra = [f"{name}{p} is not in params" for p in prefix_paths if not any(o.startswith(p) for o in full_paths)]
        extra += [f"params{o} is not in {name}" for o in full_paths if not any(o.startswith(p) for p in prefix_paths)]
        why = "; ".join(extra[:4]) or str(error).splitlines()[0]
        checks.fail(f"{name} must be a prefix of the parameters' tree: {why}")
    return out


def _spread_by_name(prefix: Tree, full: Tree, is_leaf: Callable[[Any], bool]) -> list[Any] | None:
    """`spread` by names alone; None where a leaf has no entry in the prefix, or an entry no leaf."""
    pairs = with_paths(prefix, is_leaf)
    entries = dict(zip(in_words([path for path, _ in pairs]), [leaf for _, leaf in pairs], strict=True))
    places = in_words([path for path, _ in with_paths(full)])
    keys = [next((p[:i] for i in range(len(p) + 1) if p[:i] in entries), None) for p in places]
    if None in keys or set(keys) != set(entries):
        return None
    return [entries[key] for key in keys if key is not None]


def _differ(tree: Tree, other: Tree, name: str, other_name: str) -> NoReturn:
    own_paths, other_paths = paths(tree), paths(other)
    leaf = [p for p in own_paths if p not in other_paths and any(o.startswith(p) for o in other_paths)]
    differences = [f"{name}{p} is a leaf, {other_name}{p} has entries" for p in leaf]
    differences += [f"{name}{p} is not in {other_name}" for p in own_paths if p not in (*leaf, *other_paths)]
    if not leaf:
        differences += [f"{other_name}{p} is not in {name}" for p in other_paths if p not in own_paths]
    if not differences:
        differences = [f"{name} is {jax.tree.structure(tree)}, {other_name} is {jax.tree.structure(other)}"]
    checks.fail("; ".join(differences[:4]))


def entry_name(entry: Any) -> Any:
    """The key, field name or index of an entry of a path."""
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


def _columns(trees: Mapping[str, Tree]) -> tuple[list[list[Any]], TreeDef]:
    """The leaves of each tree, in the order of the first's, and the structure of the first.

    Raises:  ValueError naming the first paths at which a structure differs from the first.
    """
    (name, tree), *others = trees.items()
    first_leaves, layout = flatten(tree)
    columns = [first_leaves]
    for other_name, other in others:
        column = _up_to(layout, other) or _up_to(layout, _fill_in(other, tree))
        columns.append(_differ(other, tree, other_name, name) if column is None else column)
    return columns, layout


def _up_to(layout: TreeDef, tree: Tree) -> list[Any] | None:
    """The parts of a tree at the leaves of another; None if the other is no prefix."""
    try:
        return list(layout.flatten_up_to(tree))
    except ValueError:
        return None


def beside(f: Callable[..., Any], trees: Mapping[str, Tree]) -> Tree:
    """Apply `f` to the leaves of several trees, whatever their shapes; absent leaves of the first stay unchanged.

    Args:
      f: function of one leaf of each tree.
      trees: the trees by the names that errors call them; the first is a prefix of the others.
    """
    columns, layout = _columns(trees)
    return layout.unflatten([xs[0] if absent(xs[0]) else inside(f, xs) for xs in zip(*columns, strict=True)])


def aligned(trees: Mapping[str, Tree], *, strict: bool = False) -> list[tuple[Any, ...]]:
    """The leaves of several trees, as one tuple per leaf of the first.

        aligned({"x": {"w": 1}, "y": {"w": 2}})  # [(1, 2)]

    Where the first tree has `None` the others may have anything; with strict they must have `None` too.

    Args:
      trees: the trees by the names that errors call them.
      strict: whether `None` must be in the same places.
    Raises:  ValueError naming the first path at which presence, shape or structure differ.
    """
    (first, *columns), _ = _columns(trees)
    (name, tree), *others = trees.items()
    for (other_name, _), column in zip(others, columns, strict=True):
        for i, (x, y) in enumerate(zip(first, column, strict=True)):
            _check(x, y, name, other_name, tree, i, strict=strict)
    return list(zip(first, *columns, strict=True))


def _check(x: Any, y: Any, name: str, other_name: str, tree: Tree, i: int, *, strict: bool) -> None:
    problem = ""
    if not absent(x) and not jax.tree_util.all_leaves([y], is_leaf=counts_as_leaf):
        problem = f"is a {type(y).__name__}, {name}{{0}} is a leaf"
    elif absent(y) and not absent(x):
        problem = f"is None, {name}{{0}} is an array"
    elif absent(x) and strict and not all(absent(z) for z in jax.tree.leaves(y)):
        problem = f"is an array, {name}{{0}} is None"
    elif not absent(x) and jnp.shape(x) != jnp.shape(y):
        problem = f"has shape {jnp.shape(y)}, {name}{{0}} has {jnp.shape(x)}"
    if problem:
        path = paths(tree)[i]
        checks.fail(f"{other_name}{path} {problem.replace('{0}', path)}")


def together(f: Callable[..., Any], trees: Mapping[str, Tree], *, strict: bool = False) -> Tree:
    """Apply `f` to the leaves of several trees, as `aligned` pairs them; absent leaves of the first stay unchanged.

    Args:
      f: function of one leaf of each tree.
      trees: the trees by the names that errors call them.
      strict: whether `None` must be in the same places.
    """
    _, places = flatten(next(iter(trees.values())))
    return places.unflatten([xs[0] if absent(xs[0]) else f(*xs) for xs in aligned(trees, strict=strict)])


def as_array(x: Any) -> Array:
    """x as a JAX array; a Python scalar becomes a weakly typed one, and a shape stays one.

    Args:
      x: a number, a NumPy or a JAX array, or a `jax.ShapeDtypeStruct` where only shapes are read.
    """
    if isinstance(x, jax.Array):
        return x
    shape: Any = x
    return shape if checks.is_shape(x) else jnp.asarray(x)

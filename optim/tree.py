"""Trees: leaves and paths, casts and norms, reading and setting what a state holds.

`None` is a leaf here and means: nothing. So is a gradient of dtype float0, JAX's own word for nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey, keystr

from . import checks, numerics
from .types import Array, DType, Tree

TreeDef = Any
Path = tuple[Any, ...]
Filter = Callable[[Path, Any], bool]


def is_none(x: Any) -> bool:
    return x is None


def absent(x: Any) -> bool:
    """Nothing here: no gradient, or no parameter."""
    return x is None or getattr(x, "dtype", None) == jax.dtypes.float0


def is_function(x: Any) -> TypeGuard[Callable[..., Any]]:
    """A function of a tree, and not a tree that can also be called, as a module can."""
    return callable(x) and jax.tree_util.all_leaves([x])


def flatten(tree: Tree) -> tuple[list[Any], TreeDef]:
    """Leaves, `None` among them, and the structure."""
    return jax.tree.flatten(tree, is_leaf=is_none)


def structure(tree: Tree) -> TreeDef:
    """The structure in which `None` is a leaf."""
    return jax.tree.structure(tree, is_leaf=is_none)


def paths(tree: Tree) -> list[str]:
    """The path of each leaf as a reader would index it: `['layer']['w']`."""
    return [keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_none)[0]]


def names(tree: Tree) -> list[str]:
    """The path of each leaf in words: `layer/w`."""
    return [
        "/".join(str(_name(k)) for k in path)
        for path, _ in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_none)[0]
    ]


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
        parts = wanted.flatten_up_to(_spread(tree, other))
    except ValueError:
        _differ(tree, other, name, other_name)
    for part, place in zip(parts, paths(other), strict=True):
        if not jax.tree_util.all_leaves([part], is_leaf=is_none):
            checks.fail(f"{name}{place} is a {type(part).__name__}, {other_name}{place} is a leaf")
    return list(parts)


def _spread(tree: Tree, other: Tree) -> Tree:
    """`tree` with each `None` that stands for a branch of `other` spread over that branch."""
    if tree is None:
        return jax.tree.map(lambda _: None, other, is_leaf=is_none)
    mine, others = _children(tree), _children(other)
    if mine is None or others is None or [k for k, _ in mine] != [k for k, _ in others]:
        return tree
    inner = [_spread(a, b) for (_, a), (_, b) in zip(mine, others, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(tree, is_leaf=lambda x: x is not tree), inner)


def _children(tree: Tree) -> list[tuple[Any, Any]] | None:
    """The entries one level down, or None for a leaf."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    if len(found) == 1 and found[0][0] == ():
        return None
    return [(path[0], child) for path, child in found]


def _differ(tree: Tree, other: Tree, name: str, other_name: str) -> None:
    mine, others = paths(tree), paths(other)
    told = [f"{name}{p} is not in {other_name}" for p in mine if p not in others]
    told += [f"{other_name}{p} is not in {name}" for p in others if p not in mine]
    if not told:
        told = [f"{name} is {jax.tree.structure(tree)}, {other_name} is {jax.tree.structure(other)}"]
    checks.fail("; ".join(told[:4]))


# Casts


def widen(tree: Tree) -> Tree:
    """Every leaf in the dtype that rules compute in: at least float32."""

    def wide(x: Any) -> Any:
        x = as_array(x)
        return numerics.convert(x, numerics.wide_dtype(x.dtype)) if _narrow(x) else x

    return map(wide, tree)


def _narrow(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4


def as_array(x: Any) -> Array:
    """A Python scalar becomes the weakly typed array that JAX makes of it."""
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def cast(tree: Tree, dtype: DType | None) -> Tree:
    """Every floating leaf in `dtype`; `None` leaves all as they are."""
    if dtype is None:
        return tree
    return map(lambda x: jnp.asarray(x, dtype), tree)


def cast_like(tree: Tree, other_tree: Tree) -> Tree:
    """Every leaf in the dtype, weak type included, of the leaf of `other_tree` in its place."""

    def back(x: Any, y: Any) -> Any:
        x, y = as_array(x), as_array(y)
        return numerics.convert(x, y.dtype, weak=y.weak_type)

    return map(lambda x, y: x if absent(y) else back(x, y), tree, other_tree)


# Arithmetic


def zeros_like(tree: Tree, dtype: DType | None = None) -> Tree:
    """Fresh zeros shaped and sharded like `tree`."""
    return map(lambda x: numerics.full_like(as_array(x), 0, dtype or as_array(x).dtype), tree)


@jax.jit  # one trace for all leaves of a shape
def _sum_sq(x: Array) -> Array:
    return numerics.saturated(jnp.sum(numerics.square(x)))


def sum_sq(tree: Tree) -> Array:
    """The sum of |x|^2 over all elements of all leaves, in at least float32; 0 for an empty tree."""
    squares = [_sum_sq(as_array(x)) for x in leaves(widen(tree))]
    if not squares:
        return jnp.zeros((), jnp.float32)
    dtype = numerics.common_dtype(*(s.dtype for s in squares))
    return jnp.sum(jnp.stack([s.astype(dtype) for s in squares]))


def total(f: Callable[..., Any], home: Tree, *trees: Tree) -> Array:
    """The sum over all elements of f(x, *others), leaf by leaf over `home`, in a hyperparameter's dtype, kept finite.

    The arrays of one place come to `f` real and in one dtype of at least float32: a complex one as two real ones, along
    a last axis of two. Where another tree has nothing `f` gets `None`, and what it returns `None` for is not summed.
    """
    columns = [flatten(home)[0], *(match(t, home, "a tree", "its home") for t in trees)]
    sums = []
    for x, *others in zip(*columns, strict=True):
        value = None if absent(x) else f(*_real([x, *others]))
        if value is not None:
            sums.append(numerics.convert(numerics.saturated(jnp.sum(value)), numerics.scalar_dtype()))
    return jnp.sum(jnp.stack(sums)) if sums else jnp.zeros((), numerics.scalar_dtype())


def _real(xs: list[Any]) -> list[Any]:
    arrays = [None if absent(x) else as_array(x) for x in xs]
    reals = [
        jnp.stack([x.real, x.imag], axis=-1) if x is not None and jnp.issubdtype(x.dtype, jnp.complexfloating) else x
        for x in arrays
    ]
    dtype = numerics.common_dtype(jnp.float32, *(x.dtype for x in reals if x is not None))
    return [None if x is None else numerics.convert(x, dtype) for x in reals]


def global_norm(updates: Tree) -> Array:
    """sqrt(sum over all leaves of |x|^2), in at least float32; its derivative at zero is zero."""
    return numerics.root(sum_sq(updates))


# Reading and setting what a state holds


def _name(entry: Any) -> Any:
    match entry:
        case DictKey() | FlattenedIndexKey():
            return entry.key
        case GetAttrKey():
            return entry.name
        case SequenceKey():
            return entry.idx
        case _:
            return str(entry)


def _walk(tree: Tree, key: Any, keep: Filter | None, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if path and _name(path[-1]) == key and (keep is None or keep(path, tree)):
        yield path, tree
        return
    for entry, child in _children(tree) or ():
        yield from _walk(child, key, keep, (*path, entry))


def get_all_with_path(tree: Tree, key: Any, filtering: Filter | None = None) -> list[tuple[Path, Any]]:
    """Every field, attribute or dict entry named `key`, outermost first, with its path."""
    return list(_walk(tree, key, filtering))


def get(tree: Tree, key: Any, default: Any = None, filtering: Filter | None = None) -> Any:
    """The value that every field named `key` has; `default` where there is none.

    Args:    filtering(path, value) -> bool keeps the places that count.
    Raises:  KeyError where several places disagree, naming them.
    """
    found = get_all_with_path(tree, key, filtering)
    if not found:
        return default
    (first_path, first), *others = found
    for path, value in others:
        if not _agree(first, value):
            checks.fail(
                f"state{keystr(first_path)} and state{keystr(path)} differ; choose with "
                "filtering=lambda path, value: ...",
                KeyError,
            )
    return first


def _agree(a: Tree, b: Tree) -> bool:
    if structure(a) != structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(
        x is y
        or (
            not (checks.is_traced(x) or checks.is_traced(y))
            and jnp.shape(x) == jnp.shape(y)
            and bool(jnp.array_equal(x, y))
        )
        for x, y in pairs
    )


def set(tree: Tree, filtering: Filter | None = None, /, **kwargs: Any) -> Tree:
    """`tree` with every field named by a keyword replaced; dtypes and shapes stay, so nothing is traced again.

    Raises: KeyError for a name that is nowhere, listing near ones; ValueError for a value of another shape.
    """
    for key, value in kwargs.items():
        places = [path for path, _ in get_all_with_path(tree, key, filtering)]
        if not places:
            known = {str(_name(k)) for p, _ in jax.tree_util.tree_flatten_with_path(tree)[0] for k in p}
            checks.fail(f"nothing named {key!r} in the state{checks.near(key, known)}", KeyError)
        tree = _replace(tree, frozenset(places), value)
    return tree


def _replace(tree: Tree, places: frozenset[Path], value: Any, path: Path = ()) -> Tree:
    if path in places:
        return _fitted(tree, value, path)
    children = _children(tree)
    if children is None:
        return tree
    new = [_replace(child, places, value, (*path, entry)) for entry, child in children]
    return jax.tree.unflatten(jax.tree.structure(tree, is_leaf=lambda x: x is not tree), new)


def _fitted(old: Any, value: Any, path: Path) -> Any:
    if structure(old) != structure(value):
        checks.fail(f"state{keystr(path)} is {jax.tree.structure(old)}, the new value is {jax.tree.structure(value)}")

    def fit(o: Any, v: Any) -> Any:
        if not isinstance(o, jax.Array):
            return v
        if jnp.shape(v) != o.shape:
            checks.fail(f"state{keystr(path)} has shape {o.shape}, the new value has {jnp.shape(v)}")
        return v if jnp.issubdtype(o.dtype, jax.dtypes.extended) else jnp.asarray(v, o.dtype)

    return jax.tree.map(fit, old, value)

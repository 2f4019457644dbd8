"""Casts, trees of one value, and arithmetic whose results are rounded once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks, numerics
from ..types import Array, DType, Scalar, Tree
from .places import absent, as_array, flatten, leaves, map, paths

# Casts


def widen(tree: Tree) -> Tree:
    """Every leaf in the dtype that rules compute in: at least float32."""

    def wide(x: Any) -> Any:
        x = as_array(x)
        return numerics.convert(x, numerics.wide_dtype(x.dtype)) if _narrow(x) else x

    return map(wide, tree)


def _narrow(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4


def cast(tree: Tree, dtype: DType | None) -> Tree:
    """Every leaf in `dtype`, integers too; `None` leaves all as they are."""
    if dtype is None:
        return tree
    return map(lambda x: jnp.asarray(x, dtype), tree)


def cast_like(tree: Tree, other_tree: Tree) -> Tree:
    """Every leaf in the dtype, weak type included, of the leaf of `other_tree` in its place."""

    def back(x: Any, y: Any) -> Any:
        x, y = as_array(x), as_array(y)
        return numerics.convert(x, y.dtype, weak=y.weak_type)

    return map(lambda x, y: x if absent(y) else back(x, y), tree, other_tree)


@checks.entrance("tree.dtype")
def dtype(tree: Tree, mixed_dtype_handler: str | None = None) -> np.dtype[Any]:
    """The dtype of the leaves; for an empty tree, that of a Python float.

    Args:    mixed_dtype_handler: what leaves of several dtypes give: None an error, "promote" the narrowest dtype that
             holds all, "highest" or "lowest" the one of theirs to which, or from which, all others are promoted.
    Raises:  ValueError for leaves of several dtypes, naming the first that differs; for dtypes without an order.
    """
    handlers = (None, "promote", "highest", "lowest")
    if mixed_dtype_handler not in handlers:
        checks.fail(f"mixed_dtype_handler must be one of {handlers}, got {checks.shown(mixed_dtype_handler)}")
    # Keyed by the dtype, so each comes once, in the order of the leaves.
    found = {jnp.dtype(jnp.result_type(x)): i for i, x in reversed([*enumerate(flatten(tree)[0])]) if not absent(x)}
    if not found:
        return numerics.scalar_dtype()
    if len(found) == 1:
        return next(iter(found))
    if mixed_dtype_handler is None:
        (i, first), (j, second), *_ = sorted((i, d) for d, i in found.items())
        checks.fail(f"tree{paths(tree)[j]} is {second}, tree{paths(tree)[i]} is {first}")
    common = numerics.common_dtype(*found)
    if mixed_dtype_handler == "promote":
        return common
    if mixed_dtype_handler == "highest" and common in found:
        return common
    for low in found:
        if mixed_dtype_handler == "lowest" and all(numerics.common_dtype(low, d) == d for d in found):
            return low
    return checks.fail(f"the dtypes {', '.join(sorted(d.name for d in found))} have no {mixed_dtype_handler}")


# Trees of one value


@checks.entrance("tree.full_like")
def full_like(tree: Tree, fill_value: Scalar, dtype: DType | None = None) -> Tree:
    """A fresh tree of one value, shaped and sharded like `tree`."""

    def fill(x: Any) -> Array:
        x = as_array(x)
        return numerics.full_like(x, fill_value, dtype or x.dtype)

    if jnp.shape(fill_value) != ():
        checks.fail(f"fill_value must be a scalar, got {checks.shown(fill_value)}")
    return map(fill, tree)


def zeros_like(tree: Tree, dtype: DType | None = None) -> Tree:
    """Fresh zeros shaped and sharded like `tree`."""
    return full_like(tree, 0, dtype)


def ones_like(tree: Tree, dtype: DType | None = None) -> Tree:
    """Fresh ones shaped and sharded like `tree`."""
    return full_like(tree, 1, dtype)


def batch_shape(tree: Tree, shape: tuple[int, ...] = ()) -> Tree:
    """Every leaf repeated along new leading axes of the given sizes."""
    return map(lambda x: jnp.broadcast_to(as_array(x), (*shape, *jnp.shape(x))), tree)


def size(tree: Tree) -> int:
    """How many numbers the tree holds."""
    return int(np.sum([np.size(x) for x in leaves(tree)], dtype=int))


# One rounding


def compute(f: Callable[..., Array], *xs: Any) -> Array:
    """`f` in at least float32, rounded once to the dtype that JAX promotes the arguments to.

    That is its standard promotion, whatever the user has asked of JAX.
    """
    arrays = [as_array(x) for x in xs]
    with jax.numpy_dtype_promotion("standard"):
        dtype, weak = jax.dtypes.result_type(*arrays, return_weak_type_flag=True)
        wide = numerics.wide_dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else dtype
        out = f(*(numerics.convert(x, wide) for x in arrays))
    # A quotient of integers is floating.
    return numerics.convert(out, dtype if jnp.issubdtype(dtype, jnp.inexact) else out.dtype, weak=weak)


def weak_scalar(name: str, value: Any) -> Array:
    """A number that meets every leaf in the leaf's own precision."""
    value = as_array(value)
    if value.shape != ():
        checks.fail(f"{name} must be a scalar, got {checks.shown(value)}")
    return numerics.convert(value, value.dtype, weak=True)

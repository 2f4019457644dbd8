"""Casts, trees of one value, and arithmetic with a single rounding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks, numerics
from ..types import Array, DType, Scalar, Tree
from .coded import is_coded
from .places import absent, as_array, beside, flatten, leaves, map, paths

# Casts


def widen(tree: Tree) -> Tree:
    """Cast every float16 and bfloat16 leaf to float32, the dtype in which rules compute.

    Args:
      tree: a tree of arrays.
    """

    def wide(x: Any) -> Any:
        x = as_array(x)
        return numerics.convert(x, numerics.wide_dtype(x.dtype)) if _narrow(x) else x

    return map(wide, tree)


def _narrow(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4


def cast(tree: Tree, dtype: DType | None) -> Tree:
    """Cast every leaf to `dtype`, integers too; the codes of a stored slot stay as they are.

    Args:
      tree: a tree of arrays.
      dtype: the new dtype; None returns the tree unchanged.
    """
    if dtype is None:
        return tree
    xs, structure = flatten(tree)
    return structure.unflatten([x if absent(x) or is_coded(x) else jnp.asarray(x, dtype) for x in xs])


@checks.entrance("tree.cast_like")
def cast_like(tree: Tree, other_tree: Tree) -> Tree:
    """Cast every leaf to the dtype and weak type of the corresponding leaf of another tree.

    Args:
      tree: a tree of arrays.
      other_tree: a tree of the same structure; where it has `None`, the leaf stays unchanged.
    Raises:  ValueError naming the first paths at which the structures differ.
    """

    def back(x: Any, y: Any) -> Any:
        x, y = as_array(x), as_array(y)
        return numerics.convert(x, y.dtype, weak=y.weak_type)

    return beside(lambda x, y: x if absent(y) else back(x, y), {"tree": tree, "other_tree": other_tree})


@checks.entrance("tree.dtype")
def dtype(tree: Tree, mixed_dtype_handler: str | None = None) -> np.dtype[Any]:
    """The dtype of the leaves; for an empty tree, the dtype of a Python float.

    Args:
      tree: a tree of arrays.
      mixed_dtype_handler: the result for leaves of several dtypes: None is an error, "promote" the narrowest dtype that
        holds all of them, "highest" and "lowest" the one of them that all others promote to, or that promotes to all
        others.
    Raises:  ValueError for leaves of several dtypes, naming the first that differs, and for dtypes without an order.
    """
    handlers = (None, "promote", "highest", "lowest")
    if mixed_dtype_handler not in handlers:
        checks.fail(f"mixed_dtype_handler must be one of {handlers}, got {checks.shown(mixed_dtype_handler)}")
    # Maps each dtype to its first leaf.
    first_leaf = {
        jnp.dtype(jnp.result_type(x)): i for i, x in reversed([*enumerate(flatten(tree)[0])]) if not absent(x)
    }
    if not first_leaf:
        return numerics.scalar_dtype()
    if len(first_leaf) == 1:
        return next(iter(first_leaf))
    if mixed_dtype_handler is None:
        (i, first), (j, second), *_ = sorted((i, d) for d, i in first_leaf.items())
        checks.fail(f"tree{paths(tree)[j]} is {second}, tree{paths(tree)[i]} is {first}")
    common = numerics.common_dtype(*first_leaf)
    if mixed_dtype_handler == "promote":
        return common
    if mixed_dtype_handler == "highest" and common in first_leaf:
        return common
    for low in first_leaf:
        if mixed_dtype_handler == "lowest" and all(numerics.common_dtype(low, d) == d for d in first_leaf):
            return low
    return checks.fail(f"the dtypes {', '.join(sorted(d.name for d in first_leaf))} have no {mixed_dtype_handler}")


# Trees of one value


@checks.entrance("tree.full_like")
def full_like(tree: Tree, fill_value: Scalar, dtype: DType | None = None) -> Tree:
    """A new tree with one value in every element, with the shapes and shardings of `tree`.

    Args:
      tree: a tree of arrays.
      fill_value: the value, a scalar.
      dtype: dtype of the leaves; None keeps each leaf's.
    """

    def fill(x: Any) -> Array:
        x = as_array(x)
        return numerics.full_like(x, fill_value, dtype or x.dtype)

    if jnp.shape(fill_value) != ():
        checks.fail(f"fill_value must be a scalar, got {checks.shown(fill_value)}")
    return map(fill, tree)


def zeros_like(tree: Tree, dtype: DType | None = None) -> Tree:
    """A new tree of zeros, with the shapes and shardings of `tree`.

    Args:
      tree: a tree of arrays.
      dtype: dtype of the zeros; None keeps each leaf's.
    """
    return full_like(tree, 0, dtype)


def ones_like(tree: Tree, dtype: DType | None = None) -> Tree:
    """A new tree of ones, with the shapes and shardings of `tree`.

    Args:
      tree: a tree of arrays.
      dtype: dtype of the ones; None keeps each leaf's.
    """
    return full_like(tree, 1, dtype)


def batch_shape(tree: Tree, shape: tuple[int, ...] = ()) -> Tree:
    """Repeat every leaf along new leading axes.

    Args:
      tree: a tree of arrays.
      shape: sizes of the new axes.
    """
    return map(lambda x: jnp.broadcast_to(as_array(x), (*shape, *jnp.shape(x))), tree)


def size(tree: Tree) -> int:
    """Number of elements in the whole tree.

    Args:
      tree: a tree of arrays.
    """
    return int(np.sum([np.size(x) for x in leaves(tree)], dtype=int))


# One rounding


def compute(f: Callable[..., Array], *xs: Any) -> Array:
    """Call `f` in at least float32, and round its result once to the dtype that JAX promotes the arguments to.

    The promotion is JAX's standard one, even if `jax_numpy_dtype_promotion` is strict.

    Args:
      f: a function of arrays.
      xs: its arguments, arrays or numbers.
    """
    arrays = [as_array(x) for x in xs]
    with jax.numpy_dtype_promotion("standard"):
        dtype, weak = jax.dtypes.result_type(*arrays, return_weak_type_flag=True)
        wide = numerics.wide_dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else dtype
        out = f(*(numerics.convert(x, wide) for x in arrays))
    # A quotient of integers is floating.
    return numerics.convert(out, dtype if jnp.issubdtype(dtype, jnp.inexact) else out.dtype, weak=weak)


def weak_scalar(name: str, value: Any) -> Array:
    """A number as a weakly typed array, which takes each leaf's dtype."""
    value = as_array(value)
    if value.shape != ():
        checks.fail(f"{name} must be a scalar, got {checks.shown(value)}")
    return numerics.convert(value, value.dtype, weak=True)

"""Sums, norms and extremes over all elements of all leaves, in at least float32."""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import checks, numerics
from ..types import Array, Tree
from .places import absent, aligned, as_array, flatten, leaves, match


def _wide(x: Any) -> Array:
    """A leaf in the floating or complex dtype in which it is summed."""
    x = as_array(x)
    return numerics.convert(x, numerics.wide_dtype(x.dtype))


def _common(parts: list[Array]) -> list[Array]:
    dtype = numerics.common_dtype(*(x.dtype for x in parts))
    return [numerics.convert(x, dtype) for x in parts]


def _total(parts: list[Array]) -> Array:
    if not parts:
        return jnp.zeros((), jnp.float32)
    # A chain of a few sums is traced faster than a stack; of many, a stack is compiled faster.
    return functools.reduce(lax.add, _common(parts)) if len(parts) <= 8 else jnp.sum(jnp.stack(_common(parts)))


# jit: one trace for all leaves of one shape
_jit: Callable[[Callable[..., Array]], Callable[..., Array]] = jax.jit


def _sum_sq(x: Array) -> Array:
    squares = numerics.square(x)
    reduced: Array = lax.reduce(squares, np.zeros((), squares.dtype), lax.add, tuple(range(x.ndim)))
    return reduced


_sum_sq_once = _jit(_sum_sq)


def sum_sq(tree: Tree) -> Array:
    """Sum of |x|^2 over all elements of all leaves, in at least float32; 0 for an empty tree.

    Args:
      tree: a tree of arrays.
    """
    arrays = [_wide(x) for x in leaves(tree)]
    uses = Counter(x.shape for x in arrays)
    alone = [numerics.staged(x) and uses[x.shape] == 1 for x in arrays]
    return _total([(_sum_sq if one else _sum_sq_once)(x) for x, one in zip(arrays, alone, strict=True)])


def total(f: Callable[..., Any], first: Tree, *trees: Tree) -> Array:
    """Sum of f(x, *others) over all elements, leaf by leaf, clipped to finite numbers, in the dtype of hyperparameters.

    `f` receives real arrays of one dtype, at least float32; complex leaves get a last axis of their two parts. Absent
    leaves of the other trees are `None`, and leaves for which `f` returns `None` are skipped.

    Args:
      f: function of one leaf of each tree.
      first: the first tree, whose absent leaves are skipped.
      trees: further trees of the same structure.
    """
    columns = [flatten(first)[0], *(match(t, first, "a further tree", "the first tree") for t in trees)]
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
    """Norm of all leaves as one vector, sqrt(sum |x|^2), in at least float32; its derivative at zero is zero.

    Args:
      updates: a tree of arrays.
    """
    return numerics.joint_norm([_wide(x) for x in leaves(updates)])


@checks.entrance("tree.norm")
def norm(tree: Tree, ord: Any = None, squared: bool = False) -> Array:
    """Norm of all elements as one vector, in at least float32; 0 for an empty tree.

    Args:
      tree: a tree of arrays.
      ord: the order: None or 2, 1, or "inf" (`numpy.inf` too).
      squared: whether to return the square of the norm.
    Raises:  ValueError for another order.
    """
    if ord in (None, 2):
        return sum_sq(tree) if squared else global_norm(tree)
    magnitudes = [jnp.abs(_wide(x)) for x in leaves(tree) if jnp.size(x)]
    if ord == 1:
        result = _total([jnp.sum(x) for x in magnitudes])
    elif ord in ("inf", jnp.inf):
        result = _extreme(jnp.max, magnitudes, 0)
    else:
        checks.fail(f"ord must be None, 1, 2 or 'inf', got {checks.shown(ord)}")
    return jnp.square(result) if squared else result


@_jit
def _sum(x: Array) -> Array:
    return jnp.sum(x if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool else _wide(x))


def sum(tree: Tree, associative_reduction: bool = False) -> Array:
    """Sum of all elements, floating leaves in at least float32; 0 for an empty tree.

    Args:
      tree: a tree of arrays.
      associative_reduction: whether to add the leaves' sums in one reduction instead of one after another: faster to
        compile for many leaves, with different rounding.
    """
    parts = [_sum(as_array(x)) for x in leaves(tree)]
    return _total(parts) if associative_reduction or not parts else functools.reduce(jnp.add, _common(parts))


def max(tree: Tree) -> Array:
    """The largest element; -inf for an empty tree.

    Args:
      tree: a tree of real arrays.
    """
    return _extreme(jnp.max, [as_array(x) for x in leaves(tree) if jnp.size(x)], -jnp.inf)


def min(tree: Tree) -> Array:
    """The smallest element; inf for an empty tree.

    Args:
      tree: a tree of real arrays.
    """
    return _extreme(jnp.min, [as_array(x) for x in leaves(tree) if jnp.size(x)], jnp.inf)


def _extreme(f: Callable[..., Array], arrays: list[Array], of_nothing: float) -> Array:
    parts = [f(x) for x in arrays]
    return f(jnp.stack(_common(parts))) if parts else jnp.asarray(of_nothing, jnp.float32)


@_jit
def _vdot(x: Array, y: Array) -> Array:
    whole = not (jnp.issubdtype(x.dtype, jnp.inexact) or jnp.issubdtype(y.dtype, jnp.inexact))
    both = numerics.common_dtype(x.dtype, y.dtype, jnp.int32 if whole else jnp.float32)
    return jnp.vdot(numerics.convert(x, both), numerics.convert(y, both), precision=lax.Precision.HIGHEST)


@checks.entrance("tree.vdot")
def vdot(tree_x: Tree, tree_y: Tree) -> Array:
    """Inner product of trees: the sum over all elements of conj(x) y, in at least float32; 0 for empty trees.

    Args:
      tree_x, tree_y: trees of one structure, with leaves of the same shapes.
    Raises:  ValueError naming the leaf whose shape differs.
    """
    pairs = aligned({"tree_x": tree_x, "tree_y": tree_y})
    return _total([_vdot(as_array(x), as_array(y)) for x, y in pairs if not absent(x)])


@checks.entrance("tree.allclose")
def allclose(a: Tree, b: Tree, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Array:
    """Whether |x - y| <= atol + rtol |y| for all elements x of a and y of b; True for empty trees.

    Args:
      a, b: trees of one structure, with leaves of the same shapes, and `None` in the same places.
      rtol, atol: relative and absolute tolerance, >= 0.
      equal_nan: whether NaNs in the same place count as equal.
    Raises:  ValueError naming the leaf at which the trees differ in presence, structure or shape.
    """
    pairs = [_common([_wide(x), _wide(y)]) for x, y in aligned({"a": a, "b": b}, strict=True) if not absent(x)]
    close = [jnp.allclose(x, y, rtol, atol, equal_nan) for x, y in pairs]
    return jnp.all(jnp.stack(close)) if close else jnp.asarray(True)

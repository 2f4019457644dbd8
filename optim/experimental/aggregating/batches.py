"""Updates with batch axes: how many examples, their mean, and slots that follow them."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp

from ... import checks, numerics, tree
from ...types import Array, Params, Updates

Axes: TypeAlias = int | Sequence[int]


@checks.entrance("get_batch_size_from_per_elt_updates")
def get_batch_size_from_per_elt_updates(per_elt_updates: Updates, per_elt_axis: Axes) -> int:
    """Return the number of examples.

    Args:
      per_elt_updates: a tree of updates of all examples.
      per_elt_axis: the batch axis or axes.
    Raises:  ValueError for leaves of different numbers.
    """
    axes = batch_axes(per_elt_axis)
    sizes = {math.prod(jnp.shape(x)[a] for a in positions(axes, x)) for x in tree.leaves(per_elt_updates)}
    if len(sizes) != 1:
        checks.fail(f"the updates must have one number of examples, got {sorted(sizes)}")
    return sizes.pop()


def batch_axes(given: Any) -> tuple[int, ...]:
    axes = (given,) if isinstance(given, int) else given
    if not isinstance(axes, tuple | list) or not all(isinstance(a, int) for a in axes):
        checks.fail(f"per_elt_axis must be an int or a tuple of ints, got {checks.shown(given)}", TypeError)
    return tuple(axes)


def positions(axes: tuple[int, ...], x: Any) -> tuple[int, ...]:
    ndim = jnp.ndim(x)
    for a in axes:
        if not -ndim <= a < ndim:
            checks.fail(f"an update of shape {jnp.shape(x)} has no axis {a}, which per_elt_axis names")
    return tuple(sorted(a % ndim for a in axes))


def wide(x: Any) -> Array:
    x = tree.as_array(x)
    return numerics.convert(x, numerics.wide_dtype(x.dtype))


def float_dtype(x: Any) -> Any:
    x = tree.as_array(x)
    return x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else numerics.wide_dtype(x.dtype)


def mean_over(x: Any, axes: tuple[int, ...]) -> Array:
    mean: Array = jnp.mean(wide(x), axis=positions(axes, x)).astype(float_dtype(x))
    return mean


def zero_count() -> Array:
    return jnp.zeros((), jnp.int32)


def slots_like(params: Params, real: bool = False) -> Updates:
    """Zeros shaped like the parameters, in at least float32; none for integers."""

    def zeros(p: Any) -> Any:
        if not tree.trainable(p):
            return None
        dtype = numerics.wide_dtype(tree.as_array(p).dtype)
        return tree.zeros_like(p, numerics.real_dtype(dtype) if real else dtype)

    return tree.map(zeros, params)


def merged(f: Any, slots: Updates, updates: Updates) -> Updates:
    """`f(slot, update)` for every slot whose update is present."""

    def visit(slot: Any, g: Any) -> Any:
        if tree.absent(g):
            return slot
        moved: Array = f(slot, numerics.convert(tree.as_array(g), slot.dtype))
        return moved

    return tree.map(visit, slots, updates)


def advanced(micro_step: Array, accumulation_steps: int) -> tuple[Array, Array]:
    micro_step = (micro_step + 1) % accumulation_steps
    return micro_step, micro_step == 0


def gated(condition: Array, x: Array) -> Array:
    return jnp.where(condition, x, jnp.zeros_like(x))

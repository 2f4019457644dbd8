"""Trees that follow others: target networks, slow copies, running statistics."""

from typing import Any, TypeVar

import jax.numpy as jnp
from jax import lax

from .. import checks, numerics, tree
from ..types import Array, Count, Params, Scalar

P = TypeVar("P")


@checks.entrance("incremental_update")
def incremental_update(new_tensors: Params, old_tensors: P, step_size: Scalar) -> P:
    """old + step_size (new - old): a part of the way from the old tensors to the new.

    It is computed in the wider of both dtypes and at least float32, and cast last to the old tensor's, so the result
    can take its place. Where there is no new tensor the old one stays; an integer tensor becomes floating.

    Args:    step_size in [0, 1]: 1 gives the new tensors, as they are.
    Raises:  ValueError naming the leaf whose shape is not its fellow's.
    """

    def moved(new: Any, old: Any) -> Array:
        old = tree.as_array(old)
        if checks.is_number(step_size) and step_size == 1:
            out = tree.as_array(new)
        else:
            out = tree.compute(lambda a, b: a + numerics.scaled(_floating(b) - a, step_size), _floating(old), new)
        return _in_place(out, old)

    followed: P = _follow(moved, new_tensors, old_tensors)
    return followed


@checks.entrance("periodic_update")
def periodic_update(new_tensors: Params, old_tensors: P, steps: Count, update_period: int) -> P:
    """The new tensors where `steps` is a multiple of `update_period`, else the old.

    Each has the dtype of the old tensor. Where there is no new tensor the old one stays.

    Raises:  ValueError naming the leaf whose shape is not its fellow's.
    """
    steps = jnp.asarray(steps)
    now = steps % jnp.asarray(update_period, steps.dtype) == 0
    new = _follow(lambda new, old: _in_place(tree.as_array(new), tree.as_array(old)), new_tensors, old_tensors)
    old = tree.map(tree.as_array, old_tensors)
    chosen: P = lax.cond(now, lambda: new, lambda: old)
    return chosen


def _follow(f: Any, new_tensors: Params, old_tensors: Params) -> Params:
    pairs = tree.aligned({"new_tensors": new_tensors, "old_tensors": old_tensors})
    leaves = [old if tree.absent(new) else f(new, old) for new, old in pairs]
    return tree.structure(new_tensors).unflatten(leaves)


def _floating(x: Array) -> Array:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else numerics.convert(x, numerics.wide_dtype(x.dtype))


def _in_place(x: Array, old: Array) -> Array:
    """`x` in the dtype of `old`, if that can hold it."""
    if jnp.iscomplexobj(x) and not jnp.iscomplexobj(old):
        checks.fail(f"a new tensor is {x.dtype}, which an old one of dtype {old.dtype} cannot hold")
    fits = jnp.issubdtype(old.dtype, jnp.inexact) or not jnp.issubdtype(x.dtype, jnp.inexact)
    return numerics.convert(x, old.dtype, weak=old.weak_type) if fits else x

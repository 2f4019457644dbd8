"""Updates of trees that track others: target networks, slow copies, running statistics."""

from typing import Any, TypeVar

import jax.numpy as jnp

from .. import checks, numerics, tree
from ..types import Array, Count, Params, Scalar

P = TypeVar("P")


@checks.entrance("incremental_update")
def incremental_update(new_tensors: Params, old_tensors: P, step_size: Scalar) -> P:
    """Move old tensors a fraction of the way to new ones: old + step_size (new - old).

        target = incremental_update(params, target, 0.005)

    It computes in the wider dtype of both and at least float32, and casts the result to the old tensor's dtype, so that
    it can replace the old tensor; integer tensors become floating. Where the new tensor is `None` the old one stays.

    Args:
      new_tensors, old_tensors: trees of one structure, with leaves of the same shapes.
      step_size: the fraction, in [0, 1]; 1 returns the new tensors exactly. Usually 0.001 to 0.01.
    Raises:  ValueError naming the leaf whose shape differs.
    """

    def moved(new: Any, old: Any) -> Array:
        old = tree.as_array(old)
        if checks.is_number(step_size) and step_size == 1:
            out = tree.as_array(new)
        else:
            out = tree.compute(lambda a, b: a + numerics.scaled(_floating(b) - a, step_size), _floating(old), new)
        return _cast_to_old(out, old)

    followed: P = _follow(moved, new_tensors, old_tensors)
    return followed


@checks.entrance("periodic_update")
def periodic_update(new_tensors: Params, old_tensors: P, steps: Count, update_period: int) -> P:
    """Replace old tensors by new ones every update_period steps.

        target = periodic_update(params, target, steps, 1_000)

    The result has the old tensors' dtypes. Where the new tensor is `None` the old one stays.

    Args:
      new_tensors, old_tensors: trees of one structure, with leaves of the same shapes.
      steps: number of steps done: the new tensors are returned if it is a multiple of update_period.
      update_period: an integer >= 1.
    Raises:  ValueError naming the leaf whose shape differs.
    """
    steps = jnp.asarray(steps)
    now = steps % jnp.asarray(update_period, steps.dtype) == 0
    new = _follow(lambda new, old: _cast_to_old(tree.as_array(new), tree.as_array(old)), new_tensors, old_tensors)
    old = tree.map(tree.as_array, old_tensors)
    chosen: P = numerics.branch(now, lambda: new, lambda: old)
    return chosen


def _follow(f: Any, new_tensors: Params, old_tensors: Params) -> Params:
    pairs = tree.aligned({"new_tensors": new_tensors, "old_tensors": old_tensors})
    leaves = [old if tree.absent(new) else f(new, old) for new, old in pairs]
    return tree.structure(new_tensors).unflatten(leaves)


def _floating(x: Array) -> Array:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else numerics.convert(x, numerics.wide_dtype(x.dtype))


def _cast_to_old(x: Array, old: Array) -> Array:
    """`x` in the dtype of `old`, if that dtype can represent it."""
    if jnp.iscomplexobj(x) and not jnp.iscomplexobj(old):
        checks.fail(f"a new tensor is {x.dtype}, which an old one of dtype {old.dtype} cannot hold")
    fits = jnp.issubdtype(old.dtype, jnp.inexact) or not jnp.issubdtype(x.dtype, jnp.inexact)
    return numerics.convert(x, old.dtype, weak=old.weak_type) if fits else x

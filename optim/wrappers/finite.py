"""Leaving out updates that are not finite."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..numerics import safe_increment
from ..transforms.momentum import ema
from ..types import Array, Count, Params, Scalar, TransformationLike
from .gate import finite, nothing, seeing_all, step_if


class ApplyIfFiniteState(NamedTuple):
    notfinite_count: Count
    last_finite: Array
    total_notfinite: Count
    inner_state: Any


@register(
    example(ema(0.9), 2),
    ranges={"max_consecutive_errors": checks.STEPS},
    errors=[(example(1, 2), "inner must be a transformation (init, update), got 1")],
)
def apply_if_finite(inner: TransformationLike, max_consecutive_errors: Scalar) -> GradientTransformationExtraArgs:
    """Leave out an update that holds an infinite or undefined element, unless too many such come in a row.

    Where it is left out the updates are zero, and `inner` neither sees it nor counts it.

    Args:    inner: a transformation. max_consecutive_errors: an integer >= 0; after so many bad updates in a row
             the next bad ones are applied as they are, so that a diverged run is seen to be one.
    State:   ApplyIfFiniteState(notfinite_count, last_finite, total_notfinite, inner_state): the bad updates in a
             row, whether the last was good, and all bad ones so far.
    """
    member = taking_extra_args(inner, "inner")

    def init(params: Params) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(
            jnp.zeros((), jnp.int32), jnp.ones((), bool), jnp.zeros((), jnp.int32), member.init(params)
        )

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        good = finite(updates)
        errors = jnp.where(good, 0, safe_increment(state.notfinite_count))
        taken = good | (errors > max_consecutive_errors)
        updates, inner_state = step_if(taken, member, updates, state.inner_state, params, extra_args, left=nothing)
        total = jnp.where(good, state.total_notfinite, safe_increment(state.total_notfinite))
        return updates, ApplyIfFiniteState(errors, good, total, inner_state)

    return around(
        member,
        init,
        update,
        inner=lambda state: state.inner_state,
        grain=seeing_all(member),
        state_classes=(ApplyIfFiniteState,),
    )

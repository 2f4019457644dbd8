"""Non-finite updates are skipped."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..numerics import safe_increment
from ..transforms.momentum import ema
from ..types import Array, Count, Params, Scalar, TransformationLike
from .gate import finite, seeing_all, step_if, zero_updates


class ApplyIfFiniteState(NamedTuple):
    notfinite_count: Count
    last_finite: Array
    total_notfinite: Count
    inner_state: Any


@register(
    example(ema(0.9), 2),
    ranges={"max_consecutive_errors": checks.STEPS},
    exceptions={"golden": "it only chooses what its inner transformation sees"},
    errors=[(example(1, 2), "inner must be a transformation (init, update), got 1")],
)
def apply_if_finite(inner: TransformationLike, max_consecutive_errors: Scalar) -> GradientTransformationExtraArgs:
    """Skip an update with an infinite or NaN element, unless too many of them come in a row.

    A skipped update is replaced by zeros, and the state of `inner` does not change.

    Args:
      inner: a transformation.
      max_consecutive_errors: number of consecutive non-finite updates that are skipped, an integer >= 0. Usually 3 to
        10. Further ones are applied, so that a diverged model is noticed.
    State:   ApplyIfFiniteState(notfinite_count, last_finite, total_notfinite, inner_state): consecutive non-finite
             updates, whether the last update was finite, and all non-finite updates so far.
    When:    training with loss scaling, or with rare numerical failures.
    """
    member = taking_extra_args(inner, "inner")

    def init(params: Params) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(
            jnp.zeros((), jnp.int32), jnp.ones((), bool), jnp.zeros((), jnp.int32), member.init(params)
        )

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        is_finite = finite(updates)
        errors = jnp.where(is_finite, 0, safe_increment(state.notfinite_count))
        taken = is_finite | (errors > max_consecutive_errors)
        updates, inner_state = step_if(
            taken, member, updates, state.inner_state, params, extra_args, otherwise=zero_updates
        )
        total = jnp.where(is_finite, state.total_notfinite, safe_increment(state.total_notfinite))
        return updates, ApplyIfFiniteState(errors, is_finite, total, inner_state)

    return around(
        member,
        init,
        update,
        inner=lambda state: state.inner_state,
        grain=seeing_all(member),
        state_classes=(ApplyIfFiniteState,),
        exact=member.facts.exact,
    )

"""An outer optimizer: Nesterov's momentum on what an inner one has moved in several steps."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..checks import NON_NEGATIVE, Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot
from ..lift.wrap import wrap
from ..numerics import hyperparameter, scalar_dtype, scaled
from ..transforms.momentum import ema
from ..types import Array, Count, Params, Scalar, TransformationLike, Updates


class OuterNesterovState(NamedTuple):
    count: Count
    inner_state: Any
    slow: Params
    trace: Updates


@register(
    example(ema(0.9), 2),
    example(ema(0.9), 3, 0.5, 0.5, nesterov=False),
    ranges={
        "sync_period": Range(1, integer=True, means="number of inner updates between two outer ones"),
        "outer_learning_rate": Range(NON_NEGATIVE.low, means="step size of the outer optimizer"),
        "momentum": checks.DECAY,
    },
    exceptions={
        "precision": "an update that leads back to the slow parameters is rounded at their size",
        "independent": "packages have it as a loop around an optimizer",
    },
    errors=[(example(1, 2), "inner must be a transformation (init, update), got 1")],
)
def outer_nesterov(
    inner: TransformationLike,
    sync_period: int,
    outer_learning_rate: Scalar = 0.7,
    momentum: Scalar = 0.9,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Move slow parameters by Nesterov's momentum on the displacement of several inner updates, which restart there.

        every K = sync_period updates:    d  = slow - fast
                                          b <- momentum b + d
                                          slow <- slow - outer_learning_rate (d + momentum b);  fast <- slow

    The parameters are the fast ones; `eval_params` returns the slow ones. `lookahead` is this without momentum.

    Args:
      inner: a transformation, which moves the fast parameters; its state goes on.
      sync_period: K, an integer >= 1. Usually 30 to 500.
      outer_learning_rate: step size of the outer optimizer, >= 0. Usually 0.7.
      momentum: decay of b, in [0, 1). Usually 0.9, or 0.5 for short periods.
      nesterov: whether to add momentum b to d; False moves by b.
    State:   OuterNesterovState(count, inner_state, slow, trace): 8 bytes per float32 parameter.
    Source:  Douillard et al. 2023, DiLoCo, Alg. 1, for one worker; Kallusky et al. 2025, SNOO.
    When:    around AdamW or Muon, at their usual learning rates.
    """

    def scalars(t: Count) -> dict[str, Array]:
        # 0 except at a synchronisation; `cond` or `where` would write whole trees to memory.
        now = jnp.where(t % sync_period == 0, 1, 0).astype(scalar_dtype())
        rate = now * hyperparameter(outer_learning_rate).astype(now.dtype)
        return {"now": now, "rate": rate}

    def rule(u: Array, p: Array, slow: Array, trace: Array, now: Array, rate: Array) -> Any:
        gap = (slow - p) - u  # this order rounds no intermediate of the magnitude of p
        moved = gap + scaled(trace, momentum)
        step = gap + scaled(moved, momentum) if nesterov else moved
        step = scaled(step, rate)
        return u + (scaled(gap, now) - step), (slow - step, trace + scaled(moved - trace, now))

    return wrap(
        taking_extra_args(inner, "inner"),
        rule,
        OuterNesterovState,
        scalars=scalars,
        evaluate=lambda slow: slow,
        slow=Slot(init=lambda p: p, decay=1.0),
        trace=Slot(decay=1.0),
    )

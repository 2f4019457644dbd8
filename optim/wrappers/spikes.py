"""Steps are skipped where the loss or the gradient's norm is far above what it was."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import tree
from ..checks import Range
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..numerics import convert, like, loss, safe_increment, scalar_dtype
from ..transforms.momentum import ema
from ..types import Array, Count, Params, Scalar, TransformationLike
from .gate import seeing_all, step_if, zero_updates


class SkipSpikesState(NamedTuple):
    inner_state: Any
    norms: Array
    norm_count: Count
    values: Array
    value_count: Count
    last_skipped: Array
    total_skipped: Count


def _is_spike(x: Array, past: Array, count: Count, least: int, sigmas: Scalar) -> Array:
    """Whether x is above the mean of the past values by more than `sigmas` standard deviations, or not finite."""
    known = jnp.arange(past.shape[0], dtype=count.dtype) < count
    number = jnp.maximum(jnp.minimum(count, past.shape[0]), 1).astype(past.dtype)
    mean = jnp.sum(jnp.where(known, past, 0)) / number
    deviation = jnp.sqrt(jnp.sum(jnp.where(known, jnp.square(past - mean), 0)) / number)
    spike: Array = ~jnp.isfinite(x) | ((count >= least) & (x > mean + like(deviation, sigmas) * deviation))
    return spike


def _noted(x: Array, past: Array, count: Count) -> tuple[Array, Count]:
    """`past` with x in the place of the oldest value. A value that is not finite is not noted."""
    finite, place = jnp.isfinite(x), count % past.shape[0]
    return past.at[place].set(jnp.where(finite, x, past[place])), jnp.where(finite, safe_increment(count), count)


@register(
    example(ema(0.9)).given(value=1.0),
    example(ema(0.9), 4, 0.5, 1).given(value=1.0),
    ranges={
        "window": Range(2, integer=True, means="number of past values that are compared with"),
        "sigmas": Range(0, means="largest distance from the mean, in standard deviations"),
        "min_history": Range(1, integer=True, optional=True, means="number of past values before a step is skipped"),
    },
    exceptions={"golden": "it only chooses what its inner transformation sees"},
    errors=[(example(1), "tx must be a transformation (init, update), got 1")],
)
def skip_spikes(
    tx: TransformationLike, window: int = 128, sigmas: Scalar = 6.0, min_history: int | None = None
) -> GradientTransformationExtraArgs:
    """Skip a step whose gradient norm or loss is far above its past values.

        skip where x > mean + sigmas std of the last `window` values, for x the global norm and for x the loss

    A skipped update is zero, and the state of `tx` does not change. Its norm and loss count as past values all the
    same, so that a lasting change is followed. An infinite or NaN value is always skipped, and is not counted.

    Args:
      tx: a transformation.
      window: number of past values, >= 2. Usually 128.
      sigmas: largest distance from the mean, in standard deviations, >= 0. Usually 6.
      min_history: number of past values before a step can be skipped, >= 1; None is half of window.
    State:   SkipSpikesState: the state of `tx`, two buffers of window numbers, whether the last step was skipped, and
             how many were.
    Source:  OLMo's skip-step optimizer. The loss is the extra argument `value` of update; without it the norm decides.
    When:    large language models, around the whole optimizer.
    """
    member, least = taking_extra_args(tx, "tx"), max(window // 2, 1) if min_history is None else min_history

    def init(params: Params) -> SkipSpikesState:
        buffers = [jnp.zeros((window,), scalar_dtype()) for _ in range(2)]
        counts = [jnp.zeros((), jnp.int32) for _ in range(3)]
        return SkipSpikesState(
            member.init(params), buffers[0], counts[0], buffers[1], counts[1], jnp.zeros((), bool), counts[2]
        )

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        norm = convert(jnp.asarray(tree.global_norm(updates)), state.norms.dtype)
        skip = _is_spike(norm, state.norms, state.norm_count, least, sigmas)
        norms, norm_count = _noted(norm, state.norms, state.norm_count)
        values, value_count = state.values, state.value_count
        if "value" in extra_args:
            value = convert(loss(extra_args["value"]), values.dtype)
            skip |= _is_spike(value, values, value_count, least, sigmas)
            values, value_count = _noted(value, values, value_count)
        updates, inner = step_if(~skip, member, updates, state.inner_state, params, extra_args, otherwise=zero_updates)
        total = jnp.where(skip, safe_increment(state.total_skipped), state.total_skipped)
        return updates, SkipSpikesState(inner, norms, norm_count, values, value_count, skip, total)

    return around(
        member,
        init,
        update,
        inner=lambda state: state.inner_state,
        grain=seeing_all(member),
        state_classes=(SkipSpikesState,),
    )

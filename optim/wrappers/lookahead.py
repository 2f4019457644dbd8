"""Fast parameters that a slow copy follows, and goes back to."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..checks import Range
from ..core.apply import apply_updates
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot, StateScalar
from ..lift.wrap import wrap
from ..numerics import like, safe_increment, scalar_dtype, scaled
from ..transforms.momentum import ema
from ..types import Array, Count, Params, Scalar, TransformationLike
from .gate import fitted


class LookaheadParams(NamedTuple):
    """The parameters to take gradients at, and those that follow them."""

    fast: Params
    slow: Params

    @classmethod
    def init_synced(cls, params: Params) -> "LookaheadParams":
        """Both equal to `params`; the slow ones in buffers of their own, so that both can be donated."""
        return cls(params, tree.map(lambda p: jnp.array(p, copy=True), params))


class LookaheadState(NamedTuple):
    fast_state: Any
    steps_since_sync: Count


class LookaheadSlowState(NamedTuple):
    """`LookaheadState` with the slow parameters, where `params` are the fast ones alone."""

    fast_state: Any
    steps_since_sync: Count
    slow: Params


def _paired(params: Any) -> bool:
    """Whether these are fast and slow parameters, of this library or another."""
    return isinstance(params, tuple) and getattr(params, "_fields", None) == LookaheadParams._fields


@register(
    example(ema(0.9), 2, 0.5),
    example(ema(0.9), 3, 0.5, reset_state=True),
    ranges={"sync_period": Range(1, integer=True), "slow_step_size": checks.CLOSED_UNIT},
    exceptions={"precision": "an update that leads back to the slow parameters is rounded at their size"},
    errors=[(example(1, 2, 0.5), "fast_optimizer must be a transformation (init, update), got 1")],
)
def lookahead(
    fast_optimizer: TransformationLike, sync_period: Scalar, slow_step_size: Scalar, reset_state: bool = False
) -> GradientTransformationExtraArgs:
    """Let slow parameters follow every k-th step of fast ones, which then start again from there.

        slow <- slow + alpha (fast - slow);  fast <- slow      every k = sync_period updates

    With plain parameters, which are the fast ones, the state holds the slow ones, and `eval_params` gives them. With
    `LookaheadParams(fast, slow)`, whose gradients are shaped like fast, they are the caller's, and the update is a
    `LookaheadParams` as well.

    Args:    fast_optimizer: a transformation. sync_period: an integer >= 1. slow_step_size (alpha) in [0, 1].
             reset_state: whether the state of fast_optimizer starts anew with the fast parameters.
    State:   LookaheadState(fast_state, steps_since_sync), or LookaheadSlowState with slow besides: 4 bytes per float32
             parameter.
    Source:  Zhang et al. 2019, Alg. 1.
    Differs: Optax knows `LookaheadParams` only.
    """
    member = taking_extra_args(fast_optimizer, "fast_optimizer")

    def rule(u: Array, p: Array, slow: Array, to_fast: Array, to_slow: Array) -> Any:
        gap = (slow - p) - u  # in this order nothing as large as p is rounded
        return u + scaled(gap, to_slow), slow - scaled(gap, to_fast)

    def scalars(steps_since_sync: Count) -> dict[str, Array]:
        count = safe_increment(steps_since_sync)
        synced = count >= sync_period
        # 0 but where they meet; a condition would write every tree to memory.
        now = synced.astype(scalar_dtype())
        to_fast = now * like(now, slow_step_size)
        return {"steps_since_sync": jnp.where(synced, 0, count), "to_fast": to_fast, "to_slow": now - to_fast}

    meeting = wrap(
        member,
        rule,
        LookaheadSlowState,
        scalars=scalars,
        evaluate=lambda slow: slow,
        steps_since_sync=StateScalar(0, jnp.int32),
        slow=Slot(init=lambda p: p, decay=1.0),
    )

    def init(params: Params) -> Any:
        state = meeting.init(params.fast if _paired(params) else params)
        return LookaheadState(*state[:2]) if _paired(params) else state

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        paired = _paired(params)
        if params is None:
            checks.fail("update needs the parameters: call update(updates, state, params)")
        if paired == hasattr(state, "slow"):
            kinds = ("LookaheadParams", "the fast parameters alone")
            checks.fail(f"params are {kinds[not paired]}, init was given {kinds[paired]}")
        fast = params.fast if paired else params
        whole = (
            LookaheadSlowState(state.fast_state, state.steps_since_sync, tree.widen(params.slow)) if paired else state
        )
        new, after = meeting.update(updates, whole, fast, **extra_args)
        if reset_state:
            started = fitted(member.init(apply_updates(fast, new)), after.fast_state)
            synced = after.steps_since_sync == 0
            fast_state = jax.tree.map(lambda a, b: jnp.where(synced, a, b), started, after.fast_state)
            after = after._replace(fast_state=fast_state)
        if not paired:
            return new, after
        follow = tree.map(lambda _, to, at: to - at, new, after.slow, whole.slow)
        return type(params)(new, tree.cast_like(follow, params.slow)), LookaheadState(*after[:2])

    def evaluates(state: Any, params: Any) -> Any:
        assert meeting.facts.evaluates is not None
        return params.slow if _paired(params) else meeting.facts.evaluates(state, params)

    (inside,) = meeting.facts.members
    inside = replace(inside, state=lambda state: state.fast_state, params=lambda p: p.fast if _paired(p) else p)
    pair = GradientTransformationExtraArgs(init, update)
    return pair.declaring(
        grain=meeting.grain,
        members=(inside,),
        state_classes=(LookaheadSlowState, LookaheadState),
        slots=meeting.facts.slots,
        evaluates=evaluates,
    )

"""Fast parameters that a slow copy follows, and goes back to."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..base import GradientTransformationExtraArgs, apply_updates, taking_extra_args
from ..checks import Range
from ..compose import around
from ..lift import Slot, elementwise
from ..numerics import like, safe_increment, scalar_dtype, scaled
from ..registry import example, register
from ..transforms.momentum import ema
from ..types import Array, Count, Params, Scalar
from .gate import fitted, present, restored


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


class _Slow(NamedTuple):
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
    fast_optimizer: Any, sync_period: Scalar, slow_step_size: Scalar, reset_state: bool = False
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

    def rule(g: Array, p: Array, slow: Array, to_fast: Array, to_slow: Array) -> Any:
        gap = (slow - p) - g  # in this order nothing as large as p is rounded
        return g + scaled(gap, to_slow), slow - scaled(gap, to_fast)

    def scalars(synced: Array) -> dict[str, Array]:
        # 0 but where they meet; a condition would write every tree to memory.
        now = synced.astype(scalar_dtype())
        return {"to_fast": now * like(now, slow_step_size), "to_slow": now * (1 - like(now, slow_step_size))}

    meet = elementwise(rule, _Slow, scalars=scalars, slow=Slot(init=lambda p: p, decay=1.0))

    def init(params: Params) -> Any:
        if _paired(params):
            return LookaheadState(member.init(params.fast), jnp.zeros((), jnp.int32))
        return LookaheadSlowState(member.init(params), jnp.zeros((), jnp.int32), meet.init(params).slow)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        paired = _paired(params)
        if params is None:
            checks.fail("update needs the parameters: call update(updates, state, params)")
        if paired == hasattr(state, "slow"):
            kinds = ("LookaheadParams", "the fast parameters alone")
            checks.fail(f"params are {kinds[not paired]}, init was given {kinds[paired]}")
        fast = params.fast if paired else params
        places = tree.structure(fast).unflatten(tree.match(updates, fast, "updates", "params"))
        slow = tree.widen(params.slow) if paired else state.slow
        wide = tree.widen(present(places))
        steps, fast_state = member.update(wide, state.fast_state, fast, **extra_args)
        count = safe_increment(state.steps_since_sync)
        synced = count >= sync_period
        new, (new_slow,) = meet.update(steps, _Slow(slow), fast, synced=synced)
        if reset_state:
            started = fitted(member.init(apply_updates(fast, new)), fast_state)
            fast_state = jax.tree.map(lambda a, b: jnp.where(synced, a, b), started, fast_state)
        count = jnp.where(synced, 0, count)
        new = restored(new, places)
        if not paired:
            return new, LookaheadSlowState(fast_state, count, new_slow)
        follow = tree.map(lambda _, to, at: to - at, present(places), new_slow, slow)
        pair = type(params)(fast=new, slow=tree.cast_like(follow, params.slow))
        return pair, LookaheadState(fast_state, count)

    def evaluates(state: Any, params: Any) -> Any:
        if _paired(params):
            return params.slow
        return tree.map(lambda p, s: p if s is None else tree.cast_like(s, p), params, state.slow)

    def seen(params: Any) -> Any:
        return params.fast if _paired(params) else params

    return around(
        member,
        init,
        update,
        inner=lambda state: state.fast_state,
        seen=seen,
        state_classes=(LookaheadSlowState, LookaheadState),
        slots=("slow",),
        evaluates=evaluates,
    )

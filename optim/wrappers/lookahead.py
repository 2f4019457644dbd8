"""Lookahead: fast parameters, and slow ones that follow them."""

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
from ..tree.params import FORMS, PARAMS
from ..types import Array, Count, Params, Scalar, TransformationLike
from .gate import fitted


class LookaheadParams(NamedTuple):
    """The fast parameters, at which gradients are taken, and the slow ones that follow them."""

    fast: Params
    slow: Params

    @classmethod
    def init_synced(cls, params: Params) -> "LookaheadParams":
        """Fast and slow parameters equal to `params`; the slow ones are copies, so that both can be donated.

        Args:
          params: the initial parameters.
        """
        return cls(params, tree.map(lambda p: jnp.array(p, copy=True), params))


class LookaheadState(NamedTuple):
    fast_state: Any
    steps_since_sync: Count


FORMS[LookaheadState] = LookaheadParams(PARAMS, PARAMS)


class LookaheadSlowState(NamedTuple):
    """`LookaheadState` with the slow parameters, for plain `params`, which are the fast ones."""

    fast_state: Any
    steps_since_sync: Count
    slow: Params


def _paired(params: Any) -> bool:
    """Whether `params` is a `LookaheadParams`, of this library or of Optax."""
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
    """Let slow parameters follow every k-th step of fast ones, which then restart from them.

        slow <- slow + alpha (fast - slow);  fast <- slow      every k = sync_period updates

    Plain parameters are the fast ones: the state holds the slow ones, and `eval_params` returns them. With
    `LookaheadParams(fast, slow)` the caller holds both; gradients are shaped like fast, and the update is a
    `LookaheadParams`.

    Args:
      fast_optimizer: a transformation, which moves the fast parameters.
      sync_period: k, an integer >= 1. Usually 5 or 10.
      slow_step_size: alpha, in [0, 1]. Usually 0.5.
      reset_state: whether to initialise the state of fast_optimizer anew at every synchronisation.
    State:   LookaheadState(fast_state, steps_since_sync), or LookaheadSlowState with slow as well: 4 bytes per float32
             parameter.
    Source:  Zhang et al. 2019, Alg. 1.
    Differs: Optax accepts `LookaheadParams` only.
    When:    to make a fast optimizer more stable, at its usual learning rate.
    """
    member = taking_extra_args(fast_optimizer, "fast_optimizer")

    def rule(u: Array, p: Array, slow: Array, to_fast: Array, to_slow: Array) -> Any:
        gap = (slow - p) - u  # this order rounds no intermediate of the magnitude of p
        return u + scaled(gap, to_slow), slow - scaled(gap, to_fast)

    def scalars(steps_since_sync: Count) -> dict[str, Array]:
        count = safe_increment(steps_since_sync)
        synced = count >= sync_period
        # 0 except at a synchronisation; `cond` or `where` would write whole trees to memory.
        now = synced.astype(scalar_dtype())
        to_fast = now * like(now, slow_step_size)
        return {"steps_since_sync": jnp.where(synced, 0, count), "to_fast": to_fast, "to_slow": now - to_fast}

    synchronising = wrap(
        member,
        rule,
        LookaheadSlowState,
        scalars=scalars,
        evaluate=lambda slow: slow,
        steps_since_sync=StateScalar(0, jnp.int32),
        slow=Slot(init=lambda p: p, decay=1.0),
    )

    def init(params: Params) -> Any:
        state = synchronising.init(params.fast if _paired(params) else params)
        return LookaheadState(*state[:2]) if _paired(params) else state

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        paired = _paired(params)
        if params is None:
            checks.fail("update needs the parameters: call update(updates, state, params)")
        if paired == hasattr(state, "slow"):
            kinds = ("LookaheadParams", "the fast parameters alone")
            checks.fail(f"params are {kinds[not paired]}, init was given {kinds[paired]}")
        fast = params.fast if paired else params
        full_state = (
            LookaheadSlowState(state.fast_state, state.steps_since_sync, tree.widen(params.slow)) if paired else state
        )
        new, after = synchronising.update(updates, full_state, fast, **extra_args)
        if reset_state:
            fresh_state = fitted(member.init(apply_updates(fast, new)), after.fast_state)
            synced = after.steps_since_sync == 0
            fast_state = jax.tree.map(lambda a, b: jnp.where(synced, a, b), fresh_state, after.fast_state)
            after = after._replace(fast_state=fast_state)
        if not paired:
            return new, after
        follow = tree.map(lambda _, to, at: to - at, new, after.slow, full_state.slow)
        return type(params)(new, tree.cast_like(follow, params.slow)), LookaheadState(*after[:2])

    def evaluates(state: Any, params: Any) -> Any:
        assert synchronising.facts.evaluates is not None
        return params.slow if _paired(params) else synchronising.facts.evaluates(state, params)

    (part,) = synchronising.facts.members
    part = replace(part, state=lambda state: state.fast_state, params=lambda p: p.fast if _paired(p) else p)
    pair = GradientTransformationExtraArgs(init, update)
    return pair.declaring(
        grain=synchronising.grain,
        members=(part,),
        state_classes=(LookaheadSlowState, LookaheadState),
        slots=synchronising.facts.slots,
        evaluates=evaluates,
    )

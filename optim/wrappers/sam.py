"""Sharpness-aware minimization: descend with the gradient at an adversarial point."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, tree
from ..checks import Range
from ..core.apply import apply_updates
from ..core.facts import Member
from ..core.members import coarsest
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot, elementwise
from ..numerics import safe_increment
from ..transforms.momentum import ema
from ..transforms.scaling import scale
from ..types import Count, Params, TransformationLike
from .gate import either, fitted, present, restored


class SAMState(NamedTuple):
    steps_since_sync: Count
    opt_state: Any
    adv_state: Any
    cache: Any


class _Cache(NamedTuple):
    cache: Any


def _half(params: Params, i: Any) -> Any:
    del i
    return tree.map(lambda p: 0.5 * p if jnp.issubdtype(p.dtype, jnp.inexact) else None, params)


@register(
    example(ema(0.9), scale(-0.1)),
    example(ema(0.9), ema(0.9), 3, reset_state=False),
    example(ema(0.9), scale(-0.1), opaque_mode=True).given(grad_fn=_half),
    example(ema(0.9), ema(0.9), 4, opaque_mode=True).given(grad_fn=_half),
    ranges={"sync_period": Range(1, integer=True)},
    errors=[
        (example(1, ema(0.9)), "optimizer must be a transformation (init, update), got 1"),
        (example(ema(0.9), 1), "adv_optimizer must be a transformation (init, update), got 1"),
    ],
)
def sam(
    optimizer: TransformationLike,
    adv_optimizer: TransformationLike,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: str | None = None,
) -> GradientTransformationExtraArgs:
    """Step with the gradient at an adversarial point, which `adv_optimizer` reaches by ascending.

        q <- p;  q <- q - adv(grad at q)      k - 1 times;  p <- p + opt(grad at q)

    By default every k-th update is a step of `optimizer` from the cached parameters, and the k - 1 updates before it
    ascend. In opaque mode one update does both, with gradients from the extra argument grad_fn(params, i).

    Args:
      optimizer: a transformation, which takes the step.
      adv_optimizer: a transformation that descends, and is applied with the opposite sign; `sgd(rho)` after `normalize`
        is SAM, with rho usually 0.05.
      sync_period: k, an integer >= 1. Usually 2.
      reset_state: whether to initialise the state of adv_optimizer anew after every step of optimizer.
      opaque_mode: whether one update does the whole ascent and the step.
      batch_axis_name: in opaque mode, the mapped axis over which the gradients at q are averaged; None for none. The
        gradients of the ascent are not averaged.
    State:   SAMState(steps_since_sync, opt_state, adv_state, cache): cache is the parameters before the ascent, 4 bytes
             per float32 parameter, or None in opaque mode.
    Source:  Foret et al. 2021, Alg. 1.
    When:    for flatter minima, at twice the cost per step and the optimizer's usual learning rate.
    """
    outer, uphill = taking_extra_args(optimizer, "optimizer"), taking_extra_args(adv_optimizer, "adv_optimizer")
    cached = elementwise(lambda g, p, cache: (g + (cache - p), cache), _Cache, cache=Slot(init=lambda p: p))

    def init(params: Params) -> SAMState:
        cache = None if opaque_mode else cached.init(params).cache
        return SAMState(jnp.zeros((), jnp.int32), outer.init(params), uphill.init(params), cache)

    def plain(updates: Any, state: Any, params: Any, extra_args: Any) -> Any:
        first, count = state.steps_since_sync == 0, safe_increment(state.steps_since_sync)
        cache = tree.map(lambda c, p: jnp.where(first, tree.cast_like(p, c), c), state.cache, params)
        before = tree.map(lambda p, c: p if c is None else c, params, cache)

        def step() -> Any:
            new, opt_state = outer.update(updates, state.opt_state, before, **extra_args)
            new, _ = cached.update(new, _Cache(cache), params)
            return jax.tree.leaves(new), fitted(opt_state, state.opt_state), started(state.adv_state, params)

        def climb() -> Any:
            new, adv_state = uphill.update(updates, state.adv_state, params, **extra_args)
            return jax.tree.leaves(tree.map(jnp.negative, new)), state.opt_state, fitted(adv_state, state.adv_state)

        synced = count >= sync_period
        new, opt_state, adv_state = either(synced, step, climb)
        return restored(new, updates), SAMState(jnp.where(synced, 0, count), opt_state, adv_state, cache)

    def opaque(updates: Any, state: Any, params: Any, extra_args: Any) -> Any:
        if not callable(grad_fn := extra_args.get("grad_fn")):
            checks.fail(
                "update needs grad_fn in opaque mode: call update(updates, state, params, grad_fn=...)", TypeError
            )

        def climb(i: Any, at: Any) -> Any:
            q, g, adv_state = at
            step, new_state = uphill.update(g, adv_state, q, **extra_args)
            q = apply_updates(q, tree.map(jnp.negative, step))
            found = tree.map(lambda _, x: x, g, grad_fn(q, i))
            return q, tree.cast_like(found, g), fitted(new_state, adv_state)

        at = (tree.map(tree.as_array, params), updates, state.adv_state)
        once = checks.is_number(sync_period) and sync_period == 2
        _, g, adv_state = climb(0, at) if once else lax.fori_loop(0, sync_period - 1, climb, at)
        if batch_axis_name is not None:
            mean: Any = lax.pmean  # untyped in jax
            g = mean(g, batch_axis_name)
        new, opt_state = outer.update(g, state.opt_state, params, **extra_args)
        return new, SAMState(state.steps_since_sync, opt_state, started(adv_state, params), None)

    def started(adv_state: Any, params: Any) -> Any:
        return fitted(uphill.init(params), adv_state) if reset_state else adv_state

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        if params is None:
            checks.fail("update needs the parameters: call update(updates, state, params)")
        places = tree.structure(params).unflatten(tree.match(updates, params, "updates", "params"))
        wide = tree.widen(present(places))
        new, state = (opaque if opaque_mode else plain)(wide, state, params, extra_args)
        return restored(new, places), state

    members = (
        Member("optimizer", outer, lambda state: state.opt_state),
        Member("adv_optimizer", uphill, lambda state: state.adv_state),
    )
    return GradientTransformationExtraArgs(init, update).declaring(
        # In opaque mode grad_fn may depend on anything.
        grain=None if opaque_mode else coarsest(outer.grain, uphill.grain),
        state_classes=(SAMState,),
        members=members,
        slots=("cache",),
    )

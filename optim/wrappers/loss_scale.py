"""Losses scaled up, so that float16 gradients do not underflow."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..checks import Range
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..numerics import safe_increment
from ..transforms.momentum import ema
from ..types import Array, Count, OptState, Params, Scalar, TransformationLike
from .gate import finite, seeing_all, step_if, zero_updates


class DynamicLossScaleState(NamedTuple):
    loss_scale: Array
    growth_count: Count
    skipped: Count
    inner_state: Any


@register(
    example(ema(0.9), 4.0, period=2),
    ranges={
        "init": Range(0, open_low=True, means="the scale of the loss at first"),
        "factor": Range(1, open_low=True, means="the scale grows and shrinks by it"),
        "period": Range(1, integer=True, means="finite steps in a row after which the scale grows"),
        "min_scale": Range(0, open_low=True, means="the scale does not become smaller"),
        "max_scale": Range(0, open_low=True, means="the scale does not become larger"),
    },
    exceptions={"golden": "it divides by what the loss was multiplied with; see tests/units/test_loss_scale.py"},
    errors=[(example(1), "tx must be a transformation (init, update), got 1")],
)
def dynamic_loss_scale(
    tx: TransformationLike,
    init: Scalar = 2.0**15,
    factor: Scalar = 2.0,
    period: Scalar = 2000,
    *,
    min_scale: Scalar = 1.0,
    max_scale: Scalar = 2.0**24,
    axis_name: Any = None,
) -> GradientTransformationExtraArgs:
    """Divide gradients of a scaled loss by the scale; skip a step whose gradients overflow, and halve the scale.

        s <- s / factor      and no step, if a gradient is infinite or NaN
        s <- s factor        after `period` finite steps in a row
        u = tx(g / s)

    `make_step` multiplies the loss by the scale and returns the unscaled one. In other steps call `scale_loss`:

        grads = jax.grad(lambda p: optim.scale_loss(state, loss(p)))(params)
        updates, state = tx.update(grads, state, params)

    Args:
      tx: a transformation.
      init: the first scale, > 0. Usually 2^15.
      factor: the scale grows and shrinks by it, > 1. Usually 2.
      period: finite steps in a row after which it grows, an integer >= 1. Usually 2000.
      min_scale, max_scale: bounds of the scale.
      axis_name: axes of `pmap` or `shard_map` whose devices skip a step together if gradients overflow on one of
        them. Not needed where gradients are averaged before.
    State:   DynamicLossScaleState(loss_scale, growth_count, skipped, inner_state); `inspect` reads scale and skipped.
    Source:  Micikevicius et al. 2018, Sec. 3.2.
    When:    float16 models. bfloat16 has float32's range and needs no scale.
    """
    member = taking_extra_args(tx, "tx")
    checks.axis_name("axis_name", axis_name)

    def fresh(params: Params) -> DynamicLossScaleState:
        counts = numerics.zero_count(), numerics.zero_count()
        return DynamicLossScaleState(numerics.fresh(init, jnp.float32), *counts, member.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        taken = finite(updates)
        if axis_name is not None:
            taken = numerics.everywhere(taken, axis_name)
        # The quotient of a float16 gradient may be below float16's range.
        wide = tree.widen(updates)
        inverse = 1 / state.loss_scale
        unscaled = tree.map(lambda g: numerics.scaled(g, inverse), wide)
        new, inner_state = step_if(
            taken, member, unscaled, state.inner_state, params, extra_args, otherwise=zero_updates
        )
        run = jnp.where(taken, safe_increment(state.growth_count), 0)
        grows = run >= period
        scale = jnp.where(
            grows, state.loss_scale * factor, jnp.where(taken, state.loss_scale, state.loss_scale / factor)
        )
        scale = numerics.convert(jnp.clip(scale, min_scale, max_scale), jnp.float32)
        skipped = jnp.where(taken, state.skipped, safe_increment(state.skipped))
        new = new if member.facts.exact else tree.cast_like(new, updates)
        return new, DynamicLossScaleState(scale, jnp.where(grows, 0, run), skipped, inner_state)

    return around(
        member,
        fresh,
        update,
        inner=lambda state: state.inner_state,
        grain=seeing_all(member),
        state_classes=(DynamicLossScaleState,),
        exact=member.facts.exact,
    )


@checks.entrance("scale_loss")
def scale_loss(state: OptState, loss: Array) -> Array:
    """The loss multiplied by the scale in a state of `dynamic_loss_scale`; in float32 at least.

    Args:
      state: the state of a transformation with `dynamic_loss_scale` in it.
      loss: a scalar.
    Raises:  ValueError where the state has no scale, or several.
    """
    scale = loss_scale_of(state)
    if scale is None:
        checks.fail("state has no loss scale: it is one of dynamic_loss_scale")
    wide = numerics.convert(tree.as_array(loss), numerics.wide_dtype(jnp.result_type(loss)))
    return wide * numerics.convert(scale, wide.dtype)


def loss_scale_of(state: OptState) -> Array | None:
    """The loss scale in a state; None if there is none."""
    found = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, DynamicLossScaleState))
    scales = [x.loss_scale for x in found if isinstance(x, DynamicLossScaleState)]
    if len(scales) > 1:
        checks.fail(f"state has {len(scales)} loss scales")
    return scales[0] if scales else None

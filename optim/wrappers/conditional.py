"""Transformations that act at some steps only."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..numerics import safe_increment
from ..transforms.momentum import ema
from ..types import Count, Params, TransformationLike, Tree
from .gate import step_if, zero_updates


class ConditionallyMaskState(NamedTuple):
    step: Count
    inner_state: Any


class ConditionallyTransformState(NamedTuple):
    inner_state: Any
    step: Count


def every_other(step: Count) -> Any:
    return step % 2 == 0


def early(step: Count, **extra_args: Any) -> Any:
    return step < extra_args.get("until", 2)


_ERRORS = [
    (example(1, every_other), "inner must be a transformation (init, update), got 1"),
    (example(ema(0.9), True), "should_transform_fn must be a function of the step, got True"),
]


@register(
    example(ema(0.9), every_other),
    example(ema(0.9), early, True),
    exceptions={"golden": "it only chooses what its inner transformation sees"},
    errors=_ERRORS,
)
def conditionally_mask(
    inner: TransformationLike, should_transform_fn: Callable[..., Any], forward_extra_args: bool = False
) -> GradientTransformationExtraArgs:
    """Apply `inner` at the steps that a function chooses; at the other steps updates are zero.

    Args:
      inner: a transformation, whose state stays as it is at the other steps.
      should_transform_fn: function step -> bool, where step is 0 at the first update.
      forward_extra_args: whether to pass it the extra arguments of update as keywords.
    State:   ConditionallyMaskState(step, inner_state); step counts all updates.
    """
    return _conditionally(inner, should_transform_fn, forward_extra_args, ConditionallyMaskState, zero_updates)


@register(
    example(ema(0.9), every_other),
    example(ema(0.9), early, True),
    exceptions={"golden": "it only chooses what its inner transformation sees"},
    errors=_ERRORS,
)
def conditionally_transform(
    inner: TransformationLike, should_transform_fn: Callable[..., Any], forward_extra_args: bool = False
) -> GradientTransformationExtraArgs:
    """Apply `inner` at the steps that a function chooses; at the other steps updates pass through unchanged.

    Args:
      inner: a transformation, whose state stays as it is at the other steps.
      should_transform_fn: function step -> bool, where step is 0 at the first update.
      forward_extra_args: whether to pass it the extra arguments of update as keywords.
    State:   ConditionallyTransformState(inner_state, step); step counts all updates.
    """
    return _conditionally(
        inner, should_transform_fn, forward_extra_args, ConditionallyTransformState, lambda updates: updates
    )


def _conditionally(
    inner: TransformationLike,
    chosen: Callable[..., Any],
    forward: bool,
    state_class: Any,
    otherwise: Callable[[Tree], Tree],
) -> GradientTransformationExtraArgs:
    member = taking_extra_args(inner, "inner")
    checks.function("should_transform_fn", chosen, "a function of the step", arity=None if forward else 1)

    def init(params: Params) -> Any:
        return state_class(inner_state=member.init(params), step=jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        taken = chosen(state.step, **extra_args) if forward else chosen(state.step)
        args = (member, updates, state.inner_state, params, extra_args)
        updates, inner_state = step_if(taken, *args, otherwise=otherwise)
        return updates, state_class(inner_state=inner_state, step=safe_increment(state.step))

    return around(member, init, update, inner=lambda state: state.inner_state, state_classes=(state_class,))

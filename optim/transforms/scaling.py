"""Multiplication of every update by one number."""

from typing import NamedTuple

import jax.numpy as jnp

from .. import checks
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..core.stateless import EmptyState, identity
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise
from ..numerics import floating, last, scaled, scheduled
from ..schedules import inverse_time_decay
from ..types import Array, Count, Scalar, ScalarOrSchedule, Schedule

ScaleState = EmptyState


class ScaleByScheduleState(NamedTuple):
    count: Count


@register(example(0.5), ranges={"step_size": checks.REAL})
def scale(step_size: Scalar) -> GradientTransformationExtraArgs:
    """Multiply updates by step_size.

    Args:
      step_size: any finite number, or an array of shape ().
    """
    return elementwise(lambda g: scaled(g, step_size))


@register(example(inverse_time_decay(0.1, 1, 0.01)))
def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformationExtraArgs:
    """Multiply updates by step_size_fn(count), where count is 0 at the first update.

    Args:
      step_size_fn: a schedule, count -> factor.
    State:   count, an int32 scalar.
    Raises:  TypeError if step_size_fn is not a function.
    """
    if checks.is_number(step_size_fn):
        checks.fail(
            f"step_size_fn must be a schedule, got {checks.shown(step_size_fn)}; did you mean scale?", TypeError
        )
    checks.function("step_size_fn", step_size_fn, "a schedule", arity=1)

    def scalars(t: Count) -> dict[str, Array]:
        return {"factor": scheduled(step_size_fn, t - jnp.ones_like(t))}

    return elementwise(lambda g, factor: scaled(g, factor), ScaleByScheduleState, scalars=scalars)


@register(example(0.1), example(inverse_time_decay(0.1, 1, 0.01)), example(0.1, flip_sign=False))
def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule | None = None, *, flip_sign: bool = True
) -> GradientTransformationExtraArgs:
    """Multiply updates by minus the learning rate.

    Args:
      learning_rate: step size, >= 0: a number, an array of shape (), or a schedule count -> value; None returns the
        updates unchanged, with their sign.
      flip_sign: whether to multiply by minus one, so that updates descend.
    State:   empty for a number or array; `ScaleByScheduleState(count)` for a schedule.
    """
    if learning_rate is None:
        return identity()
    if callable(learning_rate):
        rate = learning_rate
        tx = scale_by_schedule(ScheduleFn(lambda count: -scheduled(rate, count)) if flip_sign else rate)
        return tx.declaring(exposes=lambda state: {"learning_rate": scheduled(rate, last(state.count))})
    number = learning_rate
    return scale(-floating(number) if flip_sign else number).declaring(exposes=lambda state: {"learning_rate": number})


@register()
def set_to_zero() -> GradientTransformationExtraArgs:
    """Replace every update by zero."""
    return elementwise(lambda g: jnp.zeros_like(g))

"""Sums, products, bounds and shifts of schedules."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from .. import checks
from ..checks import Range
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar, Schedule
from .cosine import cosine_decay_schedule
from .polynomial import linear_schedule
from .progress import schedule, value

_LINE, _COSINE = linear_schedule(0.0, 1.0, 5), cosine_decay_schedule(0.1, 20)
_ERRORS = [
    (example([]), "schedules must be a list of one or more schedules and numbers, got []"),
    (example(["adam"]), "schedules[0] must be a schedule or a number, got 'adam'"),
]


def _combined(schedules: Any, f: Callable[[Array, Array], Array]) -> ScheduleFn:
    if not isinstance(schedules, list | tuple) or not schedules:
        got = checks.shown(schedules)
        checks.fail(f"schedules must be a list of one or more schedules and numbers, got {got}", TypeError)
    parts = list(schedules)
    for i, part in enumerate(parts):
        if callable(part):
            checks.function(f"schedules[{i}]", part, "a schedule", arity=1)
        elif not (checks.is_number(part) or (checks.is_array(part) and part.shape == ())):
            checks.fail(f"schedules[{i}] must be a schedule or a number, got {checks.shown(part)}", TypeError)

    def at(count: Array) -> Array:
        return functools.reduce(f, [value(part(count) if callable(part) else part) for part in parts])

    return schedule(at)


@register(example([_LINE, _COSINE]), example([_COSINE, 0.01]), kind="schedule", errors=_ERRORS)
def add_schedules(schedules: Sequence[Any]) -> ScheduleFn:
    """The sum of schedules and numbers, at the same count.

    Args:
      schedules: a list of schedules and numbers.
    Raises:  TypeError for an entry that is neither a schedule nor a number.
    """
    return _combined(schedules, lambda x, y: x + y)


@register(example([_LINE, _COSINE]), example([_COSINE, 0.5, 0.5]), kind="schedule", errors=_ERRORS)
def multiply_schedules(schedules: Sequence[Any]) -> ScheduleFn:
    """The product of schedules and numbers, at the same count.

        multiply_schedules([linear_schedule(0.0, 1.0, 1_000), inverse_time_decay(1e-3, 1, 1e-4)])

    Args:
      schedules: a list of schedules and numbers, the factors.
    Raises:  TypeError for an entry that is neither a schedule nor a number.
    """
    return _combined(schedules, lambda x, y: x * y)


@register(
    example(_COSINE, 0.02, 0.08),
    example(_LINE, max_value=0.5),
    kind="schedule",
    ranges={
        "min_value": Range(optional=True, means="lower bound"),
        "max_value": Range(optional=True, means="upper bound"),
    },
    errors=[
        (example(0.1, 0.0), "schedule_fn must be a schedule, got 0.1"),
        (example(_LINE, 0.5, 0.1), "max_value must be >= min_value = 0.5, got 0.1"),
    ],
)
def clip_schedule(
    schedule_fn: Schedule, min_value: Scalar | None = None, max_value: Scalar | None = None
) -> ScheduleFn:
    """A schedule whose values are held between two bounds.

    Args:
      schedule_fn: a schedule.
      min_value: lower bound, in units of its values; None is without.
      max_value: upper bound, >= min_value; None is without.
    Raises:  TypeError if schedule_fn is not a function; ValueError for bounds in the wrong order.
    """
    checks.function("schedule_fn", schedule_fn, "a schedule", arity=1)
    low, high = (x if checks.is_number(x) else None for x in (min_value, max_value))
    if low is not None and high is not None and high < low:
        checks.fail(f"max_value must be >= min_value = {min_value}, got {max_value}")

    def at(count: Array, low: Array | None, high: Array | None) -> Array:
        now = value(schedule_fn(count))
        now = now if low is None else jnp.maximum(now, value(low))
        return now if high is None else jnp.minimum(now, value(high))

    return schedule(at, min_value, max_value)


@register(
    example(_COSINE, 5),
    example(_COSINE, -5),
    kind="schedule",
    ranges={"shift": Range(integer=True, means="number of counts by which a schedule is late")},
    errors=[(example(0.1, 3), "schedule_fn must be a schedule, got 0.1")],
)
def shift_schedule(schedule_fn: Schedule, shift: int) -> ScheduleFn:
    """A schedule that begins later, and until then stays at its first value, or one that begins ahead.

        schedule_fn(max(count - shift, 0))

    Args:
      schedule_fn: a schedule.
      shift: number of counts by which it is late; a negative one leaves out its beginning.
    Raises:  TypeError if schedule_fn is not a function.
    """
    checks.function("schedule_fn", schedule_fn, "a schedule", arity=1)
    return schedule(lambda count: schedule_fn(jnp.maximum(count - jnp.asarray(shift, count.dtype), 0)))

"""Schedules in sequence."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .. import checks
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Schedule
from .constant import constant_schedule
from .polynomial import linear_schedule
from .progress import schedule, value


@register(
    example([linear_schedule(0.0, 0.1, 5), constant_schedule(0.1), linear_schedule(0.1, 0.0, 5)], [5, 9]),
    kind="schedule",
    errors=[
        (example([constant_schedule(1.0)], [3]), "needs one boundary fewer than schedules"),
        (example([constant_schedule(1.0)] * 3, [5, 3]), "boundaries must increase"),
        (example([1.0, 2.0], [3]), "schedules[0] must be a schedule, got 1.0"),
    ],
)
def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> ScheduleFn:
    """Run schedules one after another, each with a count that starts at 0.

        join_schedules([linear_schedule(0.0, 0.1, 100), constant_schedule(0.1)], [100])

    Args:
      schedules: the schedules, in their order.
      boundaries: counts at which the next schedule takes over, increasing, one fewer than schedules.
    Raises:  ValueError for another number of boundaries, or if they do not increase.
    """
    if not isinstance(schedules, list | tuple):
        checks.fail(f"schedules must be a list of schedules, got {checks.shown(schedules)}", TypeError)
    boundaries = _counts(boundaries)
    for i, part in enumerate(schedules):
        checks.function(f"schedules[{i}]", part, "a schedule", arity=1)
    if len(schedules) != len(boundaries) + 1:
        checks.fail(f"needs one boundary fewer than schedules, got {len(boundaries)} and {len(schedules)}")
    concrete = [b for b in boundaries if not checks.is_traced(b)]
    if any(b > c for b, c in itertools.pairwise(concrete)):
        checks.fail(f"boundaries must increase, got {list(boundaries)}")

    def at(count: Array) -> Array:
        now = value(schedules[0](count))
        for boundary, part in zip(boundaries, schedules[1:], strict=True):
            now = jnp.where(count < boundary, now, value(part(count - boundary)))
        return now

    return schedule(at)


def _counts(boundaries: Any) -> list[Any]:
    listed = checks.is_array(boundaries) and boundaries.ndim == 1 and not checks.is_traced(boundaries)
    found = list(boundaries) if listed or isinstance(boundaries, list | tuple) else None
    if found is None or not all(checks.is_number(b) or (checks.is_array(b) and b.shape == ()) for b in found):
        return checks.fail(f"boundaries must be a list of counts, got {checks.shown(boundaries)}", TypeError)
    return found

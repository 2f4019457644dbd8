"""A straight line up, and what follows it."""

from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Scalar, Schedule
from .constant import constant_schedule
from .exponential import exponential_decay
from .join import join_schedules
from .polynomial import linear_schedule
from .progress import RANGES


def warmed(init_value: Scalar, peak_value: Scalar, warmup_steps: int, then: Schedule) -> ScheduleFn:
    """A line from init_value to peak_value in warmup_steps counts, then `then`, counting from there."""
    line = linear_schedule(init_value, peak_value, max(warmup_steps, 1))
    return join_schedules([line, then], [warmup_steps])


@register(example(0.0, 0.1, 5), example(0.0, 0.1, 0), kind="schedule", ranges=RANGES)
def warmup_constant_schedule(init_value: Scalar, peak_value: Scalar, warmup_steps: int) -> ScheduleFn:
    """A straight line from init_value to peak_value, which then stays.

    Args:    warmup_steps >= 0 counts of warm-up (0: none).
    """
    return warmed(init_value, peak_value, warmup_steps, constant_schedule(peak_value))


@register(
    example(0.0, 0.1, 5, 10, 0.5),
    example(0.0, 0.1, 5, 4, 0.5, transition_begin=3, staircase=True, end_value=0.02),
    kind="schedule",
    ranges=RANGES,
    errors=[(example(0.0, 0.1, 5, 10, 0.0), "decay_rate must be > 0, got 0.0")],
)
def warmup_exponential_decay_schedule(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: Scalar,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Scalar | None = None,
) -> ScheduleFn:
    """A straight line from init_value to peak_value, then `exponential_decay` from there.

    Args:    warmup_steps >= 0 counts of warm-up (0: none); transition_begin is counted from the end of the warm-up.
    """
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return warmed(init_value, peak_value, warmup_steps, decay)

"""Linear warm-up, followed by another schedule."""

from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Scalar, Schedule
from .constant import constant_schedule
from .exponential import exponential_decay
from .join import join_schedules
from .polynomial import linear_schedule
from .progress import RANGES


def warmed(init_value: Scalar, peak_value: Scalar, warmup_steps: int, then: Schedule) -> ScheduleFn:
    """A line from init_value to peak_value in warmup_steps counts, then `then`, whose count starts at 0."""
    line = linear_schedule(init_value, peak_value, max(warmup_steps, 1))
    return join_schedules([line, then], [warmup_steps])


@register(example(0.0, 0.1, 5), example(0.0, 0.1, 0), kind="schedule", ranges=RANGES)
def warmup_constant_schedule(init_value: Scalar, peak_value: Scalar, warmup_steps: int) -> ScheduleFn:
    """Rise linearly from init_value to peak_value, then stay there.

    Args:
      init_value: value at count 0. Usually 0.
      peak_value: value at the end of the warm-up and afterwards.
      warmup_steps: length of the warm-up, an integer >= 0; with 0 the first value is peak_value.
    """
    return warmed(init_value, peak_value, warmup_steps, constant_schedule(peak_value))


@register(
    example(0.0, 0.1, 5, 10, 0.5),
    example(0.0, 0.1, 5, 4, 0.5, transition_begin=3, staircase=True, end_value=0.02),
    example(0.0, 0.1, 5, 0, 0.5),
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
    """Rise linearly from init_value to peak_value, then decay as `exponential_decay` does.

    Args:
      init_value: value at count 0. Usually 0.
      peak_value: value at the end of the warm-up.
      warmup_steps: length of the warm-up, an integer >= 0; with 0 the first value is peak_value.
      transition_steps: counts per factor of decay_rate, >= 0; with 0 the value stays peak_value after the warm-up.
      decay_rate: the factor, > 0.
      transition_begin: counts between the end of the warm-up and the begin of the decay, >= 0.
      staircase: whether to round the exponent of decay_rate down to an integer.
      end_value: bound on the decaying value, lower for decay_rate < 1 and upper otherwise; None for no bound.
    """
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return warmed(init_value, peak_value, warmup_steps, decay)

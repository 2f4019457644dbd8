"""Constant value."""

from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Scalar
from .progress import RANGES, schedule


@register(example(0.1), kind="schedule", ranges=RANGES)
def constant_schedule(value: Scalar) -> ScheduleFn:
    """The same value at every count.

    Args:
      value: the value, a finite number.
    """
    return schedule(lambda count, c: c, value)

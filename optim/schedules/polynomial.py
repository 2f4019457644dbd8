"""From one value to another along a power of the time left."""

from .. import numerics
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, fraction, schedule


@register(example(0.1, 0.01, 2, 10), example(0.1, 0.01, 0.5, 10, transition_begin=3), kind="schedule", ranges=RANGES)
def polynomial_schedule(
    init_value: Scalar, end_value: Scalar, power: Scalar, transition_steps: Scalar, transition_begin: int = 0
) -> ScheduleFn:
    """(init_value - end_value) (1 - x)^power + end_value, x = (count - transition_begin) / transition_steps in [0, 1].

    Args:    power, transition_steps > 0.
    """

    def at(count: Array, init: Array, end: Array, exponent: Array, steps: Array) -> Array:
        left = 1 - fraction(count, transition_begin, steps)
        return (init - end) * numerics.power(left, exponent) + end

    return schedule(at, init_value, end_value, power, transition_steps)


@register(example(0.1, 0.01, 10), example(0.0, 0.1, 10, transition_begin=3), kind="schedule", ranges=RANGES)
def linear_schedule(
    init_value: Scalar, end_value: Scalar, transition_steps: Scalar, transition_begin: int = 0
) -> ScheduleFn:
    """`polynomial_schedule` with power 1: a straight line from init_value to end_value."""
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)

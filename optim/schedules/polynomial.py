"""Polynomial and linear transitions."""

from .. import numerics
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, fraction, schedule


@register(
    example(0.1, 0.01, 2, 10),
    example(0.1, 0.01, 0.5, 10, transition_begin=3),
    example(0.1, 0.01, 2, 0),
    kind="schedule",
    ranges=RANGES,
)
def polynomial_schedule(
    init_value: Scalar, end_value: Scalar, power: Scalar, transition_steps: Scalar, transition_begin: int = 0
) -> ScheduleFn:
    """Go from init_value to end_value along a power of the remaining time.

        (init_value - end_value) (1 - x)^power + end_value,  x = (count - transition_begin) / transition_steps in [0, 1]

    Args:
      init_value: value up to transition_begin.
      end_value: value at the end of the transition and afterwards.
      power: the exponent, > 0; 1 is a straight line.
      transition_steps: length of the transition in counts, >= 0; with 0 the value stays init_value.
      transition_begin: count at which the transition begins, >= 0.
    """

    def at(count: Array, init: Array, end: Array, exponent: Array, steps: Array) -> Array:
        left = 1 - fraction(count, transition_begin, steps)
        return (init - end) * numerics.power(left, exponent) + end

    return schedule(at, init_value, end_value, power, transition_steps)


@register(
    example(0.1, 0.01, 10),
    example(0.0, 0.1, 10, transition_begin=3),
    example(0.0, 0.1, 0),
    kind="schedule",
    ranges=RANGES,
)
def linear_schedule(
    init_value: Scalar, end_value: Scalar, transition_steps: Scalar, transition_begin: int = 0
) -> ScheduleFn:
    """Go from init_value to end_value along a straight line: `polynomial_schedule` with power 1.

    Args:
      init_value: value up to transition_begin.
      end_value: value at the end of the line and afterwards.
      transition_steps: length of the line in counts, >= 0; with 0 the value stays init_value.
      transition_begin: count at which the line begins, >= 0.
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)

"""Inverse-time decay."""

import jax.numpy as jnp

from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import NON_NEGATIVE_RATE, along, schedule


@register(
    example(0.1, 1, 0.01),
    example(0.1, 10, 0.5, transition_begin=3, staircase=True),
    example(0.1, 0, 0.5),
    kind="schedule",
    ranges=NON_NEGATIVE_RATE,
)
def inverse_time_decay(
    init_value: Scalar,
    transition_steps: Scalar,
    decay_rate: Scalar,
    transition_begin: int = 0,
    staircase: bool = False,
) -> ScheduleFn:
    """Divide init_value by a number that grows linearly with the count.

        init_value / (1 + decay_rate (count - transition_begin) / transition_steps)

    Args:
      init_value: value up to transition_begin.
      transition_steps: unit of time in counts, >= 0; with 0 the value stays init_value.
      decay_rate: growth of the denominator per transition_steps, >= 0.
      transition_begin: count at which the decay begins, >= 0.
      staircase: whether to round (count - transition_begin) / transition_steps down to an integer.
    Source:  Keras' `decay`, with transition_steps 1.
    """

    def at(count: Array, init: Array, steps: Array, rate: Array) -> Array:
        units = along(count, transition_begin, steps)
        return init / (1 + rate * (jnp.floor(units) if staircase else units))

    return schedule(at, init_value, transition_steps, decay_rate)

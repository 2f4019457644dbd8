"""Exponential decay and growth."""

import jax.numpy as jnp

from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, along, schedule


@register(
    example(0.1, 10, 0.5),
    example(0.1, 10, 0.5, transition_begin=3, staircase=True, end_value=0.02),
    example(0.1, 10, 2.0, end_value=0.3),
    example(0.1, 0, 0.5),
    kind="schedule",
    ranges=RANGES,
)
def exponential_decay(
    init_value: Scalar,
    transition_steps: Scalar,
    decay_rate: Scalar,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Scalar | None = None,
) -> ScheduleFn:
    """Multiply init_value by decay_rate every transition_steps counts, continuously or in stairs.

        init_value decay_rate^((count - transition_begin) / transition_steps)

    Args:
      init_value: value up to transition_begin.
      transition_steps: counts per factor of decay_rate, >= 0; with 0 the value stays init_value.
      decay_rate: the factor, > 0: below 1 for decay, above 1 for growth.
      transition_begin: count at which the decay begins, >= 0.
      staircase: whether to round the exponent down to an integer.
      end_value: bound on the value, lower for decay_rate < 1 and upper otherwise; None for no bound.
    """

    def at(count: Array, init: Array, steps: Array, rate: Array, end: Array | None) -> Array:
        power = along(count, transition_begin, steps)
        now = init * rate ** (jnp.floor(power) if staircase else power)
        if end is None:
            return now
        return jnp.where(rate < 1, jnp.maximum(now, end), jnp.minimum(now, end))

    return schedule(at, init_value, transition_steps, decay_rate, end_value)

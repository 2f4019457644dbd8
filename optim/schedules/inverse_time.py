"""Decay with the inverse of time."""

import jax.numpy as jnp

from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import NON_NEGATIVE_RATE, schedule, since


@register(
    example(0.1, 1, 0.01),
    example(0.1, 10, 0.5, transition_begin=3, staircase=True),
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
    """init_value / (1 + decay_rate (count - transition_begin) / transition_steps).

    Args:    transition_steps > 0 and decay_rate >= 0; before transition_begin the value is init_value; staircase
             rounds the ratio (count - transition_begin) / transition_steps down.
    Source:  Keras' `decay`, with transition_steps 1.
    """

    def at(count: Array, init: Array, steps: Array, rate: Array) -> Array:
        along = since(count, transition_begin) / steps
        return init / (1 + rate * (jnp.floor(along) if staircase else along))

    return schedule(at, init_value, transition_steps, decay_rate)

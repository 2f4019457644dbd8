"""Cycles between two values."""

from typing import Literal

import jax.numpy as jnp

from .. import checks
from ..checks import Range
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, schedule, value

_MODES = ("triangular", "triangular2", "exponential")
_COUNTS = Range(1, integer=True, means="length of the way up")


@register(
    example(0.01, 0.1, 5),
    example(0.01, 0.1, 5, 3, "triangular2"),
    example(0.95, 0.85, 4, 6, "exponential", 0.9),
    kind="schedule",
    ranges={
        **RANGES,
        "up_steps": _COUNTS,
        "down_steps": Range(1, integer=True, optional=True, means="length of the way down"),
    },
    errors=[
        (example(0.1, 0.2, 3, None, "sine"), "mode must be 'triangular', 'triangular2' or 'exponential', got 'sine'")
    ],
)
def cyclic_schedule(
    init_value: Scalar,
    peak_value: Scalar,
    up_steps: int,
    down_steps: int | None = None,
    mode: Literal["triangular", "triangular2", "exponential"] = "triangular",
    decay_rate: Scalar = 1.0,
) -> ScheduleFn:
    """Go up from init_value to peak_value and down again, over and over.

        init_value + (peak_value - init_value) x s,  x: 0 to 1 in up_steps counts and back to 0 in down_steps
        s = 1,  2^-(number of cycles so far) with "triangular2",  or  decay_rate^count with "exponential"

        lr, momentum = cyclic_schedule(0.01, 0.1, 500), cyclic_schedule(0.95, 0.85, 500)
        tx = inject_hyperparams(sgd)(lr, momentum)          # the momentum falls where the learning rate rises

    Args:
      init_value: value at count 0, between cycles.
      peak_value: value after up_steps counts. It may be the smaller one, as for a momentum.
      up_steps: length of the way up, an integer >= 1.
      down_steps: length of the way down, an integer >= 1; None is up_steps.
      mode: "triangular", "triangular2" or "exponential": how the height of cycles shrinks.
      decay_rate: factor on the height at every count, > 0, with "exponential". Usually 0.999 to 1.
    Source:  Smith 2017, Sec. 3.
    """
    checks.choice("mode", mode, _MODES)
    down = up_steps if down_steps is None else down_steps

    def at(count: Array, init: Array, peak: Array, rate: Array) -> Array:
        cycles, place = count // (up_steps + down), count % (up_steps + down)
        rising = value(place) / value(up_steps)
        falling = 1 - value(place - up_steps) / value(down)
        height = jnp.where(place <= up_steps, rising, falling)
        if mode == "triangular2":
            height = height * 0.5 ** value(cycles)
        elif mode == "exponential":
            height = height * rate ** value(count)
        return init + (peak - init) * height

    return schedule(at, init_value, peak_value, decay_rate)

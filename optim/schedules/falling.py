"""Falls without a plateau: the inverse square root of time, and the reflected exponential."""

from typing import Any

import jax.numpy as jnp

from .. import checks, numerics
from ..checks import STEPS, Range
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, fraction, schedule, since


@register(
    example(0.1, 5),
    example(0.1, 5, 0.01, 20.0, 40, 10),
    kind="schedule",
    ranges={
        **RANGES,
        "timescale": Range(
            0, open_low=True, optional=True, means="number of counts after which the value begins to fall"
        ),
        "total_steps": Range(1, integer=True, optional=True, means="count at which the cooldown ends"),
        "cooldown_steps": Range(STEPS.low, integer=True, means="length of the cooldown"),
    },
    errors=[(example(0.1, 5, cooldown_steps=5), "cooldown_steps needs total_steps")],
)
def inverse_sqrt_schedule(
    peak_value: Scalar,
    warmup_steps: int,
    init_value: Scalar = 0.0,
    timescale: Scalar | None = None,
    total_steps: int | None = None,
    cooldown_steps: int = 0,
) -> ScheduleFn:
    """Warm up, then fall with the inverse square root of time, and perhaps cool down to 0.

        peak_value sqrt(s / (s + count - warmup_steps)),  times 1 - x over the last cooldown_steps counts

    Args:
      peak_value: value at the end of the warm-up.
      warmup_steps: length of the warm-up, an integer >= 0; with 0 the first value is peak_value.
      init_value: value at count 0 of a warm-up. Usually 0.
      timescale: s, > 0; None is warmup_steps, or 1 if that is 0, so that the value is peak_value sqrt(s / count).
      total_steps: count at which the cooldown ends; None is without one.
      cooldown_steps: length of the cooldown, an integer >= 0.
    Source:  Vaswani et al. 2017, Sec. 5.3; Zhai et al. 2022 for timescale and cooldown.
    """
    if total_steps is None and not (checks.is_number(cooldown_steps) and cooldown_steps == 0):
        checks.fail("cooldown_steps needs total_steps")

    def at(count: Array, init: Array, peak: Array, warmup: Array, scale: Array | None, cooldown: Array) -> Array:
        s = jnp.maximum(warmup, 1) if scale is None else scale
        rise = init + (peak - init) * jnp.where(warmup > 0, fraction(count, 0, warmup), 1)
        value = rise * numerics.root(s / (s + since(count, warmup_steps)))
        if total_steps is None:
            return value
        return value * (1 - fraction(count, total_steps - cooldown_steps, cooldown))

    return schedule(at, init_value, peak_value, warmup_steps, timescale, cooldown_steps)


@register(
    example(0.1, 20),
    example(0.1, 20, 0.01),
    kind="schedule",
    ranges=RANGES,
)
def rex_schedule(init_value: Scalar, decay_steps: Scalar, end_value: Scalar = 0.0) -> ScheduleFn:
    """Decay slowly at first and fast at the end: the reflected exponential.

        end_value + (init_value - end_value) (1 - x) / (1/2 + (1 - x) / 2),  x = count / decay_steps in [0, 1]

    Args:
      init_value: value at count 0.
      decay_steps: count at which the decay ends, > 0.
      end_value: value afterwards. Usually 0.
    Source:  Chen et al. 2022, REX, Sec. 3.
    """

    def at(count: Array, init: Array, steps: Array, end: Array) -> Any:
        left = 1 - fraction(count, 0, steps)
        return end + (init - end) * left / (0.5 + left / 2)

    return schedule(at, init_value, decay_steps, end_value)

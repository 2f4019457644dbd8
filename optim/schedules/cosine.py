"""Cosine decay, with and without a warm-up."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from .. import checks, numerics
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .join import join_schedules
from .progress import RANGES, fraction, schedule
from .warmup import warmed


def falling(count: Array, peak: Array, end: Array, steps: Array, power: Array) -> Array:
    """(peak - end) ((1 + cos(pi x)) / 2)^power + end, x = count / steps in [0, 1]."""
    bent = (1 + jnp.cos(jnp.pi * fraction(count, 0, steps))) / 2
    return (peak - end) * numerics.power(bent, power) + end


@register(example(0.1, 10), example(0.1, 10, alpha=0.1, exponent=2.0), kind="schedule", ranges=RANGES)
def cosine_decay_schedule(
    init_value: Scalar, decay_steps: Scalar, alpha: Scalar = 0.0, exponent: Scalar = 1.0
) -> ScheduleFn:
    """Decay from init_value to alpha init_value along half a cosine.

        init_value ((1 - alpha) ((1 + cos(pi x)) / 2)^exponent + alpha),  x = count / decay_steps in [0, 1]

    Args:
      init_value: value at count 0.
      decay_steps: count at which the decay ends, > 0; the value is constant afterwards.
      alpha: final value as a fraction of init_value. Usually 0 to 0.1.
      exponent: power of the cosine, > 0. Usually 1.
    Source:  Loshchilov & Hutter 2017, SGDR, Eq. 5, for one period.
    """

    def at(count: Array, init: Array, steps: Array, least: Array, power: Array) -> Array:
        return falling(count, init, init * least, steps, power)

    return schedule(at, init_value, decay_steps, alpha, exponent)


@register(
    example(0.0, 0.1, 5, 20),
    example(0.01, 0.1, 5, 20, end_value=0.001, exponent=2.0),
    example(0.0, 0.1, 0, 20),
    kind="schedule",
    ranges=RANGES,
    errors=[(example(0.0, 0.1, 20, 20), "decay_steps must be > warmup_steps")],
)
def warmup_cosine_decay_schedule(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    decay_steps: int,
    end_value: Scalar = 0.0,
    exponent: Scalar = 1.0,
) -> ScheduleFn:
    """Rise linearly from init_value to peak_value, then decay along half a cosine to end_value.

        warmup_cosine_decay_schedule(0.0, 3e-4, warmup_steps=1_000, decay_steps=100_000)

    Args:
      init_value: value at count 0. Usually 0.
      peak_value: value at the end of the warm-up.
      warmup_steps: length of the warm-up, an integer >= 0; with 0 the first value is peak_value.
      decay_steps: count at which the decay ends, an integer > warmup_steps: the warm-up is part of it.
      end_value: value from decay_steps on. Usually 0 to a tenth of peak_value.
      exponent: power of the cosine, > 0. Usually 1.
    Differs: with peak_value = 0 Optax stays at 0 after the warm-up, whatever end_value is.
    """
    if not checks.is_traced(warmup_steps) and not checks.is_traced(decay_steps) and decay_steps <= warmup_steps:
        checks.fail(f"decay_steps must be > warmup_steps = {warmup_steps}, got {decay_steps}")
    fall = schedule(falling, peak_value, end_value, decay_steps - warmup_steps, exponent)
    return warmed(init_value, peak_value, warmup_steps, fall)


_PERIODS = [
    {"init_value": 0.0, "peak_value": 0.1, "decay_steps": 8, "warmup_steps": 3},
    {"init_value": 0.0, "peak_value": 0.05, "decay_steps": 12, "warmup_steps": 2, "end_value": 0.01, "exponent": 2.0},
]


@register(
    example(_PERIODS),
    kind="schedule",
    errors=[
        (example([]), "cosine_kwargs must be one or more dicts, one per period, got []"),
        (example([{"init_value": 0.0, "peak": 0.1}]), "no argument 'peak'"),
    ],
)
def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> ScheduleFn:
    """Warm restarts: one `warmup_cosine_decay_schedule` after another, each for its decay_steps.

    Args:
      cosine_kwargs: one dict per period, with the arguments of `warmup_cosine_decay_schedule`.
    Raises:  ValueError without a period; TypeError for an unknown argument.
    Source:  Loshchilov & Hutter 2017, SGDR, Eq. 5, with warm-ups.
    """
    listed = isinstance(cosine_kwargs, Iterable) and not isinstance(cosine_kwargs, Mapping | str | bytes)
    periods = list(cosine_kwargs) if listed else []
    if not periods or not all(isinstance(period, Mapping) for period in periods):
        checks.fail(f"cosine_kwargs must be one or more dicts, one per period, got {checks.shown(cosine_kwargs)}")
    parts = [warmup_cosine_decay_schedule(**period) for period in periods]
    ends = itertools.accumulate(period["decay_steps"] for period in periods)
    return join_schedules(parts, list(ends)[:-1])

"""Values at given counts, joined by lines or half cosines, and one-cycle schedules made of them."""

from collections.abc import Mapping
from typing import Literal

import jax.numpy as jnp

from .. import checks
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, fraction, scales, schedule, value

_SHARES = {"pct_start": checks.CLOSED_UNIT, "pct_final": checks.CLOSED_UNIT}
_CYCLE = {
    **RANGES,
    **_SHARES,
    "transition_steps": checks.POSITIVE,
    "div_factor": checks.POSITIVE,
    "final_div_factor": checks.POSITIVE,
}


@register(
    example("linear", 0.1, {5: 2.0, 9: 0.25}),
    example("cosine", 0.1, {5: 0.5, 9: 0.1}),
    example("cosine", 0.1),
    example("linear", 0.1, {0: 2.0, 4: 0.5}),
    kind="schedule",
    ranges=RANGES,
    errors=[
        (example("cubic", 0.1), "interpolate_type must be 'linear' or 'cosine', got 'cubic'"),
        (example("linear", 0.1, {5: -1.0}), "boundaries_and_scales[5] must be >= 0, got -1.0"),
        (example("linear", 0.1, {-1: 1.0}), "boundaries_and_scales has the boundary -1, expected an integer >= 0"),
        (example("linear", 0.1, [5]), "boundaries_and_scales must be a dict boundary -> scale"),
    ],
)
def piecewise_interpolate_schedule(
    interpolate_type: Literal["linear", "cosine"],
    init_value: Scalar,
    boundaries_and_scales: Mapping[int, Scalar] | None = None,
) -> ScheduleFn:
    """Interpolate between values at boundaries, each the previous value times a scale.

        v_i = v_(i-1) scale_i,  x = the fraction of the way from boundary i - 1 to boundary i
        v_(i-1) + (v_i - v_(i-1)) x,  or with "cosine"  (1 - cos(pi x)) / 2 in place of x

    Args:
      interpolate_type: "linear" or "cosine".
      init_value: value at count 0, before the scale of a boundary 0.
      boundaries_and_scales: dict from a boundary, an integer >= 0, to the scale reached there, >= 0; None for none.
    Raises:  ValueError for another type, and for a boundary or a scale out of range.
    """
    checks.choice("interpolate_type", interpolate_type, ("linear", "cosine"))
    steps = scales(boundaries_and_scales, checks.STEPS)

    def at(count: Array) -> Array:
        now, begin = value(init_value), 0
        for boundary, factor in steps:
            x = fraction(count, begin, value(boundary - begin)) if boundary else value(1.0)
            share = (1 - jnp.cos(jnp.pi * x)) / 2 if interpolate_type == "cosine" else x
            # Multiply the factors of all intervals: past ones contribute their scale, future ones 1.
            now, begin = now * ((1 - share) + value(factor) * share), boundary
        return now

    return schedule(at)


def _counts(transition_steps: Scalar, *shares: Scalar) -> list[int]:
    """The counts at these fractions of transition_steps, made strictly increasing, so that no boundary is lost."""
    counts: list[int] = []
    for share in shares:
        counts.append(max(int(share * transition_steps), counts[-1] + 1 if counts else 1))
    return counts


@register(
    example(20, 0.1),
    example(10, 0.1, 0.2, 0.8, 5.0, 100.0),
    kind="schedule",
    ranges=_CYCLE,
    errors=[(example(20, 0.1, 0.9, 0.3), "pct_final must be >= pct_start = 0.9, got 0.3")],
)
def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: Scalar,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: Scalar = 25.0,
    final_div_factor: Scalar = 1e4,
) -> ScheduleFn:
    """One cycle of straight lines: up to peak_value, back down to the initial value, then down to the final value.

    The value is peak_value / div_factor at count 0, peak_value after pct_start of the steps, again peak_value /
    div_factor after pct_final of them, and peak_value / (div_factor final_div_factor) at the end.

    Args:
      transition_steps: length of the whole cycle, an integer > 0.
      peak_value: largest value.
      pct_start: fraction of the steps at which the peak is reached, in [0, 1]. Usually 0.3.
      pct_final: fraction at which the last decay begins, in [pct_start, 1]. Usually 0.85.
      div_factor: peak_value over the initial value, > 0. Usually 25.
      final_div_factor: initial value over the final value, > 0. Usually 1e4.
    Source:  Smith & Topin 2018, super-convergence.
    """
    if pct_final < pct_start:
        checks.fail(f"pct_final must be >= pct_start = {pct_start}, got {pct_final}")
    up, down, end = _counts(transition_steps, pct_start, pct_final, 1.0)
    scales = {up: div_factor, down: 1 / div_factor, end: 1 / final_div_factor}
    return piecewise_interpolate_schedule("linear", peak_value / div_factor, scales)


@register(example(20, 0.1), example(10, 0.1, 0.2, 5.0, 100.0), kind="schedule", ranges=_CYCLE)
def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: Scalar,
    pct_start: float = 0.3,
    div_factor: Scalar = 25.0,
    final_div_factor: Scalar = 1e4,
) -> ScheduleFn:
    """One cycle of half cosines: up to peak_value, then down to the final value.

    The value is peak_value / div_factor at count 0, peak_value after pct_start of the steps, and peak_value /
    (div_factor final_div_factor) at the end.

    Args:
      transition_steps: length of the whole cycle, an integer > 0.
      peak_value: largest value.
      pct_start: fraction of the steps at which the peak is reached, in [0, 1]. Usually 0.3.
      div_factor: peak_value over the initial value, > 0. Usually 25.
      final_div_factor: initial value over the final value, > 0. Usually 1e4.
    Source:  Smith & Topin 2018, super-convergence, with cosines.
    """
    up, end = _counts(transition_steps, pct_start, 1.0)
    scales = {up: div_factor, end: 1 / (div_factor * final_div_factor)}
    return piecewise_interpolate_schedule("cosine", peak_value / div_factor, scales)

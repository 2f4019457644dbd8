"""Values at given counts with lines or half cosines between them, and the cycles made of them."""

from collections.abc import Mapping
from typing import Literal

import jax.numpy as jnp

from .. import checks
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, fraction, scales, schedule, value

_SHARES = {"pct_start": checks.CLOSED_UNIT, "pct_final": checks.CLOSED_UNIT}
_CYCLE = {**RANGES, **_SHARES, "div_factor": checks.POSITIVE, "final_div_factor": checks.POSITIVE}


@register(
    example("linear", 0.1, {5: 2.0, 9: 0.25}),
    example("cosine", 0.1, {5: 0.5, 9: 0.1}),
    example("cosine", 0.1),
    kind="schedule",
    ranges=RANGES,
    errors=[
        (example("cubic", 0.1), "interpolate_type must be 'linear' or 'cosine', got 'cubic'"),
        (example("linear", 0.1, {5: -1.0}), "boundaries_and_scales[5] must be >= 0, got -1.0"),
        (example("linear", 0.1, {0: 1.0}), "boundaries_and_scales has the boundary 0, a whole number >= 1 is expected"),
        (example("linear", 0.1, [5]), "boundaries_and_scales must be a dict boundary -> scale"),
    ],
)
def piecewise_interpolate_schedule(
    interpolate_type: Literal["linear", "cosine"],
    init_value: Scalar,
    boundaries_and_scales: Mapping[int, Scalar] | None = None,
) -> ScheduleFn:
    """From init_value to its product with each scale in turn, which is reached at the scale's boundary.

        v_i = v_(i-1) scale_i,  x = the fraction of the way from boundary i - 1 to boundary i
        v_(i-1) + (v_i - v_(i-1)) x,  or with "cosine"  (1 - cos(pi x)) / 2 in place of x

    Args:    interpolate_type: "linear" or "cosine"; boundaries_and_scales: boundary >= 1 -> scale >= 0.
    Raises:  ValueError for another type, a boundary or scale out of its range.
    """
    if interpolate_type not in ("linear", "cosine"):
        checks.fail(f"interpolate_type must be 'linear' or 'cosine', got {checks.shown(interpolate_type)}")
    steps = scales(boundaries_and_scales, checks.Range(1, integer=True))

    def at(count: Array) -> Array:
        now, begin = value(init_value), 0
        for boundary, factor in steps:
            x = fraction(count, begin, boundary - begin)
            share = (1 - jnp.cos(jnp.pi * x)) / 2 if interpolate_type == "cosine" else x
            # A product of what every stretch has done: the finished ones all of it, the coming ones nothing.
            now, begin = now * ((1 - share) + value(factor) * share), boundary
        return now

    return schedule(at)


def _counts(transition_steps: Scalar, *shares: Scalar) -> list[int]:
    """The whole counts at these shares of the way, one behind the other, so that none is lost where they are near."""
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
    """One cycle of straight lines: up to peak_value, down to where it began, and then further down to the end.

    It begins at peak_value / div_factor, is at peak_value after pct_start of the transition_steps, back at the
    beginning after pct_final of them, and ends at peak_value / (div_factor final_div_factor).

    Args:    transition_steps > 0 counts in all; pct_start <= pct_final in [0, 1]; div_factor, final_div_factor > 0.
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
    """One cycle of half cosines: up to peak_value, then down to the end.

    It begins at peak_value / div_factor, is at peak_value after pct_start of the transition_steps, and ends at
    peak_value / (div_factor final_div_factor).

    Args:    transition_steps > 0 counts in all; pct_start in [0, 1]; div_factor, final_div_factor > 0.
    Source:  Smith & Topin 2018, super-convergence, with cosines.
    """
    up, end = _counts(transition_steps, pct_start, 1.0)
    scales = {up: div_factor, end: 1 / (div_factor * final_div_factor)}
    return piecewise_interpolate_schedule("cosine", peak_value / div_factor, scales)

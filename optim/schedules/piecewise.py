"""Piecewise constant values."""

from collections.abc import Mapping

import jax.numpy as jnp

from .. import checks
from ..core.record import ScheduleFn
from ..core.registry import example, register
from ..types import Array, Scalar
from .progress import RANGES, scales, schedule, value


@register(
    example(0.1, {5: 0.5, 9: 0.1}),
    example(0.1),
    kind="schedule",
    ranges=RANGES,
    errors=[
        (example(0.1, {5: -1.0}), "boundaries_and_scales[5] must be >= 0, got -1.0"),
        (example(0.1, {"5": 0.5}), "boundaries_and_scales has the boundary '5', expected a number >= 0"),
        (example(0.1, [5, 9]), "boundaries_and_scales must be a dict boundary -> scale"),
    ],
)
def piecewise_constant_schedule(
    init_value: Scalar, boundaries_and_scales: Mapping[int, Scalar] | None = None
) -> ScheduleFn:
    """Multiply init_value by every scale whose boundary the count has reached.

        piecewise_constant_schedule(0.1, {30_000: 0.1, 60_000: 0.1})

    Args:
      init_value: value before the first boundary.
      boundaries_and_scales: dict from a boundary, a count >= 0, to a scale >= 0; None for none.
    """
    steps = scales(boundaries_and_scales, checks.NON_NEGATIVE)

    def at(count: Array) -> Array:
        now = value(init_value)
        for boundary, factor in steps:
            now = now * jnp.where(count >= boundary, value(factor), value(1.0))
        return now

    return schedule(at)

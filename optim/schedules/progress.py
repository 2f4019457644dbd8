"""What the schedules share: the ranges of their arguments, and how far along a count is."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax

from .. import checks
from ..checks import NON_NEGATIVE, POSITIVE, REAL, STEPS, Range
from ..core.record import ScheduleFn
from ..numerics import common_dtype, like, scalar_dtype
from ..types import Array, Scalar

RANGES: dict[str, Range] = {
    **dict.fromkeys(["value", "init_value", "end_value", "peak_value", "alpha"], REAL),
    **dict.fromkeys(["transition_steps", "decay_steps", "decay_rate", "power", "exponent"], POSITIVE),
    **dict.fromkeys(["transition_begin", "warmup_steps"], STEPS),
}
NON_NEGATIVE_RATE = {**RANGES, "decay_rate": NON_NEGATIVE}


def scales(given: Mapping[int, Scalar] | None, where: Range) -> list[tuple[Any, Scalar]]:
    """Pairs (boundary, scale) in their order, of `boundaries_and_scales`, whose boundaries must be in a range."""
    steps = given or {}
    if not isinstance(steps, Mapping):
        checks.fail(f"boundaries_and_scales must be a dict boundary -> scale, got {checks.shown(steps)}", TypeError)
    for boundary, factor in steps.items():
        if not checks.is_number(boundary) or boundary not in where or (where.integer and boundary != int(boundary)):
            kind = "a whole number" if where.integer else "a number"
            got = f"has the boundary {checks.shown(boundary)}, {kind} >= {where.low:g} is expected"
            checks.fail(f"boundaries_and_scales {got}")
        checks.argument(f"boundaries_and_scales[{boundary}]", factor, NON_NEGATIVE)
    return sorted(steps.items())


def schedule(fn: Callable[..., Any], *numbers: Scalar | None) -> ScheduleFn:
    """A schedule from `fn(count, *numbers)`; arrays arrive, and the value leaves, in the hyperparameters' dtype."""

    def at(count: Any) -> Array:
        ready = (None if x is None else like(jnp.zeros((), scalar_dtype()), x) for x in numbers)
        return value(fn(jnp.asarray(count), *ready))

    return ScheduleFn(at)


def value(x: Any) -> Array:
    """A number as a strongly typed array; what is wider already stays so."""
    x = jnp.asarray(x)
    return lax.convert_element_type(x, common_dtype(x.dtype, scalar_dtype()))


def since(count: Array, begin: Any) -> Array:
    """max(count - begin, 0): subtracted before it is rounded to a floating dtype."""
    return value(jnp.maximum(count - begin, 0))


def fraction(count: Array, begin: Any, steps: Any) -> Array:
    """How much of `steps` lies behind `count`: from 0 at `begin` on to 1, and no further."""
    return jnp.minimum(since(count, begin) / steps, 1)

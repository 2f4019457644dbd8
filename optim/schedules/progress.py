"""Shared by the schedules: ranges of their arguments, conversion of numbers, progress of a count."""

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
    **dict.fromkeys(["decay_steps", "decay_rate", "power", "exponent"], POSITIVE),
    "transition_steps": NON_NEGATIVE,
    **dict.fromkeys(["transition_begin", "warmup_steps"], STEPS),
}
NON_NEGATIVE_RATE = {**RANGES, "decay_rate": NON_NEGATIVE}


def scales(given: Mapping[int, Scalar] | None, where: Range) -> list[tuple[Any, Scalar]]:
    """Sorted pairs (boundary, scale) of `boundaries_and_scales`; boundaries must lie in `where`, scales be >= 0."""
    steps = {} if given is None else given
    if not isinstance(steps, Mapping):
        checks.fail(f"boundaries_and_scales must be a dict boundary -> scale, got {checks.shown(steps)}", TypeError)
    for boundary, factor in steps.items():
        if not checks.is_number(boundary) or boundary not in where or (where.integer and boundary != int(boundary)):
            kind = "an integer" if where.integer else "a number"
            got = f"has the boundary {checks.shown(boundary)}, expected {kind} >= {where.low:g}"
            checks.fail(f"boundaries_and_scales {got}")
        checks.argument(f"boundaries_and_scales[{boundary}]", factor, NON_NEGATIVE)
    return sorted(steps.items())


def schedule(fn: Callable[..., Any], *numbers: Scalar | None) -> ScheduleFn:
    """A schedule from `fn(count, *numbers)`, whose numbers and result are arrays of the hyperparameters' dtype."""

    def at(count: Any) -> Array:
        ready = (None if x is None else like(jnp.zeros((), scalar_dtype()), x) for x in numbers)
        return value(fn(jnp.asarray(count), *ready))

    return ScheduleFn(at)


def value(x: Any) -> Array:
    """A number as a strongly typed array of at least the hyperparameters' dtype."""
    x = jnp.asarray(x)
    return lax.convert_element_type(x, common_dtype(x.dtype, scalar_dtype()))


def since(count: Array, begin: Any) -> Array:
    """max(count - begin, 0): the difference is taken before rounding to a floating dtype."""
    return value(jnp.maximum(count - begin, 0))


def along(count: Array, begin: Any, steps: Array) -> Array:
    """max(count - begin, 0) / steps, and 0 if there are no steps: such a transition never begins."""
    return jnp.where(steps > 0, since(count, begin) / jnp.where(steps > 0, steps, 1), 0)


def fraction(count: Array, begin: Any, steps: Array) -> Array:
    """The part of a transition that is over, in [0, 1]."""
    return jnp.minimum(along(count, begin, steps), 1)

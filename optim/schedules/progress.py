"""What the schedules share: the ranges of their arguments, and how far along a count is."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from ..checks import NON_NEGATIVE, POSITIVE, REAL, STEPS, Range
from ..numerics import common_dtype, like, scalar_dtype
from ..record import ScheduleFn
from ..types import Array, Scalar

RANGES: dict[str, Range] = {
    **dict.fromkeys(["value", "init_value", "end_value", "peak_value", "alpha"], REAL),
    **dict.fromkeys(["transition_steps", "decay_steps", "decay_rate", "power", "exponent"], POSITIVE),
    **dict.fromkeys(["transition_begin", "warmup_steps"], STEPS),
}
NON_NEGATIVE_RATE = {**RANGES, "decay_rate": NON_NEGATIVE}


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

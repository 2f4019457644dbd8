"""Hyperparameters and counters: tree-wide scalars, in the precision of the arrays that they meet.

A hyperparameter is a Python number, an array or a tracer, or a schedule that gives one of these.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import checks
from ..types import Array, Count, Scalar
from .dtypes import common_dtype, real_dtype, scalar_dtype

_finfo: Any = jnp.finfo  # untyped in jax


def like(x: Array, scalar: Scalar) -> Scalar:
    """`scalar` ready to meet `x`: a number as a Python number, an array in the real dtype of `x`."""
    if isinstance(scalar, jax.Array | np.ndarray):
        return lax.convert_element_type(scalar, real_dtype(x.dtype))
    return float(scalar)


def complement(x: Array, decay: Scalar) -> Scalar:
    """1 - decay ready to meet `x`, from `decay` in all its digits: near 1 its rounding is large beside what is left."""
    if isinstance(decay, jax.Array | np.ndarray):
        decay = lax.convert_element_type(decay, common_dtype(decay.dtype, real_dtype(x.dtype)))
    return like(x, 1 - decay)


def hyperparameter(value: Scalar) -> Array:
    """A strongly typed array of shape (), float32 or wider."""
    return jnp.asarray(value, common_dtype(scalar_dtype(), getattr(value, "dtype", scalar_dtype())))


def scheduled(value: Any, before: Count) -> Any:
    """A hyperparameter as it is, or what the schedule that stands for it gives after `before` updates."""
    return floating(now(value, before)) if callable(value) else value


def now(schedule: Any, before: Count) -> Any:
    """The number that a schedule gives after `before` updates."""
    value = schedule(before)
    if not checks.is_number(value) and not (
        checks.is_array(value) and value.shape == () and value.dtype.kind in "iufV"
    ):
        problem = f"{checks.shown(schedule)}, given as a schedule, must give a number"
        checks.fail(f"{problem}, got {checks.shown(value)}", TypeError)
    return value


def floating(x: Scalar) -> Scalar:
    """A number that can be negated: an unsigned one would wrap."""
    return float(x) if checks.is_number(x) else hyperparameter(x)


def at(value: Any, t: Count) -> Array:
    """A hyperparameter, or what the schedule that stands for it gives, at update t: t is 1 where its count is 0."""
    return hyperparameter(scheduled(value, t - jnp.ones_like(t)))


def loss(value: Any) -> Array:
    """The extra argument `value` of an update, the loss at the parameters, as a hyperparameter."""
    real = checks.is_array(value) and value.shape == () and not jnp.issubdtype(value.dtype, jnp.complexfloating)
    if not (real or checks.is_number(value)):
        checks.fail(f"value must be a scalar, the loss at params, got {checks.shown(value)}")
    return hyperparameter(value)


def safe_increment(count: Count) -> Count:
    """count + 1, or count where that is the largest value of its dtype: it does not wrap."""
    count = count if isinstance(count, jax.Array) else jnp.asarray(count)
    limits = np.iinfo(count.dtype) if jnp.issubdtype(count.dtype, jnp.integer) else _finfo(count.dtype)
    below = lax.lt(count, np.asarray(limits.max, count.dtype))
    return lax.add(count, lax.convert_element_type(below, count.dtype))


def last(count: Count) -> Count:
    """The count that the last update saw: count - 1, or 0 before the first."""
    return jnp.maximum(count, 1) - jnp.ones_like(count)

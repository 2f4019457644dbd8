"""Moments and bias corrections."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..types import Array, Count, DType, Scalar
from .dtypes import real_dtype
from .scalars import complement, like

_finfo: Any = jnp.finfo  # untyped in jax


def scaled(x: Array, scalar: Any) -> Array:
    """scalar * x."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return lax.complex(scaled(x.real, scalar), scaled(x.imag, scalar))
    return x * like(x, scalar)


def decayed(x: Array, decay: Scalar) -> Array:
    """decay x, as x - (1 - decay) x: a sum that decays a thousand times does not see the rounding of `decay`."""
    return x - complement(x, decay) * x


def ema(x: Array, g: Array, decay: Scalar) -> Array:
    """decay x + (1 - decay) g, as x + (1 - decay) (g - x): the rounding of `decay` does not drift."""
    return x + complement(x, decay) * (g - x)


def square(g: Array) -> Array:
    """|g|^2, real."""
    parts = [g.real, g.imag] if jnp.issubdtype(g.dtype, jnp.complexfloating) else [g]
    return sum(map(jnp.square, parts[1:]), start=jnp.square(parts[0]))


def saturated(x: Array) -> Array:
    """x, held at the largest finite value."""
    return jnp.minimum(x, jnp.asarray(_finfo(x.dtype).max, x.dtype))


def abs_sq(g: Array) -> Array:
    """|g|^2, real, held at the largest finite value: a huge gradient must not leave an infinite moment behind."""
    return saturated(square(g))


def variance(nu: Array, mu: Array) -> Array:
    """nu - |mu|^2, held at 0, below which only rounding takes it."""
    return jnp.maximum(nu - abs_sq(mu), 0)


def bias_factor(decay: Scalar, t: Count, dtype: DType) -> Array:
    """1 - decay^t as -expm1(t log decay): the naive form loses all digits where decay^t is near 1."""
    decay, time = like(jnp.zeros((), dtype), decay), lax.convert_element_type(t, dtype)
    if isinstance(decay, float):
        return -jnp.expm1(time * (math.log(decay) if decay > 0 else -math.inf))
    out: Array = _lost(decay, time)
    return out


@jax.custom_jvp
def _lost(decay: Array, t: Array) -> Array:
    return -jnp.expm1(t * jnp.log(decay))


@_lost.defjvp
def _lost_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # Not through the logarithm, which has no derivative at 0. The count has none anywhere.
    (decay, t), (d_decay, _) = primals, tangents
    return _lost(decay, t), -t * decay ** (t - 1) * d_decay


def debias(x: Array, decay: Scalar, t: Count) -> Array:
    """x / (1 - decay^t), as one scalar that multiplies."""
    return x * (1 / bias_factor(decay, t, real_dtype(x.dtype)))


def nesterov_mean(mu: Array, g: Array, decay: Scalar, t: Count) -> Array:
    """The debiased mean one step ahead: decay mu / (1 - decay^(t+1)) + (1 - decay) g / (1 - decay^t)."""
    b = like(mu, decay)
    return b * debias(mu, decay, t + jnp.ones_like(t)) + (1 - b) * debias(g, decay, t)

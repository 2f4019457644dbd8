"""Moments and bias corrections."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..types import Array, Count, DType, Scalar
from .dtypes import real_dtype
from .ops import add, div, mul, shared, sub
from .scalars import complement, like

_finfo: Any = jnp.finfo  # untyped in jax


def scaled(x: Array, scalar: Any) -> Array:
    """scalar * x."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return lax.complex(scaled(x.real, scalar), scaled(x.imag, scalar))
    return mul(x, like(x, scalar))


def decayed(x: Array, decay: Scalar) -> Array:
    """decay x, as x - (1 - decay) x: a sum that decays a thousand times does not see the rounding of `decay`."""
    return sub(x, mul(complement(x, decay), x))


def ema(x: Array, g: Array, decay: Scalar) -> Array:
    """decay x + (1 - decay) g, as x + (1 - decay) (g - x): the rounding of `decay` does not drift."""
    return add(x, mul(complement(x, decay), sub(g, x)))


def square(g: Array) -> Array:
    """|g|^2, real."""
    if jnp.issubdtype(g.dtype, jnp.complexfloating):
        return add(square(lax.real(g)), square(lax.imag(g)))
    return lax.mul(g, g)


def saturated(x: Array) -> Array:
    """x, or the largest finite value where x is larger."""
    return lax.min(x, np.asarray(_finfo(x.dtype).max, x.dtype))


def abs_sq(g: Array) -> Array:
    """|g|^2, real and finite: a huge gradient must not leave an infinite moment behind."""
    return saturated(square(g))


def variance(nu: Array, mu: Array) -> Array:
    """max(nu - |mu|^2, 0); only rounding makes the difference negative."""
    return lax.max(sub(nu, abs_sq(mu)), np.zeros((), nu.dtype))


def bias_factor(decay: Scalar, t: Count, dtype: DType) -> Array:
    """1 - decay^t as -expm1(t log decay): the naive form loses all digits where decay^t is near 1."""
    time = lax.convert_element_type(t, dtype)
    if not isinstance(decay, jax.Array | np.ndarray):
        log = math.log(decay) if decay > 0 else -math.inf
        return lax.neg(lax.expm1(mul(time, log)))
    out: Array = _bias(lax.convert_element_type(decay, dtype), time)
    return out


@jax.custom_jvp
def _bias(decay: Array, t: Array) -> Array:
    return -jnp.expm1(t * jnp.log(decay))


@_bias.defjvp
def _bias_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # Not through the logarithm, which has no derivative at 0. The count has none anywhere.
    (decay, t), (d_decay, _) = primals, tangents
    return _bias(decay, t), -t * decay ** (t - 1) * d_decay


def debias(x: Array, decay: Scalar, t: Count) -> Array:
    """x / (1 - decay^t), as one scalar that multiplies."""
    return mul(x, inverse_bias(t, decay, real_dtype(x.dtype)))


@shared
def inverse_bias(t: Count, decay: Scalar, dtype: DType) -> Array:
    """1 / (1 - decay^t)."""
    return div(1.0, bias_factor(decay, t, dtype))


def nesterov_mean(mu: Array, g: Array, decay: Scalar, t: Count) -> Array:
    """The debiased mean one step ahead: decay mu / (1 - decay^(t+1)) + (1 - decay) g / (1 - decay^t)."""
    b = like(mu, decay)
    return b * debias(mu, decay, t + jnp.ones_like(t)) + (1 - b) * debias(g, decay, t)

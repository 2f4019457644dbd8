"""Roots and ratios whose derivatives are finite at zero."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..types import Array, Count, DType, Scalar
from .dtypes import real_dtype
from .moments import bias_factor, inverse_bias, scaled
from .ops import add, div, mul, shared
from .scalars import like

_finfo: Any = jnp.finfo  # untyped in jax


@jax.custom_jvp
def _root(x: Array) -> Array:
    return lax.sqrt(x)


@_root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    positive = x > 0
    slope = jnp.where(positive, 0.5 / _root(jnp.where(positive, x, 1)), 0)
    return _root(x), slope * dx


def root(x: Array) -> Array:
    """sqrt(max(x, 0)), whose derivative at zero is zero and not infinite."""
    return root_of_square(lax.max(x, np.zeros((), x.dtype)))


def root_of_square(x: Array) -> Array:
    """sqrt(x) for x >= 0, whose derivative at zero is zero and not infinite."""
    out: Array = _root(x)
    return out


@jax.custom_jvp
def _cube_root(x: Array) -> Array:
    return jnp.cbrt(x)


@_cube_root.defjvp
def _cube_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    nonzero, y = x != 0, _cube_root(x)
    # Not 1 / (3 y^2), in which the error of the root would count twice.
    slope = jnp.where(nonzero, y / (3 * jnp.where(nonzero, x, 1)), 0)
    return y, slope * dx


def cube_root(x: Array) -> Array:
    """The real cube root, whose derivative at zero is zero and not infinite."""
    out: Array = _cube_root(x)
    return out


def power(x: Array, exponent: Scalar) -> Array:
    """x^exponent for x >= 0 and an exponent > 0, whose derivative at zero is zero and not infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.where(positive, x, 1) ** exponent, 0)


def surely_positive(eps: Scalar, dtype: DType, margin: float = 1.0) -> bool:
    """Whether `eps` is a Python number, and positive in `dtype` even if divided by `margin`."""
    return isinstance(eps, int | float | np.generic) and bool(eps >= margin * _finfo(dtype).tiny)


def ratio(top: Array, bottom: Array, *, positive: bool = False) -> Array:
    """top / bottom for bottom >= 0, and 0 where bottom is 0, in the value and in the derivative.

    `positive` says that bottom is never 0, which saves two selects an element.
    """
    if positive:
        return div(top, bottom)
    nonzero = bottom > 0
    return jnp.where(nonzero, top / jnp.where(nonzero, bottom, 1), 0)


def root_ratio(top: Array, bottom: Array, eps: Scalar, eps_root: Scalar = 0.0) -> Array:
    """top / (sqrt(bottom + eps_root) + eps) for bottom >= 0, and 0 where the denominator is 0."""
    inside = bottom if _is_zero(eps_root) else add(bottom, like(bottom, eps_root))
    below = add(root_of_square(inside), like(bottom, eps))
    return ratio(top, below, positive=any(surely_positive(e, below.dtype) for e in (eps, eps_root)))


def debiased_ratio(
    mu: Array, nu: Array, b1: Scalar, b2: Scalar, t: Count, eps: Scalar, eps_root: Scalar = 0.0
) -> Array:
    """mu^ / (sqrt(nu^ + eps_root) + eps), where x^ = x / (1 - b^t).

    With r = sqrt(1 - b2^t) it is mu r / (1 - b1^t) / (sqrt(nu + r^2 eps_root) + r eps): one product an element less.
    """
    dtype = real_dtype(nu.dtype)
    r, factor = _adam_scalars(t, b1, b2, dtype)
    inside = nu if _is_zero(eps_root) else add(nu, mul(mul(r, r), like(nu, eps_root)))
    below = add(root_of_square(inside), mul(r, like(nu, eps)))
    # r is at least sqrt(1 - b2), so that eps cannot vanish beside it.
    return ratio(scaled(mu, factor), below, positive=any(surely_positive(e, dtype, 1e8) for e in (eps, eps_root)))


@shared
def _adam_scalars(t: Count, b1: Scalar, b2: Scalar, dtype: DType) -> tuple[Array, Array]:
    r = root_of_square(bias_factor(b2, t, dtype))
    return r, mul(r, inverse_bias(t, b1, dtype))


def _is_zero(x: Scalar) -> bool:
    return isinstance(x, int | float | np.generic) and x == 0

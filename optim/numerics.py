"""Moments, bias corrections, safe roots and ratios, counters: the arithmetic that every rule shares.

Rules see arrays of at least float32. A hyperparameter reaches these functions as a Python number, an array or a
tracer; `like` gives it the precision of the array it meets.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core.primitives import convert_element_type_p
from jax.sharding import NamedSharding, PartitionSpec

from . import checks
from .types import Array, Count, DType, Scalar

_reshard: Any = jax.sharding.reshard  # untyped in jax, as the next is
_whole: Any = PartitionSpec

# Dtypes

_finfo: Any = jnp.finfo  # untyped in jax


@contextlib.contextmanager
def mixing(name: str) -> Iterator[None]:
    """Calls named `name` in errors, in which real numbers may meet complex ones whatever the user has asked of JAX."""
    with checks.naming(name), jax.numpy_dtype_promotion("standard"):
        yield


def common_dtype(*dtypes: DType) -> np.dtype[Any]:
    """The narrowest dtype that holds all of them, whatever promotion the user has asked of JAX."""
    with jax.numpy_dtype_promotion("standard"):
        return functools.reduce(jnp.promote_types, map(jnp.dtype, dtypes))


def wide_dtype(dtype: DType) -> np.dtype[Any]:
    """The dtype a rule computes in: at least float32; float64 and complex stay."""
    return common_dtype(dtype, jnp.float32)


def real_dtype(dtype: DType) -> np.dtype[Any]:
    """float32 for complex64, float64 for complex128, itself otherwise."""
    return _finfo(dtype).dtype if jnp.issubdtype(dtype, jnp.inexact) else np.dtype(dtype)


def scalar_dtype() -> np.dtype[Any]:
    """What a hyperparameter is stored in: float64 where JAX has it enabled, else float32."""
    return jnp.dtype(jnp.result_type(float))


def spacing(dtype: DType) -> float:
    """The distance from 1 to the next number of that dtype."""
    return float(_finfo(dtype).eps)


def convert(x: Array, dtype: DType, *, weak: bool = False) -> Array:
    """`x` in another dtype, weakly typed on request so that a weak parameter stays weak."""
    if x.dtype == dtype and x.weak_type == weak:
        return x
    if not weak:
        return lax.convert_element_type(x, dtype)
    out: Array = convert_element_type_p.bind(x, new_dtype=np.dtype(dtype), weak_type=True, sharding=None)
    return out


def is_complex(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.complexfloating)


def as_pairs(x: Array) -> Array:
    """A complex array as a real one, with real and imaginary parts along a last axis of two."""
    return jnp.stack([x.real, x.imag], axis=-1)


def as_complex(x: Array) -> Array:
    """What `as_pairs` was given."""
    return jax.lax.complex(x[..., 0], x[..., 1])


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
        told = f"{checks.shown(schedule)}, given as a schedule, must give a number"
        checks.fail(f"{told}, got {checks.shown(value)}", TypeError)
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


def full_like(x: Array, value: Scalar, dtype: DType) -> Array:
    """A fresh array of one value that keeps the sharding of `x`, also under an Auto mesh and `jit`."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating) and not jnp.issubdtype(dtype, jnp.complexfloating):
        x = x.real
    # A constant would forget where `x` lives; a select that never picks `x` does not.
    return jnp.where(False, lax.convert_element_type(x, dtype), jnp.asarray(value, dtype))


def placed(x: np.ndarray[Any, Any], like: Array) -> Array:
    """An array of NumPy's as one of JAX where `like` is, or, where nobody has decided that, wherever it is wanted.

    It may take the memory of `x` for its own.
    """
    return jax.device_put(x, like.sharding) if like.committed else jnp.asarray(x)


# Counters


def axes(x: Array) -> Any:
    """The sharding that is a part of the type of `x`, under an Explicit mesh; else None."""
    sharding = jax.typeof(x).sharding
    return sharding if any(axis is not None for axis in sharding.spec) else None


def gathered(x: Array) -> Array:
    """`x` whole on every device, where an Explicit mesh would have its axes named in whatever is done with it."""
    sharding = axes(x)
    return x if sharding is None else _reshard(x, NamedSharding(sharding.mesh, _whole()))


def restored(piece: Array, leaf: Array) -> Array:
    """A piece of something gathered in the dtype and the sharding of its leaf."""
    piece = convert(piece, leaf.dtype, weak=leaf.weak_type)
    return piece if axes(leaf) is None else _reshard(piece, axes(leaf))


def safe_increment(count: Count) -> Count:
    """count + 1, held at the largest value of its dtype instead of wrapping to a negative one."""
    count = jnp.asarray(count)
    if jnp.issubdtype(count.dtype, jnp.integer):
        top = jnp.asarray(np.iinfo(count.dtype).max, count.dtype)
    else:
        top = jnp.asarray(_finfo(count.dtype).max, count.dtype)
    return jnp.where(count < top, count + jnp.ones_like(count), top)


def last(count: Count) -> Count:
    """The count that the last update saw: count - 1, or 0 before the first."""
    return jnp.maximum(count, 1) - jnp.ones_like(count)


# Scaling by tree-wide scalars


def scaled(x: Array, scalar: Any) -> Array:
    """scalar * x."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return lax.complex(scaled(x.real, scalar), scaled(x.imag, scalar))
    return x * like(x, scalar)


def decayed(x: Array, decay: Scalar) -> Array:
    """decay x, as x - (1 - decay) x: a sum that decays a thousand times does not see the rounding of `decay`."""
    return x - complement(x, decay) * x


# Moments


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


# Roots and ratios


@jax.custom_jvp
def _root(x: Array) -> Array:
    return jnp.sqrt(jnp.maximum(x, 0))


@_root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    positive = x > 0
    slope = jnp.where(positive, 0.5 / _root(jnp.where(positive, x, 1)), 0)
    return _root(x), slope * dx


def root(x: Array) -> Array:
    """sqrt(max(x, 0)), whose derivative at zero is zero and not infinite."""
    out: Array = _root(x)
    return out


@jax.custom_jvp
def _cube_root(x: Array) -> Array:
    return jnp.cbrt(x)


@_cube_root.defjvp
def _cube_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    there, y = x != 0, _cube_root(x)
    # Not 1 / (3 y^2), in which the error of the root would count twice.
    slope = jnp.where(there, y / (3 * jnp.where(there, x, 1)), 0)
    return y, slope * dx


def cube_root(x: Array) -> Array:
    """The real cube root, whose derivative at zero is zero and not infinite."""
    out: Array = _cube_root(x)
    return out


def power(x: Array, exponent: Scalar) -> Array:
    """x^exponent for x >= 0 and an exponent > 0, whose derivative at zero is zero and not infinite."""
    there = x > 0
    return jnp.where(there, jnp.where(there, x, 1) ** exponent, 0)


def surely_positive(eps: Scalar, dtype: DType) -> bool:
    """Whether `eps` is a number, so known to be positive, and not 0 in `dtype`."""
    return isinstance(eps, int | float | np.generic) and bool(eps >= _finfo(dtype).tiny)


def ratio(top: Array, bottom: Array, *, positive: bool = False) -> Array:
    """top / bottom for bottom >= 0, and 0 where bottom is 0, in the value and in the derivative.

    `positive` says that bottom is never 0, which saves two selects an element.
    """
    if positive:
        return top / bottom
    there = bottom > 0
    return jnp.where(there, top / jnp.where(there, bottom, 1), 0)


def root_ratio(top: Array, bottom: Array, eps: Scalar, eps_root: Scalar = 0.0) -> Array:
    """top / (sqrt(bottom + eps_root) + eps) for bottom >= 0, and 0 where the denominator is 0."""
    below = root(bottom + like(bottom, eps_root)) + like(bottom, eps)
    return ratio(top, below, positive=any(surely_positive(e, below.dtype) for e in (eps, eps_root)))


def mean_sq(x: Array) -> Array:
    """The mean of |x|^2 over one array, 0 for an empty one."""
    return saturated(jnp.sum(square(x))) / max(x.size, 1)


# Norms with a floor


def safe_norm(x: Array, min_norm: Scalar, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """max(|x|, min_norm), in at least float32; where the floor holds its derivative is zero.

    Args:    min_norm >= 0. ord, axis, keepdims as in `jax.numpy.linalg.norm`.
    """
    x = convert(jnp.asarray(x), wide_dtype(jnp.result_type(x)))
    if x.size == 0:
        kept = jnp.sum(x, axis=axis, keepdims=keepdims)
        return jnp.broadcast_to(like(x, min_norm), kept.shape).astype(real_dtype(x.dtype))
    floor = like(x, min_norm)
    below = jnp.linalg.norm(lax.stop_gradient(x), ord=ord, axis=axis, keepdims=True) <= floor
    size = jnp.linalg.norm(jnp.where(below, jnp.ones_like(x), x), ord=ord, axis=axis, keepdims=keepdims)
    return jnp.where(below.reshape(size.shape), floor, size)


def safe_root_mean_squares(x: Array, min_rms: Scalar) -> Array:
    """max(sqrt(mean |x|^2), min_rms), in at least float32; where the floor holds its derivative is zero.

    Args:    min_rms >= 0.
    """
    x = convert(jnp.asarray(x), wide_dtype(jnp.result_type(x)))
    rms, floor = root(mean_sq(x)), like(x, min_rms)
    return jnp.where(rms <= floor, floor, rms)

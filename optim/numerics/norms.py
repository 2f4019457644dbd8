"""Euclidean norms that overflow and underflow only where the norm itself does.

The square of 2e19 is infinite in float32, and that of 1e-23 is zero. So a GPU sums the squares together with the power
of two in which they are counted. A TPU, which is slow at sums of pairs, sums at three scales in one pass over memory,
and a CPU, whose compiler would make three passes of it, sums at a second scale only if the first did not hold the
result.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..types import Array, Scalar
from .dtypes import common_dtype, convert, is_complex, real_dtype, wide_dtype
from .moments import square
from .ops import staged
from .roots import ratio, root_of_square
from .scalars import like

Axes = tuple[int, ...] | None
_finfo: Any = jnp.finfo  # untyped in jax
_SCALE = 2.0**63
"""Large, with a square that is finite: a compiler that knows x may write (c x)^2 as c^2 x^2."""


def norm(x: Array, axes: Axes = None, keepdims: bool = False) -> Array:
    """sqrt(sum of |x|^2) over one array, or over some of its axes; its derivative at zero is zero."""
    size: Array = (_norm if staged(x) else _norm_once)((x,), axes)
    return size if keepdims else size.reshape(_reduced(x.shape, axes))


def rms(x: Array) -> Array:
    """sqrt(mean of |x|^2) over one array, 0 for an empty one."""
    return norm(x) / math.sqrt(max(x.size, 1))


def joint_norm(xs: Sequence[Array]) -> Array:
    """The norm of several arrays as one vector, 0 for none; its derivative at zero is zero."""
    if not xs:
        return jnp.zeros((), jnp.float32)
    dtype = common_dtype(*(real_dtype(x.dtype) for x in xs))
    wide = tuple(convert(x, common_dtype(dtype, x.dtype) if is_complex(x) else dtype) for x in xs)
    size: Array = (_norm if all(map(staged, wide)) else _norm_once)(wide, None)
    return size


def _reduced(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    gone = range(len(shape)) if axes is None else [a % len(shape) for a in axes]
    return tuple(n for i, n in enumerate(shape) if i not in gone)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _norm(xs: tuple[Array, ...], axes: Axes) -> Array:
    """The norm over `axes`, which are kept with size one; a scalar where these are None."""
    dtype = real_dtype(xs[0].dtype)
    if _finfo(dtype).maxexp > 128:
        return root_of_square(_sum_of_squares(xs, None, axes))
    cpu, gpu, others = (functools.partial(f, axes) for f in (_in_turn, _in_pairs, _side_by_side))
    size: Array = lax.platform_dependent(xs, cpu=cpu, cuda=gpu, rocm=gpu, default=others)
    return size


_norm_once: Any = jax.jit(_norm, static_argnums=1)


@_norm.defjvp
def _norm_jvp(axes: Axes, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (xs,), (dxs,) = primals, tangents
    size = _norm(xs, axes)
    inverse = ratio(jnp.ones_like(size), size)
    moved = [_along(x * convert(inverse, x.dtype), dx, axes) for x, dx in zip(xs, dxs, strict=True)]
    return size, functools.reduce(lax.add, moved)


def _along(x: Array, dx: Array, axes: Axes) -> Array:
    product = x.real * dx.real + x.imag * dx.imag if is_complex(x) else x * dx
    return jnp.sum(product, axes, keepdims=axes is not None)


def _sum_of_squares(xs: tuple[Array, ...], scale: Array | None, axes: Axes) -> Array:
    if scale is not None:
        # A compiler that knew the scale could write (c x)^2 as c^2 x^2, which is what overflows.
        hidden: Any = lax.optimization_barrier
        scale = hidden(scale)
    squares = [square(x if scale is None else x * lax.convert_element_type(scale, x.dtype)) for x in xs]
    if axes is not None:
        return jnp.sum(squares[0], axes, keepdims=True)
    parts = [lax.reduce(s, np.zeros((), s.dtype), lax.add, tuple(range(s.ndim))) for s in squares]
    # A chain of a few sums is traced faster than a stack; of many, a stack is compiled faster.
    return functools.reduce(lax.add, parts) if len(parts) <= 8 else jnp.sum(jnp.stack(parts))


# One trace for all scales.
_sums_once: Any = jax.jit(_sum_of_squares, static_argnums=2)


def _is_held(sums: Array) -> Array:
    """Whether sums of squares have neither overflowed nor lost what underflowed."""
    least, most = np.asarray(2.0**-100, sums.dtype), _finfo(sums.dtype).max
    return lax.ge(sums, jnp.full_like(sums, least)) & lax.le(sums, jnp.full_like(sums, most))


def _in_turn(axes: Axes, xs: tuple[Array, ...]) -> Array:
    plain = _sums_once(xs, np.ones((), real_dtype(xs[0].dtype)), axes)
    held = _is_held(plain)

    def again() -> Array:
        over = plain > 1
        scale = lax.select(over, jnp.full_like(plain, 1 / _SCALE), jnp.full_like(plain, _SCALE))
        scale = lax.select(held, jnp.ones_like(plain), scale)
        return root_of_square(_sums_once(xs, scale, axes)) / scale

    size: Array = lax.cond(jnp.all(held), lambda: root_of_square(plain), again)
    return size


def _side_by_side(axes: Axes, xs: tuple[Array, ...]) -> Array:
    plain, small, large = (
        _sums_once(xs, np.asarray(scale, real_dtype(xs[0].dtype)), axes) for scale in (1, _SCALE, 1 / _SCALE)
    )
    rest = jnp.where(plain > 1, root_of_square(large) * _SCALE, root_of_square(small) / _SCALE)
    return jnp.where(_is_held(plain), root_of_square(plain), rest)


_Pair = tuple[Array, Array]


def _in_pairs(axes: Axes, xs: tuple[Array, ...]) -> Array:
    """Sums of pairs (s, q) that stand for s^2 q, where s is a power of two."""
    unit, total = functools.reduce(_added, [_sum_of_pairs(_pair(x), axes) for x in xs])
    return unit * lax.sqrt(total)


def _pair(x: Array) -> _Pair:
    if is_complex(x):
        return _added(_pair(x.real), _pair(x.imag))
    size = jnp.abs(x)
    exponent = lax.bitcast_convert_type(size, jnp.uint32) & np.uint32(0x7F800000)
    unit = lax.bitcast_convert_type(exponent, x.dtype)
    # Infinity is its own unit, and the unit of what is too small for a normal number is zero.
    return unit, square(jnp.where((size == unit) | (unit == 0), jnp.ones_like(size), size / unit))


def _sum_of_pairs(pair: _Pair, axes: Axes) -> _Pair:
    zero, rank = np.zeros((), pair[0].dtype), pair[0].ndim
    over = range(rank) if axes is None else sorted(a % rank for a in axes)
    unit, total = lax.reduce(pair, (zero, zero), _added, tuple(over))
    return (unit, total) if axes is None else (jnp.expand_dims(unit, over), jnp.expand_dims(total, over))


def _added(a: _Pair, b: _Pair) -> _Pair:
    unit = lax.max(a[0], b[0])

    def counted(own: Array, q: Array) -> Array:
        return q * square(jnp.where(own == unit, jnp.ones_like(unit), own / unit))

    return unit, counted(*a) + counted(*b)


# Norms with a floor


def safe_norm(x: Array, min_norm: Scalar, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """max(|x|, min_norm), in at least float32; where the floor holds its derivative is zero.

    Args:    min_norm >= 0. ord, axis, keepdims as in `jax.numpy.linalg.norm`.
    """
    x = convert(jnp.asarray(x), wide_dtype(jnp.result_type(x)))
    if x.size == 0:
        shaped = jnp.sum(x, axis=axis, keepdims=keepdims)
        return jnp.broadcast_to(like(x, min_norm), shaped.shape).astype(real_dtype(x.dtype))
    floor = like(x, min_norm)
    below = jnp.linalg.norm(lax.stop_gradient(x), ord=ord, axis=axis, keepdims=True) <= floor
    size = jnp.linalg.norm(jnp.where(below, jnp.ones_like(x), x), ord=ord, axis=axis, keepdims=keepdims)
    return jnp.where(below.reshape(size.shape), floor, size)


def safe_root_mean_squares(x: Array, min_rms: Scalar) -> Array:
    """max(sqrt(mean |x|^2), min_rms), in at least float32; where the floor holds its derivative is zero.

    Args:    min_rms >= 0.
    """
    x = convert(jnp.asarray(x), wide_dtype(jnp.result_type(x)))
    size, floor = rms(x), like(x, min_rms)
    return jnp.where(size <= floor, floor, size)

"""Fresh arrays. Outside `jit` they are made by NumPy, without a compilation for every shape.

An array that only lends its shape, dtype and place may be a `jax.ShapeDtypeStruct`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import checks
from ..types import Array, Count, DType, Scalar
from .dtypes import as_complex, as_pairs, convert, real_dtype, wide_dtype


def full_like(x: Array, value: Scalar, dtype: DType) -> Array:
    """A fresh array of one value that keeps the sharding of `x`, also under an Auto mesh and `jit`."""
    if not (checks.is_traced(x) or checks.is_array(value)):
        return placed(np.full(x.shape, value, dtype), x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating) and not jnp.issubdtype(dtype, jnp.complexfloating):
        x = x.real
    # A constant would forget where `x` lives, and so would a select that a compiler knows never to pick `x`.
    hidden: Any = lax.optimization_barrier
    never = hidden(np.zeros((), bool))
    return jnp.where(never, lax.convert_element_type(x, dtype), jnp.asarray(value, dtype))


def full(shape: Any, value: Scalar, dtype: DType) -> Array:
    """A fresh array of one value."""
    return jnp.full(shape, value, dtype) if checks.is_array(value) else fresh(np.full(shape, value), dtype)


def fresh(x: Any, dtype: DType) -> Array:
    """A copy of a number or an array in `dtype`, in a buffer of its own."""
    if checks.is_traced(x):
        return jnp.array(x, dtype, copy=True)
    if not isinstance(x, jax.Array) or getattr(x, "weak_type", False):  # a key has none
        return _put(np.array(x, dtype), x)
    if x.dtype != dtype or not x.is_fully_addressable or jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return jnp.array(x, dtype, copy=True)
    copy: Array = jax.device_put(x, x.sharding if x.committed else None, may_alias=False)
    return copy


def copied(x: Any, like: Array, dtype: DType) -> Array:
    """A copy of `x` in `dtype` that is sharded like `like`."""
    if checks.is_traced(like) or checks.is_traced(x) or x.sharding != like.sharding or not x.is_fully_addressable:
        return full_like(like, 0, dtype) + convert(x, dtype)
    return fresh(x, dtype) if x.dtype == dtype else placed(np.array(x, dtype), like)


def zeros_of_shape(x: Array, shape: tuple[int, ...], dtype: DType, spread: Callable[[Array], Array]) -> Array:
    """Fresh zeros of another shape on the devices of `x`; `spread` makes them of zeros like `x` where it is sharded."""
    if checks.is_traced(x) or _is_spread(x):
        return spread(full_like(x, 0, dtype))
    return placed(np.zeros(shape, dtype), x)


def widened(x: Array) -> Array:
    """`x` in the dtype that rules compute in."""
    dtype = wide_dtype(x.dtype)
    if checks.is_shape(x):
        return _shape(x.shape, dtype, x)
    return x if x.dtype == dtype else _made(x, lambda a: a.astype(dtype), lambda x: convert(x, dtype))


def fresh_pairs(x: Array) -> Array:
    """`as_pairs` of a parameter."""
    if checks.is_shape(x):
        return _shape((*x.shape, 2), real_dtype(x.dtype), x)
    return _made(x, lambda a: np.stack([a.real, a.imag], axis=-1), as_pairs)


def fresh_complex(x: Array, dtype: DType) -> Array:
    """`as_complex` of what was made of `fresh_pairs`, with parts of this dtype."""
    return _made(
        x, lambda a: a.astype(dtype)[..., 0] + 1j * a.astype(dtype)[..., 1], lambda x: as_complex(convert(x, dtype))
    )


def _made(x: Array, by_numpy: Callable[[Any], Any], by_jax: Callable[[Array], Array]) -> Array:
    if checks.is_traced(x) or not x.is_fully_addressable:
        return by_jax(x)
    return placed(by_numpy(np.asarray(x)), x)


def zero_count() -> Count:
    """A count of no updates."""
    return fresh(0, jnp.int32)


def placed(x: np.ndarray[Any, Any], like: Array) -> Array:
    """A NumPy array as a JAX array, on the devices of `like` if `like` is committed, otherwise uncommitted.

    It may take the memory of `x` for its own.
    """
    if _is_spread(like):
        spread: Array = jax.make_array_from_callback(x.shape, _home(like), lambda index: x[index])
        return spread
    return _put(x, like)


def _put(x: Any, like: Any = None) -> Array:
    # Not `jnp.asarray`, which compiles a program for every shape.
    put: Array = jax.device_put(x, _home(like))
    return put


def _home(like: Any) -> Any:
    """The sharding that an array has been committed to, or that a shape was given; else None."""
    if checks.is_shape(like):
        return like.sharding
    return like.sharding if isinstance(like, jax.Array) and like.committed else None


def _is_spread(like: Any) -> bool:
    home = _home(like)
    return home is not None and len(home.device_set) > 1


def _shape(shape: tuple[int, ...], dtype: DType, like: Any) -> Array:
    made: Any = jax.ShapeDtypeStruct
    struct: Array = made(shape, dtype, sharding=like.sharding)
    return struct

"""Dtypes: what rules compute in, and conversion between them."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core.primitives import convert_element_type_p

from .. import checks
from ..types import Array, DType

F = TypeVar("F", bound=Callable[..., Any])
_finfo: Any = jnp.finfo  # untyped in jax


def mixing(name: str) -> Callable[[F], F]:
    """Decorate the public function `name`: real numbers may meet complex ones in it, whatever JAX is configured to."""

    def decorate(f: F) -> F:
        mixed: F = jax.numpy_dtype_promotion("standard")(f)
        return checks.entrance(name)(mixed)

    return decorate


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

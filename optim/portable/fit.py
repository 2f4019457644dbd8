"""Arrays from a file, converted to a state's dtypes and shardings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..tree.coded import Coded, is_coded
from .codes import numbers


def fitted_leaf(value: Any, like: Any) -> Any:
    """A copy of `value` with the dtype and sharding of `like`; a sentence, if they do not fit.

    Args:
      value: a NumPy or JAX array, or a number.
      like: the array in the state, or its `jax.ShapeDtypeStruct`.
    """
    if is_coded(like):
        return _fitted_code(value, like)
    if is_coded(value):
        value = numbers(value)
    keyed = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
    if keyed and not checks.is_key(value):
        data = jax.eval_shape(jax.random.key_data, like)
        found = fitted_leaf(value, data)
        return found if isinstance(found, str) else _placed(_wrapped(found, like), like)
    if checks.is_key(value) != keyed:
        return "is a PRNG key, the state has none there"
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    if np.shape(value) != like.shape:
        return f"has shape {np.shape(value)}, the state has {like.shape} there"
    if keyed:
        return _placed(value, like)
    if value.dtype.kind == "V" and value.dtype.names is None and value.dtype.itemsize == 2:
        value = value.view(jnp.bfloat16)  # npz files store bfloat16 as raw bytes
    if value.dtype.kind == "V" and not jnp.issubdtype(value.dtype, jnp.inexact) and like.dtype.itemsize == 1:
        value = value.view(like.dtype)
    kinds = [jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating]
    mine, wanted = (next((k for k in kinds if jnp.issubdtype(x.dtype, k)), None) for x in (value, like))
    widens = (mine, wanted) == (jnp.floating, jnp.complexfloating)
    if mine is None or not (mine is wanted or widens):
        return f"is {value.dtype}, the state has {like.dtype} there"
    same = value.dtype == like.dtype and not getattr(value, "weak_type", False)
    return _placed(value if same else value.astype(like.dtype), like)


def _fitted_code(value: Any, like: Coded) -> Any:
    """A slot in the form of `like`: the codes themselves if the codec is the same, else the numbers coded anew."""
    if is_coded(value) and _named(value) == _named(like):
        parts = {part: fitted_leaf(value.code[part], x) for part, x in like.code.items()}
        wrong = [found for found in parts.values() if isinstance(found, str)]
        return wrong[0] if wrong else Coded(parts, like.codec, like.made_of)
    number = numbers(value) if is_coded(value) else value
    number = fitted_leaf(number, like.like)
    if isinstance(number, str):
        return number
    placed = jax.jit(lambda x: like.codec.encode(x, None))(number)
    return Coded(jax.tree.map(_placed, placed, like.code), like.codec, like.made_of)


def _named(x: Coded) -> Any:
    return x.codec.tag() if hasattr(x.codec, "tag") else x.codec


def _wrapped(data: Any, like: Any) -> Any:
    impls: list[Any] = []
    jax.eval_shape(lambda key: impls.append(jax.random.key_impl(key)), like)  # traced, as `like` may be abstract
    return jax.random.wrap_key_data(jnp.asarray(data), impl=impls[0])


def _placed(value: Any, like: Any) -> Any:
    """A copy of `value` on the devices of `like`; uncommitted unless one of them is committed."""
    sharding = getattr(like, "sharding", None)
    if sharding is not None and (getattr(like, "committed", False) or not isinstance(like, jax.Array)):
        return jax.device_put(value, sharding, may_alias=False)
    bound = isinstance(value, jax.Array) and value.committed and value.sharding.is_fully_replicated
    if isinstance(value, jax.Array) and (checks.is_key(value) or not bound):
        return jnp.copy(value)
    return jnp.array(np.asarray(value), copy=True)

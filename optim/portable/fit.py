"""Arrays from a file, converted to a state's dtypes and shardings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks


def fitted_leaf(value: Any, like: Any) -> Any:
    """A copy of `value` with the dtype and sharding of `like`; a sentence, if they do not fit.

    Args:
      value: a NumPy or JAX array, or a number.
      like: the array in the state, or its `jax.ShapeDtypeStruct`.
    """
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

"""Where an array lives: the sharding that an Explicit mesh makes a part of its type."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ..types import Array, DType
from .dtypes import convert
from .fresh import zeros_of_shape

_reshard: Any = jax.sharding.reshard  # untyped in jax, as the next is
_whole: Any = PartitionSpec


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


def whole_zeros(leaf: Array, shape: tuple[int, ...], dtype: DType) -> Array:
    """Fresh zeros of any shape on every device of a leaf."""

    def zeros(x: Array) -> Array:
        # The select never picks the leaf, but makes the zeros vary over the same devices.
        return jnp.where(False, jnp.sum(gathered(x)), jnp.zeros(shape, dtype))

    return zeros_of_shape(leaf, shape, dtype, zeros)

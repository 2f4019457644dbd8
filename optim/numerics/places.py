"""Where an array lives: the sharding that an Explicit mesh makes a part of its type."""

from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from ..types import Array
from .dtypes import convert

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

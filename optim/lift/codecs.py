"""How a slot is stored: blocks of small integers or floats with a scale, or bfloat16 rounded stochastically.

A codec is an object with two functions, equal and hashed by its values:

    encode(x, last) -> code      a tree of arrays; `last` is the code that was there before, None at first
    decode(code, shape) -> x     a float32 array of that shape

`encode` must be elementwise but for sums and maxima inside a block, or sharded slots would be gathered.
"""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import checks, numerics
from ..numerics import is_complex
from ..tree.coded import Coded
from ..types import Array

NAMES = ("bfloat16", "float8", "int8", "int4")
_TINY = float(np.finfo(np.float32).tiny)
_LEVELS = {("int8", True): 127, ("int8", False): 255, ("int4", True): 7, ("int4", False): 15}
_FLOAT8 = 448.0
_FORMATS = {
    "bfloat16": (7, -126),
    "float16": (10, -14),
}  # digits after the point, exponent of the smallest normal number
_FLOAT8_LEAST = 2.0**-9


class Codec(Protocol):
    """How an array is stored; equal codecs have equal hashes."""

    def encode(self, x: Array, last: Any) -> Any:
        """The code of `x`: a tree of arrays. `last` is the code that was there before, None at first."""

    def decode(self, code: Any, shape: tuple[int, ...]) -> Array:
        """The array of this shape that `code` stands for, in float32."""


# Blocks


@dataclass(frozen=True)
class Blocks:
    """Numbers relative to the largest of their block, which lies along the last axis.

        signed        s = max |x|        y = x / s          q = round(127 * 2 y / (1 + |y|))
        non-negative  s = max sqrt(x)    y = sqrt(x) / s    q = round(255 y), at least 1 where x > 0

    Args:
      name: "int8", "int4" (two codes in a byte, 7 and 15 in place of 127 and 255), or "float8" (y itself, in E4M3).
      non_negative: whether it is the code of numbers >= 0.
      block: the number of elements that share a scale.
      scale_dtype: dtype of the scales.
    """

    name: str
    non_negative: bool = False
    block: int = 256
    scale_dtype: str = "float32"

    def encode(self, x: Array, last: Any = None) -> Any:
        del last
        flat = numerics.convert(x, jnp.float32).reshape(x.shape or (1,))
        if self.non_negative:
            # By its bits: a subnormal number may compare as zero.
            positive = lax.bitcast_convert_type(flat, jnp.int32) > 0
            root = jnp.where(positive, jnp.sqrt(jnp.maximum(flat, _TINY)), flat - flat)
        else:
            positive, root = flat != 0, flat
        scales = self._scales(root)
        y = root / self._spread(jnp.where(scales > 0, scales, jnp.ones_like(scales)), flat.shape[-1])
        if self.scale_dtype != "float32":
            # The largest has the largest code although its scale was rounded, so that what has a code keeps it.
            peak = self._spread(jnp.max(jnp.abs(_in_blocks(root, self.block)), axis=-1), flat.shape[-1])
            y = jnp.where((jnp.abs(root) == peak) & (peak > 0), jnp.sign(root), y)
        codes = self._codes(y, positive)
        return {"codes": codes.reshape(x.shape) if codes.shape == flat.shape else codes, "scales": scales}

    def decode(self, code: Any, shape: tuple[int, ...]) -> Array:
        codes, n = jnp.atleast_1d(code["codes"]), shape[-1] if shape else 1
        y = self._numbers(codes, n)
        x = y * self._spread(code["scales"], y.shape[-1])
        x = x * x if self.non_negative else x
        return x if shape else x.reshape(())

    def fresh(self, p: Array, value: Any, number: int) -> Any:
        """The code of an array of one value, like `p`; nothing is computed that a compiler would fold."""
        del number
        last = p.shape[-1] if p.shape else 1
        code: Any
        scale: Any
        if checks.is_number(value):
            code, scale = (
                self._extreme(float(np.sign(value))),
                float(np.sqrt(value) if self.non_negative else abs(value)),
            )
        else:
            scale = jnp.sqrt(value) if self.non_negative else jnp.abs(value)
            low, middle, high = (jnp.asarray(self._extreme(sign)) for sign in (-1.0, 0.0, 1.0))
            code = jnp.where(value > 0, high, jnp.where(value < 0, low, middle))
        dtype = jnp.dtype(self.scale_dtype)
        shape = (*p.shape[:-1], -(-last // self.block))
        scales = numerics.zeros_of_shape(p, shape, dtype, lambda z: jnp.atleast_1d(z)[..., :: self.block])
        if not (checks.is_number(value) and value == 0):
            scales = scales + jnp.asarray(scale, dtype)
        if self.name != "int4":
            return {"codes": numerics.full_like(p, code, code.dtype), "scales": scales}
        shape = (*p.shape[:-1], -(-last // 2))
        codes = numerics.zeros_of_shape(p, shape, jnp.uint8, lambda z: jnp.atleast_1d(z)[..., ::2])
        return {"codes": codes if checks.is_number(value) and value == 0 else codes + code, "scales": scales}

    def emptied(self, code: Any) -> Any:
        """The code of zeros, in the place of another one; not encoded, as a compiler would fold that."""
        return {part: jnp.zeros_like(x) for part, x in code.items()}

    def _extreme(self, sign: float) -> Any:
        """The code of the number that is its block's largest, or zero."""
        if self.name == "float8":
            return np.asarray(sign * _FLOAT8, jnp.float8_e4m3fn)
        q = max(int(sign), -1 + self.non_negative) * _LEVELS[self.name, not self.non_negative]
        if self.name == "int4":
            return np.uint8((q & 15) * 17)
        return np.uint8(max(q, 0)) if self.non_negative else np.int8(q)

    def dtypes(self) -> dict[str, Any]:
        """The dtypes of the arrays of a code."""
        return {"codes": jnp.dtype(self._extreme(0.0).dtype), "scales": jnp.dtype(self.scale_dtype)}

    def tag(self) -> str:
        """How a checkpoint names it."""
        scale = "" if self.scale_dtype == "float32" else f"-{self.scale_dtype}"
        return f"{self.name}-{self.block}{scale}" + "-nonnegative" * self.non_negative

    def __str__(self) -> str:
        return f"{self.name} in blocks of {self.block}"

    def _scales(self, root: Array) -> Array:
        blocks = _in_blocks(root, self.block)
        scales = jnp.max(jnp.abs(blocks), axis=-1)
        if self.non_negative:
            # The square of the smallest code must not underflow.
            scales = jnp.where(scales > 0, jnp.maximum(scales, self._least_scale()), scales)
        return numerics.convert(scales, jnp.dtype(self.scale_dtype))

    def _least_scale(self) -> float:
        steps = _FLOAT8 / _FLOAT8_LEAST if self.name == "float8" else _LEVELS[self.name, False]
        return float(np.sqrt(_TINY) * steps * 1.01)

    def _spread(self, scales: Array, n: int) -> Array:
        scales = numerics.convert(scales, jnp.float32)
        block = min(self.block, n)
        wide = jnp.broadcast_to(scales[..., None], (*scales.shape, block))
        wide = wide.reshape(*scales.shape[:-1], scales.shape[-1] * block)
        return wide if wide.shape[-1] == n else wide[..., :n]

    def _codes(self, y: Array, positive: Array) -> Array:
        if self.name == "float8":
            z = jnp.clip(y * _FLOAT8, -_FLOAT8, _FLOAT8)
            z = jnp.where(positive, jnp.maximum(z, _FLOAT8_LEAST), z) if self.non_negative else z
            return lax.convert_element_type(z, jnp.float8_e4m3fn)
        levels = _LEVELS[self.name, not self.non_negative]
        if self.non_negative:
            q = jnp.minimum(jnp.maximum(jnp.round(y * levels), jnp.where(positive, 1.0, 0.0)), levels)
        else:
            q = jnp.clip(jnp.round(2 * y / (1 + jnp.abs(y)) * levels), -levels, levels)
        if self.name == "int8":
            return lax.convert_element_type(q, jnp.uint8 if self.non_negative else jnp.int8)
        q = lax.convert_element_type(q, jnp.int32) & 15
        q = jnp.pad(q, [(0, 0)] * (q.ndim - 1) + [(0, q.shape[-1] % 2)])
        pairs = q.reshape(*q.shape[:-1], q.shape[-1] // 2, 2)
        return lax.convert_element_type(pairs[..., 0] | (pairs[..., 1] << 4), jnp.uint8)

    def _numbers(self, codes: Array, n: int) -> Array:
        if self.name == "float8":
            return lax.convert_element_type(codes, jnp.float32) / _FLOAT8
        if self.name == "int4":
            codes = lax.convert_element_type(codes, jnp.int32)
            codes = jnp.stack([codes & 15, codes >> 4], axis=-1)
            codes = codes.reshape(*codes.shape[:-2], 2 * codes.shape[-2])[..., :n]
            codes = codes if self.non_negative else (codes ^ 8) - 8
        c = lax.convert_element_type(codes, jnp.float32) / _LEVELS[self.name, not self.non_negative]
        return c if self.non_negative else c / (2 - jnp.abs(c))


def _in_blocks(x: Array, block: int) -> Array:
    n = x.shape[-1]
    block = min(block, n)
    count = -(-n // block) if n else 0
    if count * block != n:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, count * block - n)])
    return x.reshape(*x.shape[:-1], count, block)


# Stochastic rounding


@dataclass(frozen=True)
class Bfloat16:
    """bfloat16, rounded up or down with the probabilities that make it unbiased.

    The random bits are a hash of a salt, which has the slot's name, the leaf's number and the step in it, and of the
    element's index.
    """

    name: str = "bfloat16"
    salt: int = 0

    def encode(self, x: Array, last: Any = None) -> Any:
        salt = jnp.uint32(self.salt) if last is None else last["salt"] + jnp.uint32(0x9E3779B9)
        return {"codes": rounded(numerics.convert(x, jnp.float32), jnp.bfloat16, salt), "salt": salt}

    def decode(self, code: Any, shape: tuple[int, ...]) -> Array:
        del shape
        return numerics.convert(code["codes"], jnp.float32)

    def fresh(self, p: Array, value: Any, number: int) -> Any:
        """The code of an array of one value, like `p`."""
        salt = numerics.fresh(np.uint32((self.salt + number * 0x85EBCA6B) % 2**32), jnp.uint32)
        return {"codes": numerics.full_like(p, value, jnp.bfloat16), "salt": salt}

    def emptied(self, code: Any) -> Any:
        """The code of zeros, in the place of another one."""
        return {**code, "codes": jnp.zeros_like(code["codes"])}

    def dtypes(self) -> dict[str, Any]:
        """The dtypes of the arrays of a code."""
        return {"codes": jnp.dtype(jnp.bfloat16), "salt": jnp.dtype(jnp.uint32)}

    def tag(self) -> str:
        """How a checkpoint names it."""
        return self.name

    def __str__(self) -> str:
        return "bfloat16 rounded stochastically"


def salted(count: Array, number: int) -> Array:
    """The salt of a leaf at a step."""
    return _mixed(lax.convert_element_type(count, jnp.uint32) ^ jnp.uint32(number * 0x85EBCA6B % 2**32))


def from_tag(tag: str) -> Any:
    """The codec of a tag; None if there is none."""
    name, *rest = tag.split("-")
    if tag == "bfloat16":
        return Bfloat16()
    if name not in NAMES or not rest or not rest[0].isdigit():
        return None
    scale = next((word for word in rest if word in ("bfloat16", "float32")), "float32")
    return Blocks(name, "nonnegative" in rest, int(rest[0]), scale)


def rounded(x: Array, dtype: Any, salt: Array) -> Array:
    """float32 numbers rounded to bfloat16 or float16 without bias, by a hash of `salt` and of each element's index."""
    dtype = jnp.dtype(dtype)
    noise = random_bits(x.shape, salt)
    if dtype == jnp.bfloat16:
        bits = lax.bitcast_convert_type(x, jnp.uint32)
        up = (bits + (noise & jnp.uint32(0xFFFF))) & jnp.uint32(0xFFFF0000)
        moved = lax.bitcast_convert_type(up, jnp.float32)
        return lax.convert_element_type(jnp.where(jnp.isfinite(moved), moved, x), dtype)
    near = lax.convert_element_type(lax.convert_element_type(x, dtype), jnp.float32)
    unit = ulp(x, dtype)
    low = jnp.floor(x / unit) * unit
    share = lax.convert_element_type(noise >> 8, jnp.float32) * 2.0**-24
    moved = jnp.where((x - low) / unit > share, low + unit, low)
    return lax.convert_element_type(jnp.where(jnp.isfinite(near), moved, x), dtype)


def random_bits(shape: tuple[int, ...], salt: Array) -> Array:
    """32 bits for every element, from a hash of the salt and its index; elementwise, whatever the sharding."""
    index, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        index = index + lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return _mixed(index * jnp.uint32(0x9E3779B1) ^ _mixed(salt))


def _mixed(x: Array) -> Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def ulp(x: Array, dtype: Any) -> Array:
    """The distance between neighbours of `x`, in float32, among the numbers of `dtype`; a normal number."""
    digits, smallest = _FORMATS[jnp.dtype(dtype).name]
    exponent = (lax.bitcast_convert_type(x, jnp.int32) >> 23) & 255
    least = max(smallest - digits + 127, 1)
    return lax.bitcast_convert_type(jnp.maximum(exponent - digits, least) << 23, jnp.float32)


# The choice of a user


@dataclass(frozen=True)
class Choice:
    """A codec for the slots of one name, with what it leaves out.

    Args:
      codec: a name or an object with `encode` and `decode`.
      block, scale_dtype: for the codecs known by name.
      min_size: leaves with fewer elements stay as they are.
    """

    codec: Any
    block: int = 256
    min_size: int = 4096
    scale_dtype: str = "float32"

    def made(self, name: str, slot: Any, p: Array, number: int, paired: bool) -> Any:
        """The slot of one parameter, coded; as it is where it is small, complex or would not be smaller."""
        plain = jax.eval_shape(lambda: slot.make(jnp.zeros(p.shape, p.dtype), paired=paired))
        if p.size < max(self.min_size, 1) or not jnp.issubdtype(plain.dtype, jnp.floating) or is_complex(p):
            return slot.make(p, paired=paired)
        codec = self._for(name, slot, p)
        if _size(jax.eval_shape(lambda: codec.encode(jnp.zeros(p.shape, jnp.float32), None))) >= _size(plain):
            return slot.make(p, paired=paired)
        if hasattr(codec, "fresh") and not callable(slot.init):
            return Coded(codec.fresh(p, slot.init, number), codec, p.shape)
        x = slot.make(p, paired=paired)
        if checks.is_shape(x):
            return jax.eval_shape(lambda x: Coded(codec.encode(x, None), codec, p.shape), x)
        return Coded(_encode(codec, x), codec, p.shape)

    def _for(self, name: str, slot: Any, p: Array) -> Any:
        if self.codec == "bfloat16":
            return Bfloat16(salt=zlib.crc32(name.encode()))
        if isinstance(self.codec, str):
            return Blocks(self.codec, slot.non_negative, _block_in_shard(p, self.block), self.scale_dtype)
        return self.codec


def _encode(codec: Any, x: Array) -> Any:
    return jax.jit(lambda x: codec.encode(x, None))(x)


def _block_in_shard(p: Array, block: int) -> int:
    """The largest block that crosses no border between shards, where the type of an array has its sharding."""
    spec = () if checks.is_shape(p) or not p.shape else jax.typeof(p).sharding.spec
    axes = spec[-1] if len(spec) == len(p.shape) and spec else None
    if axes is None:
        return block
    sizes = jax.typeof(p).sharding.mesh.shape
    shards = int(np.prod([sizes[axis] for axis in (axes if isinstance(axes, tuple) else (axes,))]))
    shard = p.shape[-1] // shards
    return max(n for n in range(1, min(block, shard) + 1) if shard % n == 0)


def _size(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@dataclass
class Choices:
    """The codecs chosen by the names of slots, and the names that were met while a state was made."""

    by_name: Mapping[str, Choice]
    met: dict[str, list[Any]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


_choices: ContextVar[tuple[Choices, ...]] = ContextVar("optim_codecs", default=())


@contextmanager
def choosing(choices: Choices) -> Iterator[None]:
    """While a state is made, store its slots by these codecs; the innermost choice holds."""
    token = _choices.set((choices, *_choices.get()))
    try:
        yield
    finally:
        _choices.reset(token)


def chosen(name: str, slot: Any) -> Choice | None:
    """The codec chosen for slots of this name."""
    found = None
    for choices in _choices.get():
        choices.met.setdefault(name, []).append(slot)
        if found is None and name in choices.by_name:
            found = choices.by_name[name]
            choices.used.add(name)
        elif found is not None and name in choices.by_name:
            choices.used.add(name)
    return found

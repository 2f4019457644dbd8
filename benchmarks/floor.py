"""The parts of a step: AdamW on one leaf, in all ways that XLA's CPU backend can run it.

A kernel of this backend has one output, so AdamW needs three: each moment reads 8 bytes per parameter and writes 4; the
parameter reads 12, including both moments again, and writes 4. That is 40 bytes, while a single pass would move 28. If
each kernel alone reaches the memory bandwidth, no order of them is faster. The loop works on chunks that stay in the
cache between kernels, so that it moves only 28 bytes, but it copies its results into place.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .adapters import COMPILATIONS
from .libraries import KERNELS
from .optimizers import DECAY, EPS, MissingError, Optimizer
from .trees import Tree

PIECE = 2**17
RATE = 1e-3


def first(m: Any, g: Any) -> Any:
    return m + 0.1 * (g - m)


def second(v: Any, g: Any) -> Any:
    return v + 0.001 * (g * g - v)


def parameter(p: Any, m: Any, v: Any) -> Any:
    return p - RATE * (m / (jnp.sqrt(v) + EPS) + DECAY * p)


def three(p: Any, m: Any, v: Any, g: Any) -> Any:
    m, v = first(m, g), second(v, g)
    return parameter(p, m, v), m, v


def loop(p: Any, m: Any, v: Any, g: Any, *, piece: int = PIECE) -> Any:
    """The branch that is never taken keeps XLA from fusing the chunks with the whole array and copying that."""

    def body(i: Any, carry: Any) -> Any:
        start = i * piece

        def compute(*arrays: Any) -> Any:
            return three(*[lax.dynamic_slice(x, (start,), (piece,)) for x in arrays])

        def unused(*_: Any) -> Any:
            return (jnp.zeros(piece, p.dtype),) * 3

        pieces = lax.cond(i >= 0, compute, unused, *carry, g)
        return tuple(lax.dynamic_update_slice(x, new, (start,)) for x, new in zip(carry, pieces, strict=True))

    return lax.fori_loop(0, p.size // piece, body, (p, m, v))


class Leaf:
    """A function of some of (p, m, v, g) on one leaf of a tree's size; it overwrites the arrays that it returns."""

    def __init__(self, function: Callable[..., Any], names: str, moved: int, size: int) -> None:
        self.names, self.size, self.moved = names, size, moved * size
        self.returned = "pmv" if len(names) == 4 else names[0]
        self.compiled = jax.jit(function, donate_argnums=tuple(range(len(self.returned))))
        self.arrays: dict[str, Any] = {}

    def load(self) -> None:
        rng = np.random.default_rng(0)
        self.arrays = {n: jnp.asarray(rng.random(self.size, np.float32)) for n in self.names}

    def unload(self) -> None:
        self.arrays = {}

    def step(self) -> None:
        results = self.compiled(*[self.arrays[n] for n in self.names])
        self.arrays.update(zip(self.returned, results if len(self.returned) > 1 else [results], strict=True))

    def wait(self) -> None:
        jax.block_until_ready(self.arrays)

    def parameters(self) -> list[np.ndarray]:
        return [np.asarray(self.arrays[n]) for n in self.returned]

    def buffers(self) -> list[Any]:
        return [self.arrays[n] for n in self.returned]

    def reused(self, before: list[Any]) -> bool:
        return all(x.is_deleted() for x in before)

    def compilations(self) -> int:
        return len(COMPILATIONS)


class Way:
    """A function of some of (p, m, v, g), and the bytes per parameter that it moves."""

    def __init__(self, function: Callable[..., Any], names: str, moved: int) -> None:
        self.function, self.names, self.moved = function, names, moved

    def library(self) -> Any:
        return jax

    def session(self, optimizer: Optimizer, tree: Tree, rate: float, *, train: bool, platform: str) -> Leaf:
        if platform != "cpu":
            raise MissingError("these are the kernels of a CPU")
        return self.on(tree)

    def on(self, tree: Tree, piece: int = PIECE) -> Leaf:
        function = functools.partial(loop, piece=piece) if self.function is loop else self.function
        return Leaf(function, self.names, self.moved, -(-tree.size // piece) * piece)


_WAYS = (
    Way(three, "pmvg", 40),
    Way(first, "mg", 12),
    Way(second, "vg", 12),
    Way(parameter, "pmv", 16),
    Way(loop, "pmvg", 28),
)
ADAPTERS = dict(zip(KERNELS, _WAYS, strict=True))

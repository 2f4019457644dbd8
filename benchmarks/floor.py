"""Why a step takes as long as it does: AdamW on one leaf, in every way that XLA's CPU backend knows.

A kernel of it has one output. So AdamW takes three: the moments read 8 bytes a parameter and write 4, each; the
parameter reads 12, the moments once more among them, and writes 4: 40 where a single pass would move 28. If each of
the three, alone, has the memory's bandwidth, no order of them is faster. The loop works on pieces that stay in the
cache from one kernel to the next, so that only 28 bytes come from memory, but copies what it computes into place.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .optimizers import DECAY, EPS
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
    """Without the branch that is never taken XLA would merge the pieces with the whole, and copy that every turn."""

    def body(i: Any, carry: Any) -> Any:
        start = i * piece

        def there(*arrays: Any) -> Any:
            return three(*[lax.dynamic_slice(x, (start,), (piece,)) for x in arrays])

        def nowhere(*_: Any) -> Any:
            return (jnp.zeros(piece, p.dtype),) * 3

        pieces = lax.cond(i >= 0, there, nowhere, *carry, g)
        return tuple(lax.dynamic_update_slice(x, new, (start,)) for x, new in zip(carry, pieces, strict=True))

    return lax.fori_loop(0, p.size // piece, body, (p, m, v))


class Leaf:
    """A function of (p, m, v, g) that overwrites what it returns, on one leaf of a tree's size."""

    def __init__(self, function: Callable[..., Any], names: str, size: int, moved: int) -> None:
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
        found = self.compiled(*[self.arrays[n] for n in self.names])
        self.arrays.update(zip(self.returned, found if len(self.returned) > 1 else [found], strict=True))

    def wait(self) -> None:
        jax.block_until_ready(self.arrays)

    def parameters(self) -> list[np.ndarray]:
        return [np.asarray(self.arrays[n]) for n in self.returned]

    def buffers(self) -> list[Any]:
        return [self.arrays[n] for n in self.returned]

    def reused(self, before: list[Any]) -> bool:
        return all(x.is_deleted() for x in before)


def sessions(tree: Tree, piece: int = PIECE) -> dict[str, Leaf]:
    """Each way, with the bytes a parameter that it moves to and from memory."""
    size = -(-tree.size // piece) * piece
    ways: dict[str, tuple[Callable[..., Any], str, int]] = {
        "three kernels": (three, "pmvg", 40),
        "first moment": (first, "mg", 12),
        "second moment": (second, "vg", 12),
        "parameter": (parameter, "pmv", 16),
        "loop of pieces": (functools.partial(loop, piece=piece), "pmvg", 28),
    }
    return {name: Leaf(f, names, size, moved) for name, (f, names, moved) in ways.items()}

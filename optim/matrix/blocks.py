"""Blocks of a leaf: the axes along which its elements share one number, chosen by its path and its shape."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from .. import checks, tree
from ..types import Params

Blocks = Callable[[str, tuple[int, ...]], int | Sequence[int]]


def axes_of_blocks(blocks: Blocks, params: Params) -> list[tuple[int, ...]]:
    """The axes that share a number in each leaf of `params`; () for `None`."""
    leaves, _ = tree.flatten(params)
    pairs = zip(tree.names(params), leaves, strict=True)
    return [() if tree.absent(p) else _axes(blocks, name, jnp.shape(p)) for name, p in pairs]


def _axes(blocks: Blocks, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    given: Any = blocks(name, shape)
    axes = (given,) if isinstance(given, int) else given
    if not isinstance(axes, list | tuple) or not all(
        isinstance(a, int) and -len(shape) <= a < len(shape) for a in axes
    ):
        checks.fail(f"blocks({name!r}, {shape}) must give axes of that shape, got {checks.shown(given)}", TypeError)
    return tuple(sorted({a % len(shape) for a in axes}))

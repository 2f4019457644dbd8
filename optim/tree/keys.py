"""Random trees, and keys for them."""

from collections.abc import Callable
from typing import Any

import jax

from .. import checks
from ..types import Array, DType, Tree
from .places import as_array, leaves, map


def split_key_like(rng_key: Array, target_tree: Tree) -> Tree:
    """A key of its own for every leaf."""
    keys = iter(jax.random.split(rng_key, len(leaves(target_tree))))
    return map(lambda _: next(keys), target_tree)


def random_like(
    rng_key: Array,
    target_tree: Tree,
    sampler: Callable[..., Any] = jax.random.normal,
    dtype: DType | None = None,
) -> Tree:
    """A tree shaped like another, of independent draws.

    Args:    sampler(key, shape, dtype) gives the draws of one leaf.
             dtype: by default that of each leaf, which the sampler must know how to draw.
    """

    def draw(x: Any, key: Array) -> Any:
        x = as_array(x)
        return sampler(key, x.shape, dtype or x.dtype)

    return map(draw, target_tree, split_key_like(rng_key, target_tree))


def unwrap_random_key_data(input_tree: Tree) -> Tree:
    """Every key as the integers it is made of, so that trees with keys can be compared as numbers."""

    def data(x: Any) -> Any:
        return jax.random.key_data(x) if checks.is_key(x) else x

    return map(data, input_tree)

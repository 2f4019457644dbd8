"""Random trees, and PRNG keys for the leaves of a tree."""

from collections.abc import Callable
from typing import Any

import jax

from .. import checks
from ..types import Array, DType, Tree
from .places import as_array, leaves, map


def split_key_like(rng_key: Array, target_tree: Tree) -> Tree:
    """Split a key into one for every leaf.

    Args:
      rng_key: a PRNG key.
      target_tree: the tree whose structure the result has.
    """
    keys = iter(jax.random.split(rng_key, len(leaves(target_tree))))
    return map(lambda _: next(keys), target_tree)


def random_like(
    rng_key: Array,
    target_tree: Tree,
    sampler: Callable[..., Any] = jax.random.normal,
    dtype: DType | None = None,
) -> Tree:
    """A tree of independent random draws, with the structure and shapes of another.

    Args:
      rng_key: a PRNG key.
      target_tree: the tree whose structure and shapes the result has.
      sampler: function (key, shape, dtype) -> draws for one leaf.
      dtype: dtype of the draws; None takes each leaf's, which the sampler must support.
    """

    def draw(x: Any, key: Array) -> Any:
        x = as_array(x)
        return sampler(key, x.shape, dtype or x.dtype)

    return map(draw, target_tree, split_key_like(rng_key, target_tree))


def unwrap_random_key_data(input_tree: Tree) -> Tree:
    """Replace every typed PRNG key by its integers, so that trees with keys can be compared as numbers.

    Args:
      input_tree: a tree of arrays and keys.
    """

    def data(x: Any) -> Any:
        return jax.random.key_data(x) if checks.is_key(x) else x

    return map(data, input_tree)

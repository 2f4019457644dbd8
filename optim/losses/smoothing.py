"""Label smoothing."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks
from ..types import Array
from .operands import Axes, axes, floating, mask, parameter, widened


@checks.entrance("smooth_labels")
def smooth_labels(labels: ArrayLike, alpha: ArrayLike, *, axis: Axes = -1, where: ArrayLike | None = None) -> Array:
    """Mix labels with the uniform distribution over the classes.

        (1 - alpha) labels + alpha / classes

    Args:
      labels: probabilities, floating: one-hot, say.
      alpha: share of the uniform distribution, in [0, 1]: a number, or an array that broadcasts to the labels. Usually
        0.1.
      axis: the classes: a dimension, several, or None for all.
      where: True for the classes that exist, which are counted, a boolean array that broadcasts to the labels; None is
        all.
    Returns: labels of the same shape and dtype.
    Raises:  ValueError for alpha out of range, for an axis or a mask that does not fit.
    Source:  Szegedy et al. 2016, Rethinking the Inception architecture, Sec. 7.
    Differs: where no class exists Optax returns infinity.
    """
    given = floating("labels", labels)
    (x,) = widened(given)
    over = axes(axis, x.shape, "labels")
    share = parameter("alpha", alpha, checks.CLOSED_UNIT, x, "labels")
    exists = mask(where, x.shape, "labels")
    counted = jnp.ones(x.shape, bool) if exists is None else exists
    classes = jnp.maximum(jnp.sum(counted, over, keepdims=True), 1).astype(x.dtype)
    uniform = jnp.where(jnp.any(counted, over, keepdims=True), 1 / classes, 0)
    return ((1 - share) * x + share * uniform).astype(given.dtype)

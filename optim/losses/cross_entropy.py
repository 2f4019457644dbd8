"""Cross entropies of a softmax."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks
from ..types import Array
from .operands import (
    Axes,
    axes,
    floating,
    integers,
    mask,
    matched,
    parameter,
    real,
    without,
)
from .softmax import cross_entropy, cross_entropy_at, softmax


@checks.entrance("softmax_cross_entropy")
def softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, axis: Axes = -1, where: ArrayLike | None = None
) -> Array:
    """Cross entropy between the softmax of the logits and labels that are probabilities.

        loss = -sum_k labels_k log softmax(logits)_k

    Args:
      logits: unnormalised log probabilities, floating.
      labels: probabilities, of the shape of the logits. One-hot labels may be integers.
      axis: the classes: a dimension, several, or None for all.
      where: True for the classes that exist, a boolean array that broadcasts to the logits, or for the examples that
        count, one of the shape of the losses; None is all. The loss is 0 where nothing is left.
    Returns: the losses, without the dimensions of `axis`.
    Raises:  ValueError for operands of different shapes, for an axis or a mask that does not fit.
    Differs: a class of label 0 may have the logit -inf; Optax returns NaN, and has `safe_softmax_cross_entropy`.
    When:    labels are soft; otherwise `softmax_cross_entropy_with_integer_labels` uses less memory.
    """
    z, probabilities = floating("logits", logits), real("labels", labels)
    _, dtype = matched(logits=z, labels=probabilities)
    over = axes(axis, z.shape, "logits")
    exists = mask(where, z.shape, "logits", examples=over)
    return cross_entropy(z, exists, probabilities, over).astype(dtype)


@checks.entrance("safe_softmax_cross_entropy")
def safe_softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """`softmax_cross_entropy` over the last dimension, in which a class of label 0 may have the logit -inf.

    Args:
      logits: unnormalised log probabilities [..., classes], floating.
      labels: probabilities, of the shape of the logits.
    Returns: the losses [...].
    Raises:  ValueError for operands of different shapes; TypeError for logits that are not floating.
    """
    return softmax_cross_entropy(logits, labels)


@checks.entrance("softmax_cross_entropy_with_integer_labels")
def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike, labels: ArrayLike, axis: int | tuple[int, ...] = -1, where: ArrayLike | None = None
) -> Array:
    """Cross entropy between the softmax of the logits and one class each.

        loss = -log softmax(logits)_label

    The value and the gradient hold no array of the logits' size beside the logits and the gradient itself.

    Args:
      logits: unnormalised log probabilities, floating.
      labels: integers in [0, classes), of the shape of the logits without `axis`. Negative labels count from the end.
      axis: the classes: a dimension, or several, which the labels number as if they were one.
      where: True for the classes that exist or the examples that count, as in `softmax_cross_entropy`. The loss is
        infinite for a label whose class does not exist.
    Returns: the losses, shaped like the labels; NaN for a label that is out of range.
    Raises:  ValueError for labels of another shape, for an axis or a mask that does not fit; TypeError for labels
      that are not integers.
    Differs: for a label that `where` excludes Optax returns the distance to the excluded logit.
    When:    the vocabulary is large.
    """
    z = floating("logits", logits)
    over = axes(axis, z.shape, "logits")
    exists = mask(where, z.shape, "logits", examples=over)
    if len(over) != 1:
        z, exists = _last(z, over), None if exists is None else _last(exists, over)
        over = (z.ndim - 1,)
    y = integers("labels", labels, without(z.shape, over))
    loss = cross_entropy_at(z, exists, y, over[0])
    if exists is not None:
        loss = jnp.where(jnp.any(exists, over), loss, 0)
    return loss.astype(z.dtype)


def _last(x: Array, over: tuple[int, ...]) -> Array:
    """`x` with the dimensions `over` as one, the last."""
    moved = jnp.moveaxis(x, over, range(x.ndim - len(over), x.ndim))
    return moved.reshape(*moved.shape[: x.ndim - len(over)], math.prod(x.shape[a] for a in over))


@checks.entrance("poly_loss_cross_entropy")
def poly_loss_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, *, epsilon: ArrayLike = 2.0, axis: Axes = -1, where: ArrayLike | None = None
) -> Array:
    """`softmax_cross_entropy` with another coefficient of the first term of its expansion in 1 - p.

        loss = sum_k labels_k (-log p_k + epsilon (1 - p_k)),   p = softmax(logits)

    Args:
      logits: unnormalised log probabilities, floating.
      labels: probabilities, of the shape of the logits.
      epsilon: a number, or an array that broadcasts to the losses. Usually -1 to 8; 0 is `softmax_cross_entropy`.
      axis: the classes: a dimension, several, or None for all.
      where: True for the classes that exist or the examples that count, as in `softmax_cross_entropy`.
    Returns: the losses, without the dimensions of `axis`.
    Raises:  ValueError for operands of different shapes, for an axis or a mask that does not fit.
    Source:  Leng et al. 2022, PolyLoss, Eq. 8 (Poly-1).
    """
    z, probabilities = floating("logits", logits), real("labels", labels)
    (_, targets), dtype = matched(logits=z, labels=probabilities)
    over = axes(axis, z.shape, "logits")
    s = softmax(z, mask(where, z.shape, "logits", examples=over), over)
    targets = targets if s.mask is None else jnp.where(s.mask, targets, 0)
    loss = cross_entropy(z, s.mask, probabilities, over)
    # -expm1(log p) keeps the digits that 1 - p loses for p near 1.
    missed = jnp.sum(targets * -jnp.expm1(s.log_probabilities()), over)
    return (loss + missed * parameter("epsilon", epsilon, checks.REAL, loss, "the losses")).astype(dtype)

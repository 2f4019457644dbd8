"""Losses of scores: hinge, perceptron and sparsemax, of two classes and of many."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks, projections
from ..types import Array, DType
from .operands import at_labels, floating, integers, matched, one_hot, widened


@checks.entrance("hinge_loss")
def hinge_loss(predictor_outputs: ArrayLike, targets: ArrayLike) -> Array:
    """Hinge loss of two classes: by how much the margin is missed.

        loss = max(1 - predictor_outputs targets, 0)

    Args:
      predictor_outputs: scores, floating.
      targets: -1 or 1, of the shape of the scores, or a number.
    Returns: the losses, of the shape of the scores.
    Raises:  ValueError for operands of different shapes; TypeError for scores that are not floating.
    """
    (scores, signs), dtype = matched(scalars=True, predictor_outputs=predictor_outputs, targets=targets)
    return jnp.maximum(1 - scores * signs, 0).astype(dtype)


@checks.entrance("perceptron_loss")
def perceptron_loss(predictor_outputs: ArrayLike, targets: ArrayLike) -> Array:
    """Loss of the binary perceptron: by how much a score has the wrong sign.

        loss = max(-predictor_outputs targets, 0)

    Args:
      predictor_outputs: scores, floating.
      targets: -1 or 1, of the shape of the scores, or a number.
    Returns: the losses, of the shape of the scores.
    Raises:  ValueError for operands of different shapes; TypeError for scores that are not floating.
    Source:  Rosenblatt 1958.
    """
    (scores, signs), dtype = matched(scalars=True, predictor_outputs=predictor_outputs, targets=targets)
    return jnp.maximum(-scores * signs, 0).astype(dtype)


@checks.entrance("sparsemax_loss")
def sparsemax_loss(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Sparsemax loss of two classes, exactly 0 from a margin of 1 on.

        loss = max(x - 1, 0) + (clip(x, -1, 1) + 1)^2 / 4,   x = -logits where the label is 1, else logits

    Args:
      logits: scores, floating.
      labels: 0 and 1, of the shape of the logits, or a number.
    Returns: the losses, of the shape and dtype of the logits.
    Raises:  ValueError for operands of different shapes; TypeError for scores that are not floating.
    Source:  Blondel et al. 2020, Fenchel-Young losses, Sec. 4.4.
    Differs: for large logits its derivative is NaN.
    """
    (x, y), _ = matched(scalars=True, logits=logits, labels=labels)
    x = jnp.where(y != 0, -x, x)
    loss = jnp.maximum(x - 1, 0) + (jnp.clip(x, -1, 1) + 1) ** 2 / 4
    return loss.astype(floating("logits", logits).dtype)


def _classes(scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array, DType]:
    """Scores minus that of the label, the labels, and the dtype of the result."""
    s = floating("scores", scores)
    if not s.ndim or not s.shape[-1]:
        checks.fail(f"scores must have shape [..., classes], got {s.shape}")
    y = integers("labels", labels, s.shape[:-1])
    (wide,) = widened(s)
    return wide - at_labels(wide, y, -1)[..., None], y, s.dtype


@checks.entrance("multiclass_hinge_loss")
def multiclass_hinge_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Hinge loss of many classes: by how much another class comes nearer to the label's score than 1.

        loss = max_k (scores_k + [k != label]) - scores_label

    Args:
      scores: [..., classes], floating.
      labels: integers in [0, classes), of shape [...]. Negative labels count from the end.
    Returns: the losses [...], in the dtype of the scores; NaN for a label that is out of range.
    Raises:  ValueError for labels of another shape; TypeError for labels that are not integers.
    Source:  Crammer & Singer 2001.
    Differs: the dtype is that of the scores; Optax' is at least float32, and it ignores labels out of range.
    """
    distances, y, dtype = _classes(scores, labels)
    others = ~one_hot(y, distances.shape, distances.ndim - 1)
    return jnp.max(distances + others.astype(distances.dtype), -1).astype(dtype)


@checks.entrance("multiclass_perceptron_loss")
def multiclass_perceptron_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Perceptron loss of many classes: by how much the best class exceeds the label's score.

        loss = max_k scores_k - scores_label

    Args:
      scores: [..., classes], floating.
      labels: integers in [0, classes), of shape [...]. Negative labels count from the end.
    Returns: the losses [...], in the dtype of the scores; NaN for a label that is out of range.
    Raises:  ValueError for labels of another shape; TypeError for labels that are not integers.
    Differs: as `multiclass_hinge_loss` from that of Optax.
    """
    distances, _, dtype = _classes(scores, labels)
    return jnp.max(distances, -1).astype(dtype)


@checks.entrance("multiclass_sparsemax_loss")
def multiclass_sparsemax_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Sparsemax loss, whose gradient is the sparsemax of the scores minus the one-hot label.

        loss = <scores, p> - |p|^2 / 2 + 1 / 2 - scores_label,   p = projection of the scores onto the simplex

    Args:
      scores: [..., classes], floating.
      labels: integers in [0, classes), of shape [...]. Negative labels count from the end.
    Returns: the losses [...], in the dtype of the scores; NaN for a label that is out of range.
    Raises:  ValueError for labels of another shape; TypeError for labels that are not integers.
    Source:  Martins & Astudillo 2016, From softmax to sparsemax, Eq. 11.
    Differs: as `multiclass_hinge_loss`; Optax takes scores of two dimensions only.
    When:    most classes should get no probability at all.
    """
    distances, _, dtype = _classes(scores, labels)
    rows = distances.reshape(math.prod(distances.shape[:-1]), distances.shape[-1])
    p = jax.vmap(projections.projection_simplex)(rows).reshape(distances.shape)
    # A class without probability may have the score -inf.
    inner = jnp.where(p > 0, p * (jnp.where(p > 0, distances, 0) - p / 2), 0)
    return (jnp.sum(inner, -1) + 0.5).astype(dtype)

"""Losses of binary predictions given as logits."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks, numerics
from ..types import Array
from .operands import floating, matched, parameter, weighted


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    out: Array = jnp.logaddexp(x, jnp.zeros((), x.dtype))
    return out


def _cross_entropy(x: Array, labels: Array) -> Array:
    # Each term keeps its digits where its probability is near 1.
    return weighted(labels, softplus(-x)) + weighted(1 - labels, softplus(x))


@checks.entrance("sigmoid_binary_cross_entropy")
def sigmoid_binary_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Cross entropy between the sigmoid of each logit and a label in [0, 1].

        loss = -labels log(p) - (1 - labels) log(1 - p),   p = sigmoid(logits)

    Args:
      logits: log odds, floating.
      labels: probabilities, or 0 and 1: an array of the shape of the logits, or a number.
    Returns: the losses, of the shape and dtype of the logits.
    Raises:  ValueError for operands of different shapes; TypeError for logits that are not floating.
    """
    (x, y), _ = matched(scalars=True, logits=logits, labels=labels)
    return _cross_entropy(x, y).astype(floating("logits", logits).dtype)


@checks.entrance("sigmoid_focal_loss")
def sigmoid_focal_loss(
    logits: ArrayLike, labels: ArrayLike, *, alpha: ArrayLike | None = None, gamma: ArrayLike = 2.0
) -> Array:
    """`sigmoid_binary_cross_entropy` with less weight on examples that are already right.

        loss = w (1 - p_t)^gamma cross entropy
        p_t  = labels p + (1 - labels) (1 - p),   w = labels alpha + (1 - labels) (1 - alpha)

    Args:
      logits: log odds, floating.
      labels: 0 and 1, or probabilities: an array of the shape of the logits, or a number.
      alpha: weight of the positive class, in [0, 1]: a number, or an array that broadcasts to the logits. None is
        w = 1. Usually 0.25.
      gamma: how strongly right examples are discounted, >= 0; 0 is the cross entropy. Usually 2.
    Returns: the losses, of the shape and dtype of the logits.
    Raises:  ValueError for operands of different shapes, for alpha or gamma out of range.
    Source:  Lin et al. 2017, Focal loss, Eqs. 4 and 5.
    Differs: the derivative is finite where 1 - p_t is 0 and gamma < 1.
    When:    one class is rare, as in object detection.
    """
    (x, y), _ = matched(scalars=True, logits=logits, labels=labels)
    missed = y * jax.nn.sigmoid(-x) + (1 - y) * jax.nn.sigmoid(x)
    loss = _cross_entropy(x, y)
    # Where `missed` is 0 the cross entropy is 0 too, so that gamma = 0 needs no case of its own.
    loss *= numerics.power(missed, parameter("gamma", gamma, checks.NON_NEGATIVE, x, "logits"))
    if alpha is not None:
        share = parameter("alpha", alpha, checks.CLOSED_UNIT, x, "logits")
        loss *= y * share + (1 - y) * (1 - share)
    return loss.astype(floating("logits", logits).dtype)

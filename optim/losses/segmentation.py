"""Dice losses: overlap of predicted and true regions."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks, numerics
from ..types import Array, DType, Scalar
from .operands import Axes, axes, floating, matched, parameter, real


def _dice(p: Array, t: Array, over: tuple[int, ...], smooth: Scalar, alpha: Scalar, beta: Scalar) -> Array:
    """1 - (I + smooth) / (I + alpha FP + beta FN + smooth), and 0 where the denominator is 0."""
    hits, extra, missed = (jnp.sum(x, over) for x in (p * t, p * (1 - t), (1 - p) * t))
    wrong = alpha * extra + beta * missed
    whole = hits + wrong + smooth
    return jnp.where(whole == 0, 0, wrong / jnp.where(whole == 0, 1, whole))


@checks.entrance("dice_loss")
def dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    smooth: Scalar = 1.0,
    alpha: Scalar = 0.5,
    beta: Scalar = 0.5,
    apply_softmax: bool = True,
    reduction: Literal["mean", "sum", "none"] = "mean",
    ignore_background: bool = False,
    axis: Axes = None,
) -> Array:
    """Dice loss of every class, or the Tversky loss for other alpha and beta than 1/2.

        loss_c = w_c (1 - (I + smooth) / (I + alpha FP + beta FN + smooth))
        I = sum(p t),   FP = sum(p (1 - t)),   FN = sum((1 - p) t)

    Args:
      predictions: logits [batch, ..., classes], floating.
      targets: one-hot classes or probabilities, of the shape of the predictions.
      class_weights: w, [classes]; None is 1.
      smooth: >= 0, in units of pixels. Usually 1.
      alpha, beta: weights of false positives and of false negatives, >= 0.
      apply_softmax: whether predictions are logits, of which the softmax is taken (the sigmoid, for a single class).
      reduction: over the classes: mean, sum, or none for the losses of all classes.
      ignore_background: whether to leave out the first class, if there are several.
      axis: the dimensions of I, FP and FN; None is all but the first and the last.
    Returns: the losses, without the dimensions of `axis`.
    Raises:  ValueError for operands of different shapes, for a number out of range, for weights or an axis that do
      not fit.
    Source:  Milletari et al. 2016, V-Net; Salehi et al. 2017, Eq. 4 (Tversky).
    Differs: with smooth = 0 a class that is neither predicted nor true has the loss 0.
    """
    (p, t), dtype = _segments(predictions, targets)
    if reduction not in ("mean", "sum", "none"):
        checks.fail(f"reduction must be 'mean', 'sum' or 'none', got {checks.shown(reduction)}")
    for name, value in (("smooth", smooth), ("alpha", alpha), ("beta", beta)):
        checks.argument(name, value, checks.NON_NEGATIVE)
    classes = p.shape[-1]
    over = tuple(range(1, p.ndim - 1)) if axis is None else axes(axis, p.shape, "predictions")
    by_class = p.ndim - 1 not in over
    if not by_class and (reduction != "none" or class_weights is not None or ignore_background):
        checks.fail("axis may have the last dimension, the classes, only with reduction='none' and nothing by class")
    p = _probabilities(p) if apply_softmax else p
    losses = _dice(p, t, over, *(numerics.like(p, x) for x in (smooth, alpha, beta)))
    if class_weights is not None:
        weights = real("class_weights", class_weights)
        if weights.shape != (classes,):
            checks.fail(f"class_weights must have shape {(classes,)}, one for each class, got {weights.shape}")
        losses *= parameter("class_weights", weights, checks.NON_NEGATIVE, losses, "the losses")
    if ignore_background and classes > 1:
        losses = losses[..., 1:]
    if reduction != "none":
        losses = jnp.mean(losses, -1) if reduction == "mean" else jnp.sum(losses, -1)
    return losses.astype(dtype)


def _segments(predictions: ArrayLike, targets: ArrayLike) -> tuple[list[Array], DType]:
    """Both arrays; the dimension of a single class may be missing in one of them."""
    p, t = floating("predictions", predictions), real("targets", targets)
    if t.shape == (*p.shape, 1):
        p = p[..., None]
    elif p.shape == (*t.shape, 1):
        t = t[..., None]
    arrays, dtype = matched(predictions=p, targets=t)
    if not arrays[0].ndim:
        checks.fail("predictions must have shape [batch, ..., classes], got ()")
    return arrays, dtype


def _probabilities(logits: Array) -> Array:
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits)


@checks.entrance("binary_dice_loss")
def binary_dice_loss(
    predictions: ArrayLike, targets: ArrayLike, *, smooth: Scalar = 1.0, apply_sigmoid: bool = True
) -> Array:
    """Dice loss of one region for each example.

        loss = 1 - (2 sum(p t) + 2 smooth) / (sum(p) + sum(t) + 2 smooth)

    Args:
      predictions: logits [batch, ...], floating.
      targets: 0 and 1, or probabilities, of the shape of the predictions.
      smooth: >= 0, in units of pixels. Usually 1.
      apply_sigmoid: whether predictions are logits, of which the sigmoid is taken.
    Returns: the losses [batch].
    Raises:  ValueError for operands of different shapes or smooth < 0.
    Source:  Milletari et al. 2016, V-Net.
    Differs: Optax refuses predictions that are probabilities (apply_sigmoid=False).
    """
    (p, t), dtype = _segments(predictions, targets)
    checks.argument("smooth", smooth, checks.NON_NEGATIVE)
    p = jax.nn.sigmoid(p) if apply_sigmoid else p
    return _dice(p, t, tuple(range(1, p.ndim)), numerics.like(p, smooth), 0.5, 0.5).astype(dtype)


@checks.entrance("multiclass_generalized_dice_loss")
def multiclass_generalized_dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    smooth: Scalar = 1.0,
    apply_softmax: bool = True,
    ignore_background: bool = False,
) -> Array:
    """Dice losses of all classes, weighted by the inverse square of the size of a class in the batch.

        loss = mean over the batch of sum_c w_c dice_c,   w_c = v_c^-2 / sum_k v_k^-2,   v = sum of the targets

    Args:
      predictions: logits [batch, ..., classes], floating.
      targets: one-hot classes or probabilities, of the shape of the predictions.
      smooth: as in `dice_loss`.
      apply_softmax: whether predictions are logits, of which the softmax is taken.
      ignore_background: whether to leave out the first class, if there are several.
    Returns: the loss, a scalar.
    Raises:  ValueError for operands of different shapes or smooth < 0.
    Source:  Sudre et al. 2017, Generalised Dice, Sec. 2.1.
    Differs: a class that is not in the batch has the weight of the smallest that is; in Optax it has all the weight.
      Without the background Optax does not normalise the weights of the others.
    When:    regions are of very different sizes.
    """
    (p, t), dtype = _segments(predictions, targets)
    losses = dice_loss(
        p, t, smooth=smooth, apply_softmax=apply_softmax, reduction="none", ignore_background=ignore_background
    )
    volumes = jnp.sum(t, tuple(range(p.ndim - 1)))[-losses.shape[-1] :]
    present = volumes > 0
    least = jnp.min(volumes, where=present, initial=jnp.inf)
    weights = jnp.where(present, (least / jnp.where(present, volumes, least)) ** 2, 1)
    # Without any class present `least` is infinite, and the weights are equal.
    weights = jnp.where(jnp.any(present), weights, 1)
    return jnp.mean(jnp.sum(losses * (weights / jnp.sum(weights)), -1)).astype(dtype)

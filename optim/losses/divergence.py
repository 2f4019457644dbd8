"""Divergences between distributions, the predicted one given by its logarithm."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks
from ..types import Array, DType
from .operands import Axes, axes, mask, matched


def _terms(targets: Array, log_targets: Array, log_predictions: Array) -> Array:
    """targets (log_targets - log_predictions), and 0 where the target is 0."""
    unused = targets == 0
    top = jnp.where(unused & jnp.isinf(log_targets), 0, log_targets)
    return targets * (top - jnp.where(unused & jnp.isinf(log_predictions), 0, log_predictions))


def _log(targets: Array) -> Array:
    """log(targets), and 0 at 0, where its derivative is 0."""
    return jnp.log(jnp.where(targets == 0, 1, targets))


def _operands(axis: Axes, where: ArrayLike | None, **named: Any) -> tuple[Array, Array, tuple[int, ...], DType]:
    """Both arrays, in which elements that are masked out are those of log(1) and 1, or of log(1) twice."""
    (p, t), dtype = matched(**named)
    used = mask(where, p.shape, "log_predictions")
    if used is not None:
        one = 0 if "log_targets" in named else 1
        p, t = jnp.where(used, p, 0), jnp.where(used, t, one)
    return p, t, axes(axis, p.shape, "log_predictions"), dtype


@checks.entrance("kl_divergence")
def kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axes = -1, where: ArrayLike | None = None
) -> Array:
    """Kullback-Leibler divergence of the predictions from the targets.

        loss = sum_k targets_k (log(targets_k) - log_predictions_k)

    Args:
      log_predictions: logarithms of probabilities, floating: a log softmax, say.
      targets: probabilities, of the shape of log_predictions.
      axis: the dimension of the distributions, several, or None for all.
      where: True for the elements that count, a boolean array that broadcasts to log_predictions; None is all.
    Returns: the divergences, without the dimensions of `axis`. A target 0 contributes 0, whatever its prediction.
    Raises:  ValueError for operands of different shapes, for an axis or a mask that does not fit.
    Source:  Kullback & Leibler 1951.
    Differs: Optax returns NaN where target and prediction are 0.
    """
    p, t, over, dtype = _operands(axis, where, log_predictions=log_predictions, targets=targets)
    return jnp.sum(_terms(t, _log(t), p), over).astype(dtype)


@checks.entrance("kl_divergence_with_log_targets")
def kl_divergence_with_log_targets(
    log_predictions: ArrayLike, log_targets: ArrayLike, axis: Axes = -1, where: ArrayLike | None = None
) -> Array:
    """`kl_divergence` with the logarithms of the targets.

        loss = sum_k exp(log_targets_k) (log_targets_k - log_predictions_k)

    Args:
      log_predictions: logarithms of probabilities, floating.
      log_targets: logarithms of probabilities, of the shape of log_predictions; may be -inf.
      axis: the dimension of the distributions, several, or None for all.
      where: True for the elements that count, a boolean array that broadcasts to log_predictions; None is all.
    Returns: the divergences, without the dimensions of `axis`.
    Raises:  ValueError for operands of different shapes, for an axis or a mask that does not fit.
    Differs: Optax returns NaN for a log target of -inf.
    """
    p, t, over, dtype = _operands(axis, where, log_predictions=log_predictions, log_targets=log_targets)
    return jnp.sum(_terms(jnp.exp(t), t, p), over).astype(dtype)


@checks.entrance("generalized_kl_divergence")
def generalized_kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axes = -1, where: ArrayLike | None = None
) -> Array:
    """`kl_divergence` for measures: jointly convex, and at least 0 where the sums are not 1.

        loss = sum_k targets_k (log(targets_k) - log_predictions_k) + exp(log_predictions_k) - targets_k

    Args:
      log_predictions: logarithms of non-negative numbers, floating.
      targets: non-negative numbers, of the shape of log_predictions.
      axis: the dimension of the measures, several, or None for all.
      where: True for the elements that count, a boolean array that broadcasts to log_predictions; None is all.
    Returns: the divergences, without the dimensions of `axis`.
    Raises:  ValueError for operands of different shapes, for an axis or a mask that does not fit.
    Differs: Optax returns NaN where target and prediction are 0.
    """
    p, t, over, dtype = _operands(axis, where, log_predictions=log_predictions, targets=targets)
    return jnp.sum(_terms(t, _log(t), p) + (jnp.exp(p) - t), over).astype(dtype)


@checks.entrance("convex_kl_divergence")
def convex_kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axes = -1, where: ArrayLike | None = None
) -> Array:
    """`generalized_kl_divergence` under its older name.

    Args:
      log_predictions, targets, axis, where: as there.
    Returns: the divergences, without the dimensions of `axis`.
    Raises:  ValueError for operands of different shapes, for an axis or a mask that does not fit.
    """
    return generalized_kl_divergence(log_predictions, targets, axis, where)

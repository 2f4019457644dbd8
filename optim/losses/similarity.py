"""Cosine similarity, and losses of embeddings."""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import checks, numerics
from ..types import Array, Scalar
from .operands import Axes, axes, floating, integers, mask, matched, real, widened
from .sigmoid import softplus
from .softmax import softmax


def _scale(x: Array, over: tuple[int, ...], least: float = 0.0) -> Array:
    """A factor by which x can be divided before it is squared: its largest magnitude, 1 for zero vectors."""
    top = lax.stop_gradient(jnp.max(jnp.abs(x), over, keepdims=True, initial=least))
    return jnp.where(top > 0, top, 1)


def _unit(x: Array, over: tuple[int, ...], epsilon: Scalar = 0.0) -> Array:
    """x / sqrt(max(|x|^2, epsilon)), and 0 for a zero vector."""
    top = _scale(x, over)
    y = x / top
    norm = numerics.root(jnp.sum(y**2, over, keepdims=True))
    floor = numerics.root(jnp.asarray(epsilon, x.dtype))
    return numerics.ratio(y, jnp.maximum(norm, floor / top))


@checks.entrance("cosine_similarity")
def cosine_similarity(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: Scalar = 0.0,
    axis: Axes = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Cosine of the angle between predictions and targets.

        similarity = <p, t> / (|p| |t|),   |x| = sqrt(max(sum(x^2), epsilon))

    Args:
      predictions: vectors, floating.
      targets: vectors, of the shape of the predictions.
      epsilon: the least squared norm, >= 0. Usually 0.
      axis: the dimension of the vectors, several, or None for all.
      where: True for the elements that count, a boolean array that broadcasts to the predictions; None is all.
    Returns: the similarities in [-1, 1], without the dimensions of `axis`; 0 where a vector is zero.
    Raises:  ValueError for operands of different shapes, for an axis, a mask or an epsilon that does not fit.
    Differs: Optax returns NaN for a zero vector, or its derivative is NaN.
    """
    (p, t), dtype = matched(predictions=predictions, targets=targets)
    over = axes(axis, p.shape, "predictions")
    used = mask(where, p.shape, "predictions")
    if used is not None:
        p, t = jnp.where(used, p, 0), jnp.where(used, t, 0)
    checks.argument("epsilon", epsilon, checks.NON_NEGATIVE)
    return jnp.sum(_unit(p, over, epsilon) * _unit(t, over, epsilon), over).astype(dtype)


@checks.entrance("cosine_distance")
def cosine_distance(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: Scalar = 0.0,
    axis: Axes = -1,
    where: ArrayLike | None = None,
) -> Array:
    """1 - `cosine_similarity`.

    Args:
      predictions: vectors, floating.
      targets: vectors, of the shape of the predictions.
      epsilon: the least squared norm, >= 0. Usually 0.
      axis: the dimension of the vectors, several, or None for all.
      where: True for the elements that count, a boolean array that broadcasts to the predictions; None is all.
    Returns: the distances in [0, 2], without the dimensions of `axis`; 1 where a vector is zero.
    Raises:  ValueError for operands of different shapes; TypeError for predictions that are not floating.
    Differs: as `cosine_similarity` from that of Optax.
    """
    _, dtype = matched(predictions=predictions, targets=targets)
    p, t = widened(floating("predictions", predictions), real("targets", targets))
    return (1 - cosine_similarity(p, t, epsilon=epsilon, axis=axis, where=where)).astype(dtype)


@checks.entrance("ntxent")
def ntxent(embeddings: ArrayLike, labels: ArrayLike, temperature: Scalar = 0.07) -> Array:
    """Normalised temperature-scaled cross entropy: pull examples of one label together, push all others away.

        loss   = mean over pairs i != j of one label: -log(exp(s_ij) / (exp(s_ij) + sum_k exp(s_ik)))
        s_ij   = <e_i, e_j> / (|e_i| |e_j| temperature),   k: the examples of other labels than i

    Args:
      embeddings: [examples, features], floating.
      labels: integers [examples]: which examples belong together.
      temperature: > 0. Usually 0.05 to 0.5.
    Returns: the loss, a scalar in the dtype of the embeddings; 0 where no two examples have the same label.
    Raises:  ValueError for other shapes or temperature <= 0; TypeError for labels that are not integers.
    Source:  Chen et al. 2020, SimCLR, Eq. 1, with other positives left out of the sum.
    Differs: without pairs Optax returns NaN; labels must be integers.
    When:    representations are learned from augmented views.
    """
    e = floating("embeddings", embeddings)
    if e.ndim != 2:
        checks.fail(f"embeddings must have shape [examples, features], got {e.shape}")
    y = integers("labels", labels, e.shape[:1])
    checks.argument("temperature", temperature, checks.POSITIVE)
    (wide,) = widened(e)
    unit = _unit(wide, (1,))
    s = jnp.matmul(unit, unit.T, precision=lax.Precision.HIGHEST) / numerics.like(unit, temperature)
    same = y[:, None] == y
    pairs = same & ~jnp.eye(len(y), dtype=bool)
    others = softmax(s, ~same, (1,))
    # log(exp(s) + sum) - s = softplus(log(sum) - s), and 0 without examples of other labels.
    exceeds = jnp.where(jnp.any(~same, 1, keepdims=True), others.top + others.log_mass - s, -jnp.inf)
    losses = jnp.where(pairs, softplus(jnp.where(pairs, exceeds, 0)), 0)
    return (jnp.sum(losses) / jnp.maximum(jnp.sum(pairs), 1).astype(s.dtype)).astype(e.dtype)


@checks.entrance("triplet_margin_loss")
def triplet_margin_loss(
    anchors: ArrayLike,
    positives: ArrayLike,
    negatives: ArrayLike,
    axis: Axes = -1,
    norm_degree: Scalar = 2,
    margin: Scalar = 1.0,
    eps: Scalar = 1e-6,
) -> Array:
    """By how much an anchor is not nearer to its positive than to its negative by a margin.

        loss = max(d(anchors, positives) - d(anchors, negatives) + margin, 0)
        d(a, b) = (sum(|a - b|^norm_degree) + eps)^(1 / norm_degree)

    Args:
      anchors: vectors, floating.
      positives, negatives: vectors, of the shape of the anchors.
      axis: the dimension of the vectors, several, or None for all.
      norm_degree: degree of the norm, finite and >= 1. Usually 2.
      margin: >= 0. Usually 0.2 to 1.
      eps: >= 0. Usually 1e-6.
    Returns: the losses, without the dimensions of `axis`.
    Raises:  ValueError for operands of different shapes, for a number out of range.
    Source:  Schroff et al. 2015, FaceNet, Eq. 2.
    Differs: Optax leaves out the absolute value, so that an odd norm_degree gives no distance, often NaN.
    """
    (a, p, n), dtype = matched(anchors=anchors, positives=positives, negatives=negatives)
    over = axes(axis, a.shape, "anchors")
    checks.argument("norm_degree", norm_degree, checks.Range(1))
    checks.argument("margin", margin, checks.NON_NEGATIVE)
    checks.argument("eps", eps, checks.NON_NEGATIVE)
    near, far = (_distance(a - b, over, numerics.like(a, norm_degree), eps) for b in (p, n))
    return jnp.maximum(near - far + numerics.like(a, margin), 0).astype(dtype)


def _distance(x: Array, over: tuple[int, ...], degree: Scalar, eps: Scalar) -> Array:
    """(sum(|x|^degree) + eps)^(1 / degree) without overflow of the powers; its derivative at zero is zero."""
    top = _scale(x, over, 1.0)
    euclidean = isinstance(degree, float) and degree == 2
    parts = numerics.square(x / top) if euclidean else numerics.power(jnp.abs(x / top), degree)
    total = jnp.sum(parts, over, keepdims=True) + numerics.like(x, eps) / top**degree
    size = numerics.root_of_square(total) if euclidean else numerics.power(total, 1 / degree)
    return jnp.squeeze(top * size, over)

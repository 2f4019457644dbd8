"""Losses of ranked lists."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks
from ..types import Array
from .operands import array, floating, mask, matched, parameter, real
from .softmax import cross_entropy


@checks.entrance("ranking_softmax_loss")
def ranking_softmax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduce_fn: Callable[..., Array] | None = jnp.mean,
) -> Array:
    """Softmax cross entropy of lists, in which labels are relevances and need not sum to 1.

        loss = -sum_i weights_i labels_i log softmax(logits)_i

    Args:
      logits: scores [..., list size], floating.
      labels: relevances, of the shape of the logits.
      where: True for the items that exist, a boolean array that broadcasts to the logits; None is all.
      weights: >= 0, a number or an array that broadcasts to the logits; None is 1.
      reduce_fn: reduces the losses of the lists, with an argument `where` for the lists that have items if `where` is
        given; None returns the losses [...].
    Returns: the reduced loss, or the losses, in the dtype of the logits; 0 where no list has an item.
    Raises:  ValueError for operands of different shapes, for a mask or weights that do not fit.
    Source:  Cao et al. 2007, Learning to rank: from pairwise to listwise, top-one probabilities.
    Differs: if all lists are empty its mean is NaN.
    """
    z = floating("logits", logits)
    if not z.ndim:
        checks.fail("logits must have shape [..., list size], got ()")
    if reduce_fn is not None:
        checks.function("reduce_fn", reduce_fn, "a function of the losses")
    (_, relevances), _ = matched(logits=logits, labels=labels)
    if weights is not None:
        given = real("weights", weights)
        relevances *= parameter("weights", given, checks.NON_NEGATIVE, relevances, "logits")
    exists = mask(where, z.shape, "logits")
    losses = cross_entropy(z, exists, relevances, (z.ndim - 1,))
    if reduce_fn is None:
        return losses.astype(z.dtype)
    keywords: dict[str, Any] = {}
    if exists is not None:
        filled = jnp.any(exists, -1)
        keywords["where"] = filled | ~jnp.any(filled)  # the mean of nothing would be NaN, that of zeros is not
    return array("the result of reduce_fn", reduce_fn(losses, **keywords)).astype(z.dtype)

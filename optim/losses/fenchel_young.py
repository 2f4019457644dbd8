"""Fenchel-Young losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import checks
from ..types import Array
from .operands import matched


def make_fenchel_young_loss(max_fun: Callable[..., Array]) -> Callable[..., Array]:
    """Make the loss that a regularised maximum generates.

        loss(scores, targets) = max_fun(scores) - <scores, targets>

    With `jax.nn.logsumexp` it is `softmax_cross_entropy`. Its gradient is that of max_fun minus the targets.

    Args:
      max_fun: a convex function scores [n] -> scalar. Further arguments of the loss are passed to it.
    Returns: loss(scores, targets, *args, **kwargs) of arrays [..., n], which returns [...].
    Raises:  TypeError if max_fun is not a function; from the loss, ValueError if max_fun does not return scalars.
    Source:  Blondel et al. 2020, Learning with Fenchel-Young losses, Def. 2.
    Differs: Optax refuses further positional arguments.
    """
    with checks.naming("make_fenchel_young_loss"):
        checks.function("max_fun", max_fun, "a function of scores")

    @checks.entrance("fenchel_young_loss")
    def fenchel_young_loss(scores: ArrayLike, targets: ArrayLike, *args: Any, **kwargs: Any) -> Array:
        (s, t), dtype = matched(scores=scores, targets=targets)
        if not s.ndim:
            checks.fail("scores must have shape [..., n], got ()")
        maximum: Callable[..., Any] = lambda row: max_fun(row, *args, **kwargs)  # noqa: E731
        for _ in range(s.ndim - 1):
            maximum = jax.vmap(maximum)
        best = jnp.asarray(maximum(s))
        if best.shape != s.shape[:-1]:
            checks.fail(
                f"max_fun must return a scalar for scores of shape {s.shape[-1:]}, got {best.shape[s.ndim - 1 :]}"
            )
        return (best.astype(s.dtype) - jnp.sum(s * t, -1)).astype(dtype)

    return fenchel_young_loss

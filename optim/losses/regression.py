"""Losses of real predictions, element by element."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .. import checks
from ..types import Array, DType
from .operands import matched, parameter


def _errors(predictions: ArrayLike, targets: ArrayLike | None) -> tuple[Array, DType]:
    """predictions - targets in at least float32, and the dtype of the result."""
    if targets is None:
        (p,), dtype = matched(predictions=predictions)
        return p, dtype
    (p, t), dtype = matched(scalars=True, predictions=predictions, targets=targets)
    return p - t, dtype


@checks.entrance("squared_error")
def squared_error(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """Squared error of each prediction.

        loss = (predictions - targets)^2

    Args:
      predictions: floating.
      targets: an array of the shape of the predictions, or a number; None is 0.
    Returns: the losses, of the shape of the predictions.
    Raises:  ValueError for operands of different shapes; TypeError for predictions that are not floating.
    """
    e, dtype = _errors(predictions, targets)
    return (e * e).astype(dtype)


@checks.entrance("l2_loss")
def l2_loss(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """Half the squared error of each prediction, whose derivative is the error.

        loss = (predictions - targets)^2 / 2

    Args:
      predictions, targets: as in `squared_error`.
    Returns: the losses, of the shape of the predictions.
    Raises:  as `squared_error`.
    """
    e, dtype = _errors(predictions, targets)
    return (0.5 * e * e).astype(dtype)


@checks.entrance("huber_loss")
def huber_loss(predictions: ArrayLike, targets: ArrayLike | None = None, *, delta: ArrayLike = 1.0) -> Array:
    """Half the squared error, continued linearly where the error exceeds delta.

        loss = e^2 / 2 if |e| <= delta, else delta (|e| - delta / 2),   e = predictions - targets

    Args:
      predictions: floating.
      targets: an array of the shape of the predictions, or a number; None is 0.
      delta: the error from which on the loss is linear, > 0: a number, or an array that broadcasts to the predictions.
    Returns: the losses, of the shape of the predictions.
    Raises:  ValueError for operands of different shapes or delta <= 0; TypeError for predictions that are not
      floating.
    Source:  Huber 1964.
    Differs: Optax returns losses below zero for a delta below zero.
    When:    some targets are far off.
    """
    e, dtype = _errors(predictions, targets)
    bound = parameter("delta", delta, checks.POSITIVE, e, "predictions")
    near = jnp.clip(e, -bound, bound)
    return (near * (e - 0.5 * near)).astype(dtype)


@jax.custom_jvp
def _log_cosh(e: Array) -> Array:
    small = jnp.log1p(2 * jnp.sinh(jnp.clip(e, -1, 1) / 2) ** 2)
    size = jnp.abs(e)
    return jnp.where(size < 1, small, size + jnp.log1p(jnp.exp(-2 * size)) - np.log(2).astype(e.dtype))


@_log_cosh.defjvp
def _log_cosh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (e,), (de,) = primals, tangents
    return _log_cosh(e), jnp.tanh(e) * de


@checks.entrance("log_cosh")
def log_cosh(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """Logarithm of the hyperbolic cosine of each error: e^2 / 2 for small errors, |e| - log 2 for large ones.

        loss = log(cosh(predictions - targets))

    Args:
      predictions: floating.
      targets: an array of the shape of the predictions, or a number; None is 0.
    Returns: the losses, of the shape of the predictions.
    Raises:  ValueError for operands of different shapes; TypeError for predictions that are not floating.
    Source:  Chen et al. 2019, Log hyperbolic cosine loss.
    Differs: Optax loses the digits of losses below 1e-7.
    """
    e, dtype = _errors(predictions, targets)
    return _log_cosh(e).astype(dtype)

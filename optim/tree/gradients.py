"""Gradients on their way back through a tree."""

from typing import Any, TypeVar

import jax
from jax import lax

from .. import checks, numerics
from ..types import Scalar
from .places import as_array, map, trainable

T = TypeVar("T")


@checks.entrance("scale_gradient")
def scale_gradient(inputs: T, scale: Scalar) -> T:
    """Return the inputs unchanged; derivatives through them are multiplied by a number.

        y = inputs;   dy = scale dinputs

        loss = f(scale_gradient(features, 0.1))  # one tenth of the gradient reaches the features

    Args:
      inputs: a tree of arrays.
      scale: the factor: 0 stops the gradient, a negative one reverses it. The result does not depend on it.
    Differs: forward mode works too; in Optax only reverse mode does.
    """
    checks.argument("scale", scale, checks.REAL)
    if checks.is_number(scale) and scale == 0:
        stopped: T = map(lax.stop_gradient, inputs)  # 0 times an infinite derivative would be NaN
        return stopped
    scaled: T = map(lambda x: _scaled(as_array(x), scale) if trainable(x) else x, inputs)
    return scaled


@jax.custom_jvp
def _scaled(x: Any, scale: Any) -> Any:
    del scale
    return x


@_scaled.defjvp
def _scaled_jvp(primals: Any, tangents: Any) -> Any:
    (x, scale), (dx, _) = primals, tangents
    return x, numerics.scaled(dx, scale)

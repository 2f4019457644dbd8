"""Adamax: Adam with the infinity norm."""

from typing import Any

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import debias, decayed, ema, like, ratio
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, MaskOrFn, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState

_MAXIMUM = {"precision": "the decaying maximum is a product that is rounded at every update"}


@register(example(), example(b1=0.8, b2=0.9, eps=1e-3), example(eps=0.0), exceptions=_MAXIMUM)
def scale_by_adamax(b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient by the decaying maximum of gradients.

        mu <- b1 mu + (1 - b1) g
        nu <- max(b2 nu, |g| + eps)
        u   = mu / (1 - b1^t) / nu

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps: added inside the maximum, in units of g, >= 0. Usually 1e-8.
    State:   count; mu, nu shaped like params: 8 bytes per float32 parameter.
    Source:  Kingma & Ba 2015, Alg. 2, with an eps inside the maximum.
    Differs: if nu is 0, which is possible with eps = 0, the update is 0; in Optax it is NaN.
    """

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu = ema(mu, g, b1)
        nu = jnp.maximum(decayed(nu, b2), jnp.abs(g) + like(nu, eps))
        return ratio(debias(mu, b1, t), nu), (mu, nu)

    return elementwise(rule, ScaleByAdamState, mu=Slot(decay=b1), nu=Slot(real=True, non_negative=True))


@register(example(), example(b1=0.8, b2=0.9, eps=1e-3), exceptions=_MAXIMUM)
def scale_by_adamax_eps_hat(
    b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-7
) -> GradientTransformationExtraArgs:
    """Adamax with eps outside the maximum.

        mu <- b1 mu + (1 - b1) g
        nu <- max(b2 nu, |g|)
        u   = mu / (1 - b1^t) / (nu + eps)

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps: added outside the maximum, in units of g, >= 0. Usually 1e-7.
    State:   `ScaleByAdamState`: 8 bytes per float32 parameter.
    Source:  Kingma & Ba 2015, Alg. 2, with Keras' eps.
    """

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu = ema(mu, g, b1)
        nu = jnp.maximum(decayed(nu, b2), jnp.abs(g))
        return ratio(debias(mu, b1, t), nu + like(nu, eps)), (mu, nu)

    return elementwise(
        rule, ScaleByAdamState, mu=Slot(decay=b1, always_stored=True), nu=Slot(real=True, non_negative=True)
    )


@register(example(0.1), usual={"learning_rate": 0.002})
def adamax(
    learning_rate: ScalarOrSchedule, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> GradientTransformationExtraArgs:
    """Adamax: `scale_by_adamax`, then `scale_by_learning_rate`.

    When:    embeddings and other parameters with sparse gradients; a usual learning rate is 2e-3.
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), usual={"learning_rate": 0.002})
def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Adamax with decoupled weight decay: `scale_by_adamax`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    embeddings and other sparse parameters that need weight decay; a usual learning rate is 2e-3.
    """
    return chain(
        scale_by_adamax(b1, b2, eps),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

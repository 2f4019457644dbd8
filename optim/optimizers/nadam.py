"""Nadam with Dozat's momentum schedule."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, elementwise
from ..numerics import abs_sq, debias, ema, like, root_ratio
from ..types import Array, Count, Scalar, Updates


class ScaleByNadamState(NamedTuple):
    count: Count
    momentum_product: Array
    mu: Updates
    nu: Updates


@register(
    example(),
    example(b1=0.8, b2=0.99, eps=1e-3, schedule_decay=0.01),
    ranges={"schedule_decay": checks.NON_NEGATIVE},
)
def scale_by_nadam(
    b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-7, schedule_decay: Scalar = 0.004
) -> GradientTransformationExtraArgs:
    """Adam with Nesterov momentum, along Dozat's schedule of rising momentum.

        m_k = b1 (1 - 0.96^(k schedule_decay) / 2)      P <- P m_t,  P = 1 at first
        mu <- b1 mu + (1 - b1) g                        nu <- b2 nu + (1 - b2) |g|^2
        top = (1 - m_t) g / (1 - P) + m_(t+1) mu / (1 - P m_(t+1))
        u   = top / (sqrt(nu / (1 - b2^t)) + eps)

    Args:
      b1: decay of mu, and the limit of the momentum m_k, in [0, 1). Usually 0.9.
      b2: decay of nu, in [0, 1). Usually 0.999.
      eps: added to the root, in units of g, >= 0. Usually 1e-7.
      schedule_decay: speed at which m_k rises from about b1 / 2 to b1, >= 0. Usually 0.004.
    State:   count; momentum_product (P); mu, nu shaped like params: 8 bytes per float32 parameter.
    Source:  Dozat 2016, Alg. 8 with Sec. 3.6's schedule; Keras' and PyTorch's form.
    """

    def scalars(t: Count, momentum_product: Array) -> dict[str, Array]:
        time = t.astype(momentum_product.dtype)
        decay, limit = like(time, schedule_decay), like(time, b1)
        momentum, next_momentum = (limit * (1 - 0.5 * jnp.exp(jnp.log(0.96) * k * decay)) for k in (time, time + 1))
        product = momentum_product * momentum
        return {
            "momentum_product": product,
            "of_g": (1 - momentum) / (1 - product),
            "of_mu": next_momentum / (1 - product * next_momentum),
        }

    def rule(g: Array, mu: Array, nu: Array, t: Count, of_g: Array, of_mu: Array) -> Any:
        mu = ema(mu, g, b1)
        nu = ema(nu, abs_sq(g), b2)
        top = like(g, of_g) * g + like(g, of_mu) * mu
        return root_ratio(top, debias(nu, b2, t), eps), (mu, nu)

    return elementwise(
        rule,
        ScaleByNadamState,
        scalars=scalars,
        momentum_product=StateScalar(1.0),
        mu=Slot(decay=b1, always_stored=True),
        nu=Slot(real=True, non_negative=True),
    )

"""Yogi: Adam whose second moment changes by at most (1 - b2) |g|^2 in a step."""

from typing import Any

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, complement, debias, ema, root_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Count, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState


@register(
    example(),
    example(b1=0.8, b2=0.9, eps=1e-8, eps_root=1e-6, initial_accumulator_value=0.1),
    exceptions={"precision": "nu changes by additions and never decays, so rounding errors add up"},
)
def scale_by_yogi(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-3,
    eps_root: Scalar = 0.0,
    initial_accumulator_value: Scalar = 1e-6,
) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient by the root of a second moment that shrinks slowly.

        mu <- b1 mu + (1 - b1) g                            x^ = x / (1 - b^t)
        nu <- nu - (1 - b2) sign(nu - |g|^2) |g|^2
        u   = mu^ / (sqrt(nu^ + eps_root) + eps)

    Args:
      b1: decay of mu, in [0, 1). Usually 0.9.
      b2: nu changes by (1 - b2) |g|^2, in [0, 1). Usually 0.999.
      eps: added outside the root, in units of g, >= 0. Usually 1e-3.
      eps_root: added inside the root, in units of g^2, >= 0. Usually 0.
      initial_accumulator_value: initial mu and nu, >= 0. Usually 1e-6.
    State:   `ScaleByAdamState`: 8 bytes per float32 parameter.
    Source:  Zaheer et al. 2018, Alg. 2, with Adam's bias corrections.
    """

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu, square = ema(mu, g, b1), abs_sq(g)
        nu = nu - complement(nu, b2) * jnp.sign(nu - square) * square
        return root_ratio(debias(mu, b1, t), debias(nu, b2, t), eps, eps_root), (mu, nu)

    start = initial_accumulator_value
    return elementwise(
        rule, ScaleByAdamState, mu=Slot(init=start, decay=b1), nu=Slot(init=start, real=True, non_negative=True)
    )


@register(example(0.1), usual={"learning_rate": 0.01})
def yogi(
    learning_rate: ScalarOrSchedule, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-3
) -> GradientTransformationExtraArgs:
    """Yogi: `scale_by_yogi`, then `scale_by_learning_rate`.

    When:    sparse gradients, after which Adam's second moment shrinks too fast; a usual learning rate is 1e-2.
    """
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))

"""ACProp: divide each gradient by the centred second moment of the previous gradients."""

from typing import Any

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import bias_factor, ema, like, ratio, root, scalar_dtype
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, MaskOrFn, Scalar, ScalarOrSchedule
from .belief import ScaleByBeliefState, distance

_ASYNCHRONOUS = {
    "dtypes": "the update after a zero gradient, g / sqrt(eps_root / (1 - b2)), is 3e6 g by default: float16 overflows",
    "independent": "no other package has it",
}


@register(
    example(),
    example(b1=0.8, b2=0.99, eps=1e-3, eps_root=1e-6),
    example(eps=0.0, eps_root=0.0),
    exceptions=_ASYNCHRONOUS,
)
def scale_by_acprop(
    b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-16, eps_root: Scalar = 1e-16
) -> GradientTransformationExtraArgs:
    """Divide each update by the running deviation of the previous gradients from their running mean.

        u   = g / (sqrt(nu / (1 - b2^(t-1))) + eps),  on the first update  g / (1 + eps)
        mu <- b1 mu + (1 - b1) g
        nu <- b2 nu + (1 - b2) |g - mu|^2 + eps_root

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps: added outside the root, in units of g, >= 0. Usually 1e-16.
      eps_root: added to nu at every step, in units of g^2, >= 0. Usually 1e-16.
    State:   `ScaleByBeliefState`: 8 bytes per float32 parameter.
    Source:  Zhuang et al. 2021, Alg. 2, with the bias correction of its code.
    Differs: Optax 0.2.8 subtracts from g the mean before this update.
    """

    def scalars(t: Count) -> dict[str, Array]:
        first = t <= 1
        correction = bias_factor(b2, jnp.maximum(t, 2) - 1, scalar_dtype())
        return {
            "size": jnp.where(first, 0, 1 / root(correction)),
            "start": jnp.where(first, 1, jnp.zeros_like(correction)),
        }

    def rule(g: Array, mu: Array, nu: Array, size: Array, start: Array) -> Any:
        u = ratio(g, root(nu) * like(g, size) + like(g, start) + like(g, eps))
        mu = ema(mu, g, b1)
        return u, (mu, distance(nu, g - mu, b2, eps_root))

    return elementwise(
        rule, ScaleByBeliefState, scalars=scalars, mu=Slot(decay=b1), nu=Slot(real=True, non_negative=True)
    )


@register(
    example(0.1), example(0.1, weight_decay=0.1, mask=True), exceptions=_ASYNCHRONOUS, usual={"learning_rate": 0.001}
)
def acprop(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    eps_root: Scalar = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """ACProp: `scale_by_acprop`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    noisy gradients for which Adam or AdaBelief diverges; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_acprop(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

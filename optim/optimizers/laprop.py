"""LaProp: normalise the gradient first, then apply momentum."""

from typing import Any

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, debias, ema, root_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState


@register(
    example(),
    example(0.8, 0.99, 1e-3),
    exceptions={"precision": "it averages quotients larger than the update, so it rounds at their size"},
)
def scale_by_laprop(
    b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-15, mu_dtype: DType = None
) -> GradientTransformationExtraArgs:
    """Average gradients that have been divided by their running root mean square.

        nu <- b2 nu + (1 - b2) |g|^2                            x^ = x / (1 - b^t)
        mu <- b1 mu + (1 - b1) g / (sqrt(nu^) + eps)
        u   = mu^

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999; b1 may be larger than the root of b2.
      eps: added to the root, in units of g, >= 0. Usually 1e-15.
    State:   `ScaleByAdamState`: 8 bytes per float32 parameter.
    Source:  Ziyin et al. 2020, LaProp, Alg. 1.
    """

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        nu = ema(nu, abs_sq(g), b2)
        mu = ema(mu, root_ratio(g, debias(nu, b2, t), eps), b1)
        return debias(mu, b1, t), (mu, nu)

    return elementwise(rule, ScaleByAdamState, mu=Slot(dtype=mu_dtype, decay=b1), nu=Slot(real=True))


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), usual={"learning_rate": 0.0004})
def laprop(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-15,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """LaProp: `scale_by_laprop`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    in place of Adam where b2 is small or gradients are noisy; a usual learning rate is 4e-4.
    """
    return chain(
        scale_by_laprop(b1, b2, eps, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

"""QHAdam: Adam whose numerator and denominator are part running mean, part present gradient."""

from typing import Any

from ..checks import Range
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, complement, debias, ema, like, root_ratio, scaled
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState

_RANGES = {
    "nu1": Range(0, 1, means="weight of the running mean in the numerator"),
    "nu2": Range(0, 1, means="weight of the running mean in the denominator"),
}


@register(example(), example(0.8, 0.99, 0.5, 0.75, 1e-3), ranges=_RANGES)
def scale_by_qhadam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    nu1: Scalar = 0.7,
    nu2: Scalar = 1.0,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Mix the gradient into both of Adam's running means, for this update only.

        mu <- b1 mu + (1 - b1) g            x^ = x / (1 - b^t)
        nu <- b2 nu + (1 - b2) |g|^2
        u   = ((1 - nu1) g + nu1 mu^) / (sqrt((1 - nu2) |g|^2 + nu2 nu^) + eps)

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999, or 0.995 for b1.
      nu1, nu2: weights of mu^ and nu^, in [0, 1]; with 1 and 1 it is Adam. Usually 0.7 and 1.
      eps: added to the root, in units of g, >= 0. Usually 1e-8.
    State:   `ScaleByAdamState`: 8 bytes per float32 parameter.
    Source:  Ma & Yarats 2019, QHAdam.
    """

    def mixed(now: Array, mean: Array, share: Scalar) -> Array:
        return scaled(now, complement(now, share)) + scaled(mean, like(mean, share))

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu = ema(mu, g, b1)
        nu = ema(nu, abs_sq(g), b2)
        below = mixed(abs_sq(g), debias(nu, b2, t), nu2)
        return root_ratio(mixed(g, debias(mu, b1, t), nu1), below, eps), (mu, nu)

    return elementwise(rule, ScaleByAdamState, mu=Slot(dtype=mu_dtype, decay=b1), nu=Slot(real=True))


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), ranges=_RANGES, usual={"learning_rate": 0.001})
def qhadam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    nu1: Scalar = 0.7,
    nu2: Scalar = 1.0,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """QHAdam: `scale_by_qhadam`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    in place of Adam, with a larger b1; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_qhadam(b1, b2, nu1, nu2, eps, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

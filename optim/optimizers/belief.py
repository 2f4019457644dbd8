"""AdaBelief: divide by the running deviation of gradients from their running mean."""

from typing import Any, NamedTuple

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, complement, debias, ema, like, nesterov_mean, root_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Count, Scalar, ScalarOrSchedule, Updates


class ScaleByBeliefState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates


def distance(nu: Array, deviation: Array, b2: Scalar, eps_root: Scalar) -> Array:
    """b2 nu + (1 - b2) |deviation|^2 + eps_root.

    eps_root is averaged with the square, because added on its own it would be lost in the rounding of nu.
    """
    return ema(nu, abs_sq(deviation) + like(nu, eps_root) / complement(nu, b2), b2)


@register(example(), example(b1=0.8, b2=0.99, eps=1e-3, eps_root=1e-6, nesterov=True), example(eps=0.0, eps_root=0.0))
def scale_by_belief(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    eps_root: Scalar = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient by the gradients' running deviation from it.

        mu <- b1 mu + (1 - b1) g                           x^ = x / (1 - b^t)
        nu <- b2 nu + (1 - b2) |g - mu|^2 + eps_root
        u   = mu^ / (sqrt(nu^) + eps)

    With nesterov mu^ is as in `scale_by_adam`.

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps: added outside the root, in units of g, >= 0. Usually 1e-16.
      eps_root: added to nu at every step, in units of g^2, >= 0. Usually 1e-16.
    State:   count; mu, nu shaped like params: 8 bytes per float32 parameter.
    Source:  Zhuang et al. 2020, Alg. 2.
    """

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu = ema(mu, g, b1)
        nu = distance(nu, g - mu, b2, eps_root)
        top = nesterov_mean(mu, g, b1, t) if nesterov else debias(mu, b1, t)
        return root_ratio(top, debias(nu, b2, t), eps), (mu, nu)

    return elementwise(rule, ScaleByBeliefState, mu=Slot(decay=b1), nu=Slot(real=True, non_negative=True))


@register(example(0.1), usual={"learning_rate": 0.001})
def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    eps_root: Scalar = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """AdaBelief: `scale_by_belief`, then `scale_by_learning_rate`.

    When:    networks that Adam trains, GANs included; steps are larger where gradients agree; a usual learning rate is
             1e-3.
    """
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))

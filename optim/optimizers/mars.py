"""MARS: Adam on gradients whose variance is reduced by the previous gradient."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..checks import Range
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import abs_sq, debiased_ratio, ema, hyperparameter, norm, scaled
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Updates

Start = Literal["zero", "gradient"]
_RANGES = {"gamma": Range(0, means="size of the correction by the previous gradient")}
_ERRORS = [(example(start="one"), "start must be 'zero' or 'gradient', got 'one'")]


class ScaleByMarsState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates
    grad: Updates


@register(example(), example(0.8, 0.9, 0.1, 1e-3, start="gradient"), ranges=_RANGES, errors=_ERRORS)
def scale_by_mars(
    b1: Scalar = 0.95,
    b2: Scalar = 0.99,
    gamma: Scalar = 0.025,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    *,
    start: Start = "zero",
) -> GradientTransformationExtraArgs:
    """Take Adam's direction of gradients that are corrected by their change since the previous step.

        c   = g + gamma b1 / (1 - b1) (g - g'),  g' the previous gradient
        c  <- c / max(1, |c|)                                     |c|: norm of the leaf
        mu <- b1 mu + (1 - b1) c            x^ = x / (1 - b^t)
        nu <- b2 nu + (1 - b2) |c|^2
        u   = mu^ / (sqrt(nu^) + eps)

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.95 and 0.99.
      gamma: size of the correction, >= 0. Usually 0.025.
      eps: added to the root, in units of c, >= 0. Usually 1e-8.
      start: g' at the first update: "zero", as in the authors' code, or "gradient" for g itself, so that c is g.
    State:   count; mu, nu, grad shaped like params: 12 bytes per float32 parameter.
    Source:  Yuan et al. 2024, MARS, Alg. 2, in the form that evaluates one gradient a step.
    """
    checks.choice("start", start, ("zero", "gradient"))

    def scalars(t: Count) -> dict[str, Array]:
        b = hyperparameter(b1)
        size = hyperparameter(gamma) * b / (1 - b)
        return {"size": jnp.where(t > 1, size, 0) if start == "gradient" else size}

    def rule(g: Array, mu: Array, nu: Array, grad: Array, t: Count, size: Array) -> Any:
        c = g + scaled(g - grad, size)
        c = scaled(c, 1 / jnp.maximum(norm(c), 1))
        mu = ema(mu, c, b1)
        nu = ema(nu, abs_sq(c), b2)
        return debiased_ratio(mu, nu, b1, b2, t, eps), (mu, nu, g)

    return leafwise(
        rule,
        ScaleByMarsState,
        scalars=scalars,
        mu=Slot(dtype=mu_dtype, decay=b1),
        nu=Slot(real=True),
        grad=Slot(),
    )


@register(
    example(0.1),
    example(0.1, gamma=0.1, weight_decay=0.1, mask=True),
    ranges=_RANGES,
    errors=[(example(0.1, start="one"), _ERRORS[0][1])],
)
def mars(
    learning_rate: ScalarOrSchedule = 3e-3,
    b1: Scalar = 0.95,
    b2: Scalar = 0.99,
    gamma: Scalar = 0.025,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    mu_dtype: DType = None,
    start: Start = "zero",
) -> GradientTransformationExtraArgs:
    """MARS-AdamW: `scale_by_mars`, `add_decayed_weights`, then `scale_by_learning_rate`, for all parameters.

    Differs: the authors' code takes AdamW for vectors; `partition` does that here.
    When:    language models that AdamW trains; a usual learning rate is 3e-3.
    """
    return chain(
        scale_by_mars(b1, b2, gamma, eps, mu_dtype, start=start),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

"""Stable-SPAM: Adam that clips spikes, normalises gradients by their past norms, and forgets its moments at times."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..checks import DECAY, Range
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import (
    abs_sq,
    debias,
    debiased_ratio,
    ema,
    norm,
    ratio,
    root_ratio,
    saturated,
    scalar_dtype,
    scaled,
)
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Updates

_MEANS = {
    "gamma1": "decay of the mean norm of gradients",
    "gamma2": "decay of the mean squared norm of gradients",
    "gamma3": "decay of the mean of the largest element",
}
_RANGES = {
    **{name: Range(DECAY.low, DECAY.high, open_high=True, means=means) for name, means in _MEANS.items()},
    "reset_interval": Range(1, integer=True, means="number of updates between two resets of the moments"),
}


class ScaleByStableSpamState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates
    max_abs: Updates
    mean_norm: Updates
    mean_sq_norm: Updates


@register(example(), example(0.8, 0.99, 1e-3, 0.5, 0.8, 0.9, 2), ranges=_RANGES)
def scale_by_stable_spam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    gamma1: Scalar = 0.7,
    gamma2: Scalar = 0.9,
    gamma3: Scalar = 0.999,
    reset_interval: int = 1000,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Clip the spikes of each leaf, give it its usual norm, and take Adam's direction.

        M  <- gamma3 M + (1 - gamma3) max|g|             x^ = x / (1 - decay^t)
        g  <- g M^ / max|g|  where |g| > M^
        m  <- gamma1 m + (1 - gamma1) |g|,   v <- gamma2 v + (1 - gamma2) |g|^2       |g|: norm of the leaf
        g  <- g / |g| m^ / (sqrt(v^) + eps)
        u   = `scale_by_adam` of g, whose moments and count start anew at every update that reset_interval divides

    Args:
      b1, b2: decays of Adam's moments, in [0, 1). Usually 0.9 and 0.999.
      eps: added to both roots, >= 0. Usually 1e-8.
      gamma1, gamma2, gamma3: decays of m, v and M, in [0, 1). Usually 0.7, 0.9 and 0.999.
      reset_interval: number of updates between resets, >= 1. Usually 1000.
    State:   count; mu, nu shaped like params; M, m, v per leaf: 8 bytes per float32 parameter.
    Source:  Huang et al. 2025, Stable-SPAM, Alg. 1.
    """

    def scalars(t: Count) -> dict[str, Array]:
        fresh = t % reset_interval == 0
        return {
            "age": jnp.where(t < reset_interval, t, t % reset_interval + 1),
            "keep": jnp.where(fresh, 0, 1).astype(scalar_dtype()),
        }

    def rule(
        g: Array,
        mu: Array,
        nu: Array,
        max_abs: Array,
        mean_norm: Array,
        mean_sq_norm: Array,
        t: Count,
        age: Count,
        keep: Array,
    ) -> Any:
        if g.size == 0:
            return g, (mu, nu, max_abs, mean_norm, mean_sq_norm)
        top = jnp.max(jnp.abs(g))
        max_abs = ema(max_abs, saturated(top), gamma3)
        bound = debias(max_abs, gamma3, t)
        g = jnp.where(jnp.abs(g) > bound, scaled(g, ratio(bound, top)), g)
        size = norm(g)
        mean_norm = ema(mean_norm, saturated(size), gamma1)
        mean_sq_norm = ema(mean_sq_norm, abs_sq(size), gamma2)
        usual = root_ratio(debias(mean_norm, gamma1, t), debias(mean_sq_norm, gamma2, t), eps)
        g = scaled(g, ratio(usual, size))
        mu = ema(scaled(mu, keep), g, b1)
        nu = ema(scaled(nu, keep), abs_sq(g), b2)
        return debiased_ratio(mu, nu, b1, b2, age, eps), (mu, nu, max_abs, mean_norm, mean_sq_norm)

    return leafwise(
        rule,
        ScaleByStableSpamState,
        scalars=scalars,
        mu=Slot(dtype=mu_dtype, decay=b1, always_stored=True),
        nu=Slot(real=True),
        max_abs=Slot(real=True, per_leaf=True, always_stored=True),
        mean_norm=Slot(real=True, per_leaf=True, always_stored=True),
        mean_sq_norm=Slot(real=True, per_leaf=True, always_stored=True),
    )


@register(
    example(0.1),
    example(0.1, reset_interval=2, weight_decay=0.1, mask=True),
    ranges=_RANGES,
    usual={"learning_rate": 0.001},
)
def stable_spam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    gamma1: Scalar = 0.7,
    gamma2: Scalar = 0.9,
    gamma3: Scalar = 0.999,
    reset_interval: int = 1000,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Stable-SPAM: `scale_by_stable_spam`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    training in 4 bits or with spikes of the loss; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_stable_spam(b1, b2, eps, gamma1, gamma2, gamma3, reset_interval, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

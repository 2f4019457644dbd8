"""Steps in proportion to the norm of the parameters: LARS, LAMB, Fromage."""

import math
from typing import Any

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..combine.masked import masked
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise
from ..numerics import scaled
from ..transforms.momentum import trace
from ..transforms.norms import scale_by_trust_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import MaskOrFn, Scalar, ScalarOrSchedule
from .adam import scale_by_adam


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True))
def lamb(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """LAMB: `scale_by_adam`, `add_decayed_weights`, `scale_by_trust_ratio`, then `scale_by_learning_rate`.

    Source:  You et al. 2020, Alg. 2.
    When:    Adam with batches of thousands of examples; a usual learning rate is 1e-3 to 1e-2, after a warm-up.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


@register(
    example(0.1),
    example(0.1, 0.1, True, 0.5, 1e-3, False, momentum=0.5, nesterov=True),
    ranges={"trust_coefficient": checks.NON_NEGATIVE},
    exceptions={"precision": "a sum of 1 / (1 - momentum) updates is rounded at its own size, not the update's"},
)
def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = True,
    trust_coefficient: Scalar = 0.001,
    eps: Scalar = 0.0,
    trust_ratio_mask: MaskOrFn = True,
    momentum: Scalar = 0.9,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """LARS: `add_decayed_weights`, `scale_by_trust_ratio`, `scale_by_learning_rate`, then `trace`.

    Args:
      trust_ratio_mask: where `scale_by_trust_ratio` acts, as in `masked`. Usually True: on all leaves.
    Source:  You et al. 2017, Alg. 1.
    When:    SGD with batches of thousands of examples; a usual learning rate is 1 to 10, after a warm-up.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


@register(
    example(0.1),
    example(0.5, 0.1),
    ranges={"learning_rate": checks.NON_NEGATIVE, "min_norm": checks.NON_NEGATIVE},
)
def fromage(learning_rate: Scalar, min_norm: Scalar = 1e-6) -> GradientTransformationExtraArgs:
    """Fromage: a step in proportion to the norm of the parameter, then a factor that keeps the norm from growing.

        p <- (p - learning_rate |p| / |g| g) / sqrt(1 + learning_rate^2),  norms of each leaf, at least min_norm

    Args:
      learning_rate: length of a step relative to the parameter, >= 0: a number or an array, not a schedule.
      min_norm: lower bound of both norms, in units of p and of g, >= 0. Usually 1e-6.
    Source:  Bernstein et al. 2020, Alg. 1.
    When:    networks with one learning rate for all layers, GANs among them; a usual learning rate is 1e-2.
    """
    rate: Any = learning_rate
    shrink = 1 / (jnp.sqrt(1 + rate**2) if checks.is_array(rate) else math.sqrt(1 + rate**2))
    return chain(
        scale_by_trust_ratio(min_norm),
        scale_by_learning_rate(rate * shrink),
        elementwise(lambda g, p: g + scaled(p, shrink - 1)),
    )

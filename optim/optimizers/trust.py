"""Steps in proportion to the norm of the parameters: LARS, LAMB, Fromage."""

import math
from typing import Any

import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..combine.masked import masked, resolve_mask
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise
from ..lift.wrap import wrap
from ..numerics import like, norm, ratio, saturated, scaled
from ..transforms.momentum import trace
from ..transforms.norms import scale_by_trust_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, MaskOrFn, Params, Scalar, ScalarOrSchedule, Tree
from .adam import scale_by_adam


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), usual={"learning_rate": 0.001})
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
    example(0.1, 0.1, trust_coefficient=0.5, decayed_norm=True),
    ranges={"trust_coefficient": checks.NON_NEGATIVE},
    exceptions={"precision": "a sum of 1 / (1 - momentum) updates is rounded at its own size, not the update's"},
    usual={"learning_rate": 1.0},
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
    *,
    decayed_norm: bool = False,
) -> GradientTransformationExtraArgs:
    """LARS: `add_decayed_weights`, `scale_by_trust_ratio`, `scale_by_learning_rate`, then `trace`.

        g <- trust_coefficient |p| / (|g| + |w p| + eps) (g + w p)         w: weight_decay; norms of each leaf

    Args:
      trust_ratio_mask: where `scale_by_trust_ratio` acts, as in `masked`. Usually True: on all leaves.
      decayed_norm: divide by |g + w p| + eps. Usually False; True gives Optax's numbers.
    Source:  You et al. 2017, Alg. 1 and Eq. 6.
    Differs: Optax divides by |g + w p| + eps: see decayed_norm.
    When:    SGD with batches of thousands of examples; a usual learning rate is 1 to 10, after a warm-up.
    """
    decay = add_decayed_weights(weight_decay, weight_decay_mask)
    if decayed_norm or (checks.is_number(weight_decay) and weight_decay == 0):
        trust = [decay, masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask)]
    else:
        trust = [masked(_decayed_in_trust(decay, trust_coefficient, eps), trust_ratio_mask)]
        trust += [] if trust_ratio_mask is True else [masked(decay, _complement(trust_ratio_mask))]
    return chain(*trust, scale_by_learning_rate(learning_rate), trace(momentum, nesterov))


def _decayed_in_trust(
    decay: GradientTransformationExtraArgs, trust_coefficient: Scalar, eps: Scalar
) -> GradientTransformationExtraArgs:
    """Add the decay, and scale each leaf by its norm over the sum of the norms of the gradient and of the decay."""

    def rule(u: Array, g: Array, p: Array) -> Array:
        p_norm, below = saturated(norm(p)), norm(g) + norm(u - g)
        size = like(p, trust_coefficient) * ratio(p_norm, below + like(below, eps))
        return scaled(u, jnp.where((p_norm > 0) & (below > 0), size, 1))

    return wrap(decay, rule, grain="leafwise")


def _complement(mask: MaskOrFn) -> Any:
    """The leaves where `mask` is False."""

    def others(params: Params) -> Tree:
        return tree.structure(params).unflatten([not m for m in resolve_mask(mask, params)])

    return others


@register(
    example(0.1),
    example(0.5, 0.1),
    ranges={"learning_rate": checks.NON_NEGATIVE, "min_norm": checks.NON_NEGATIVE},
    usual={"learning_rate": 0.01},
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

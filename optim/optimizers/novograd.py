"""NovoGrad: one second moment per leaf instead of one per element."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import decayed, ema, root_ratio, saturated, scaled, scheduled, square
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Count, DType, Scalar, ScalarOrSchedule, Tree, Updates


class ScaleByNovogradState(NamedTuple):
    count: Count
    mu: Updates
    nu: Tree


@register(example(), example(0.5, 0.9, 1e-3, 1e-6, 0.1))
def scale_by_novograd(
    b1: Scalar = 0.9,
    b2: Scalar = 0.25,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Sum updates that are divided by the running norm of their leaf, plus decayed weights.

        nu <- b2 nu + (1 - b2) |g|^2,  |g|^2 at first; the squared norm of the leaf
        mu <- b1 mu + g / (sqrt(nu + eps_root) + eps) + weight_decay p
        u   = mu

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.25.
      eps, eps_root: added outside and inside the root, in units of |g| and of |g|^2, >= 0. Usually 1e-8 and 0.
      weight_decay: a number or a schedule, >= 0; its part of p is added to the sum mu. Usually 0.
    State:   count; mu shaped like params, nu a scalar per leaf: 4 bytes per float32 parameter.
    Source:  Ginsburg et al. 2019, Alg. 1.
    """

    def rule(g: Array, p: Array, mu: Array, nu: Array, t: Count) -> Any:
        size = saturated(jnp.sum(square(g)))
        nu = jnp.where(t > 1, ema(nu, size, b2), size)
        unit = scaled(g, root_ratio(jnp.ones_like(nu), nu, eps, eps_root))
        mu = unit + scaled(p, scheduled(weight_decay, t - 1)) + decayed(mu, b1)
        return mu, (mu, nu)

    return leafwise(rule, ScaleByNovogradState, mu=Slot(dtype=mu_dtype, decay=b1), nu=Slot(per_leaf=True, real=True))


@register(example(0.1), usual={"learning_rate": 0.01})
def novograd(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.25,
    eps: Scalar = 1e-6,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
) -> GradientTransformationExtraArgs:
    """NovoGrad: `scale_by_novograd`, then `scale_by_learning_rate`.

    When:    speech, image and language models, with half of Adam's state; a usual learning rate is 1e-2.
    """
    return chain(scale_by_novograd(b1, b2, eps, eps_root, weight_decay), scale_by_learning_rate(learning_rate))

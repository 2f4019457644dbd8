"""Optimistic descent: what the gradient did since the last update, it is expected to do again."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, elementwise
from ..numerics import like, scalar_dtype, scaled
from ..transforms.scale import scale, scale_by_learning_rate
from ..types import Array, DType, Scalar, ScalarOrSchedule, Updates
from .adam import scale_by_adam

_RANGES = {"alpha": checks.REAL, "beta": checks.REAL}


class ScaleByOptimisticGradientState(NamedTuple):
    is_initial_step: Array
    previous_gradient: Updates


@register(example(), example(0.5, -0.25), ranges=_RANGES)
def scale_by_optimistic_gradient(alpha: Scalar = 1.0, beta: Scalar = 1.0) -> GradientTransformationExtraArgs:
    """Add to each update its change since the last one.

        u = alpha g + beta (g - g'),  g' the last g; on the first update  alpha g

    Args:    alpha, beta: finite numbers, or arrays of shape ().
    State:   is_initial_step, a bool; previous_gradient (g') shaped like params: 4 bytes per float32 parameter.
    Source:  Daskalakis et al. 2018, Sec. 2, for alpha = beta; Mokhtari et al. 2020, generalized OGDA.
    """

    def scalars(is_initial_step: Array) -> dict[str, Array]:
        hope = like(jnp.zeros((), scalar_dtype()), beta)
        return {"is_initial_step": jnp.zeros((), bool), "hope": jnp.where(is_initial_step, 0, hope)}

    def rule(g: Array, previous_gradient: Array, hope: Array) -> Any:
        return scaled(g, alpha) + scaled(g - previous_gradient, hope), g

    return elementwise(
        rule,
        ScaleByOptimisticGradientState,
        scalars=scalars,
        is_initial_step=StateScalar(True, bool),
        # It is subtracted from what is nearly the same: fewer bits would make noise of the change.
        previous_gradient=Slot(decay=1.0),
    )


@register(example(0.1), ranges=_RANGES)
def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Scalar = 1.0, beta: Scalar = 1.0
) -> GradientTransformationExtraArgs:
    """Optimistic gradient descent: `scale_by_optimistic_gradient`, then minus the learning rate."""
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


@register(
    example(0.1),
    example(0.1, 0.3, nesterov=False),
    ranges={"learning_rate": checks.NON_NEGATIVE, "optimism": checks.REAL},
)
def optimistic_adam(
    learning_rate: Scalar,
    optimism: Scalar | None = None,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient` with minus the learning rate for alpha.

    Args:    learning_rate >= 0: no schedule, which `optimistic_adam_v2` takes; optimism: beta, None for learning_rate.
    Source:  Daskalakis et al. 2018, Alg. 1.
    """
    hope = learning_rate if optimism is None else optimism
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(learning_rate, hope),
        scale(-1.0),
    )


@register(example(0.1), example(0.1, alpha=0.7, beta=0.3, nesterov=False), ranges=_RANGES)
def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule,
    *,
    alpha: Scalar = 1.0,
    beta: Scalar = 1.0,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient`, then minus the learning rate."""
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )

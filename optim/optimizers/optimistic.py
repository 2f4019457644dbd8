"""Optimistic descent: extrapolate the change of the gradient since the last update."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, elementwise
from ..numerics import like, scalar_dtype, scaled
from ..schedules import inverse_time_decay
from ..transforms.scaling import scale, scale_by_learning_rate
from ..types import Array, DType, Scalar, ScalarOrSchedule, Updates
from .adam import scale_by_adam

_RANGES = {"alpha": checks.REAL, "beta": checks.REAL}
_ALONE = {"independent": "no other package has it"}


class ScaleByOptimisticGradientState(NamedTuple):
    is_initial_step: Array
    previous_gradient: Updates


@register(example(), example(0.5, -0.25), ranges=_RANGES, exceptions=_ALONE)
def scale_by_optimistic_gradient(alpha: Scalar = 1.0, beta: Scalar = 1.0) -> GradientTransformationExtraArgs:
    """Add to each update its change since the last update.

        u = alpha g + beta (g - g'),  g' the last g; on the first update  alpha g

    Args:
      alpha: factor on g, a finite number or an array of shape (). Usually 1.0.
      beta: factor on the change of g, a finite number or an array of shape (). Usually 1.0.
    State:   is_initial_step, a bool; previous_gradient (g') shaped like params: 4 bytes per float32 parameter.
    Source:  Daskalakis et al. 2018, Sec. 2, for alpha = beta; Mokhtari et al. 2020, generalized OGDA.
    """

    def scalars(is_initial_step: Array) -> dict[str, Array]:
        change_factor = like(jnp.zeros((), scalar_dtype()), beta)
        return {"is_initial_step": jnp.zeros((), bool), "change_factor": jnp.where(is_initial_step, 0, change_factor)}

    def rule(g: Array, previous_gradient: Array, change_factor: Array) -> Any:
        return scaled(g, alpha) + scaled(g - previous_gradient, change_factor), g

    return elementwise(
        rule,
        ScaleByOptimisticGradientState,
        scalars=scalars,
        is_initial_step=StateScalar(True, bool),
        # The change is a small difference, which a narrower dtype would round to noise.
        previous_gradient=Slot(decay=1.0),
    )


@register(example(0.1), ranges=_RANGES, exceptions=_ALONE, usual={"learning_rate": 0.01})
def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Scalar = 1.0, beta: Scalar = 1.0
) -> GradientTransformationExtraArgs:
    """Optimistic gradient descent: `scale_by_optimistic_gradient`, then `scale_by_learning_rate`.

    When:    games and other min-max problems, for which gradient descent cycles; a usual learning rate is 1e-2.
    """
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


@register(
    example(0.1),
    example(0.1, 0.3, nesterov=False),
    ranges={"optimism": checks.REAL},
    exceptions=_ALONE,
    errors=[(example(inverse_time_decay(0.1, 1, 0.5)), "learning_rate must be a number; optimistic_adam_v2 takes a")],
    usual={"learning_rate": 0.0001},
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
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient` with alpha = learning_rate, then `scale` by -1.

    Args:
      learning_rate: a number or an array, >= 0; `optimistic_adam_v2` takes a schedule too.
      optimism: beta of `scale_by_optimistic_gradient`, a finite number; None takes learning_rate.
    Source:  Daskalakis et al. 2018, Alg. 1.
    When:    GANs and other min-max problems; a usual learning rate is 1e-4.
    """
    if callable(learning_rate):
        checks.fail("learning_rate must be a number; optimistic_adam_v2 takes a schedule", TypeError)
    change_factor = learning_rate if optimism is None else optimism
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(learning_rate, change_factor),
        scale(-1.0),
    )


@register(
    example(0.1),
    example(0.1, alpha=0.7, beta=0.3, nesterov=False),
    ranges=_RANGES,
    exceptions=_ALONE,
    usual={"learning_rate": 0.0001},
)
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
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient`, then `scale_by_learning_rate`.

    When:    GANs and other min-max problems, also with a schedule; a usual learning rate is 1e-4.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )

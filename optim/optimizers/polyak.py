"""Polyak's step size: the loss above its minimum over the squared norm of the gradient."""

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import treewise
from ..numerics import hyperparameter, loss, ratio, scaled
from ..tree import sum_sq
from ..types import Array, Scalar, ScalarOrSchedule, Tree
from .sgd import sgd

_RANGES = {"f_min": checks.REAL, "max_learning_rate": checks.BOUND, "scaling": checks.RATE}
_VARIANTS = ("sps", "sps+")
_ERRORS = [(example(variant="plus"), "variant must be 'sps' or 'sps+', got 'plus'")]


@register(
    example().given(value=1.5),
    example(0.5, 2.0, 0.1, "sps+").given(value=1.5),
    ranges=_RANGES,
    errors=_ERRORS,
)
def scale_by_polyak(
    f_min: Scalar = 0.0, max_learning_rate: Scalar = 1.0, eps: Scalar = 0.0, variant: str = "sps"
) -> GradientTransformationExtraArgs:
    """Scale updates by the difference between the loss and its minimum, over their squared norm.

        u = min(max_learning_rate, (value - f_min) / (|g|^2 + eps)) g

    The norm is over the whole tree. update needs value=..., the loss at params.

    Args:
      f_min: smallest possible loss, a finite number. Usually 0.
      max_learning_rate: upper bound of the factor, > 0. Usually 1.0.
      eps: added to the squared norm, in units of |g|^2, >= 0. Usually 0.
      variant: "sps", or "sps+", which replaces value - f_min by 0 where it is negative. Usually "sps".
    Raises:  ValueError for any other variant; TypeError for an update without value.
    Source:  Loizou et al. 2021, SPS_max; Garrigos et al. 2023, SPS+.
    """
    checks.choice("variant", variant, _VARIANTS)

    def scalars(updates: Tree, value: Array) -> dict[str, Array]:
        square = sum_sq(updates).astype(hyperparameter(0.0).dtype)
        excess = loss(value) - hyperparameter(f_min)
        excess = jnp.maximum(excess, 0) if variant == "sps+" else excess
        size = jnp.minimum(ratio(excess, square + hyperparameter(eps)), hyperparameter(max_learning_rate))
        return {"size": size}

    return treewise(lambda g, size: scaled(g, size), scalars=scalars)


@register(example().given(value=1.5), example(0.5, 0.5, 0.1).given(value=1.5), ranges=_RANGES, errors=_ERRORS)
def polyak_sgd(
    max_learning_rate: Scalar = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: Scalar = 0.0,
    eps: Scalar = 0.0,
    variant: str = "sps",
) -> GradientTransformationExtraArgs:
    """Gradient descent with Polyak's step: `sgd` with scaling as its learning rate, then `scale_by_polyak`.

    Args:
      scaling: factor on Polyak's step, >= 0, or a schedule. Usually 1.0.
    When:    models that can fit all their data, so that the smallest loss is known; 1.0 is a usual max_learning_rate.
    """
    return chain(sgd(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))

"""Polyak's step: as long as the loss is above its minimum."""

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

_RANGES = {"f_min": checks.REAL, "max_learning_rate": checks.POSITIVE, "scaling": checks.RATE}
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
    """Scale updates by how far the loss is above its minimum, over their squared norm.

        u = min(max_learning_rate, (value - f_min) / (|g|^2 + eps)) g

    The norm is over the whole tree. With variant "sps+" value - f_min counts as 0 at least.

    Args:    f_min: the smallest loss there is; max_learning_rate > 0; eps >= 0, in units of |g|^2; variant: "sps" or
             "sps+". update needs value=..., the loss at params.
    Raises:  ValueError for another variant; TypeError for an update without value.
    Source:  Loizou et al. 2021, SPS_max; Garrigos et al. 2023, SPS+.
    """
    if variant not in _VARIANTS:
        checks.fail(f"variant must be 'sps' or 'sps+', got {checks.shown(variant)}")

    def scalars(updates: Tree, value: Array) -> dict[str, Array]:
        square = sum_sq(updates).astype(hyperparameter(0.0).dtype)
        gap = loss(value) - hyperparameter(f_min)
        gap = jnp.maximum(gap, 0) if variant == "sps+" else gap
        size = jnp.minimum(ratio(gap, square + hyperparameter(eps)), hyperparameter(max_learning_rate))
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
    """Gradient descent with Polyak's step: `sgd` with the learning rate scaling, then `scale_by_polyak`."""
    return chain(sgd(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))

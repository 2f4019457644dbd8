"""Gradient centralization: subtract the mean of each unit's update."""

import jax.numpy as jnp

from ..core.registry import register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import leafwise
from ..types import Array


@register()
def centralize() -> GradientTransformationExtraArgs:
    """Subtract from every update of two or more dimensions its mean over all axes but the first.

    Vectors and scalars pass through unchanged.

    Source:  Yong et al. 2020, Eq. 1.
    """

    def rule(g: Array) -> Array:
        if g.ndim < 2 or g.size == 0:
            return g
        return g - jnp.mean(g, axis=tuple(range(1, g.ndim)), keepdims=True)

    return leafwise(rule)

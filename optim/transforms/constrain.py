"""Constraints on the parameters."""

import jax.numpy as jnp

from ..core.registry import register
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise

NonNegativeParamsState = EmptyState


@register(exceptions={"independent": "it is one maximum"})
def keep_params_nonnegative() -> GradientTransformationExtraArgs:
    """Shorten updates so that no parameter falls below zero: u = max(g, -p)."""
    return elementwise(lambda g, p: jnp.maximum(g, -p))

"""Keeping parameters where they may be."""

import jax.numpy as jnp

from ..base import EmptyState, GradientTransformationExtraArgs
from ..lift import elementwise
from ..registry import register

NonNegativeParamsState = EmptyState


@register()
def keep_params_nonnegative() -> GradientTransformationExtraArgs:
    """Shorten updates so that no parameter gets below zero: u = max(g, -p)."""
    return elementwise(lambda g, p: jnp.maximum(g, -p))

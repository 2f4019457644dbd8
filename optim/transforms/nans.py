"""Replacement of NaN updates."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..core.registry import register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..types import Array, Tree


class ZeroNansState(NamedTuple):
    found_nan: Tree


@register(exceptions={"independent": "it is one selection"})
def zero_nans() -> GradientTransformationExtraArgs:
    """Replace every NaN by zero.

    State:   found_nan, a boolean scalar per parameter: whether its last update had a NaN.
    """

    def rule(g: Array, found_nan: Array) -> Any:
        nan = jnp.isnan(g)
        return jnp.where(nan, 0, g), jnp.any(nan)

    return leafwise(rule, ZeroNansState, found_nan=Slot(dtype=bool, per_leaf=True))

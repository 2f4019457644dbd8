"""Gradient centralization: subtract the mean of each unit's update."""

import jax.numpy as jnp

from .. import checks
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import leafwise
from ..matrix.stacks import axes_of
from ..types import Array


@register(
    example(),
    example(output_axis=0),
    errors=[(example(output_axis=0.5), "output_axis must be an int or a tuple of ints, got 0.5")],
)
def centralize(*, output_axis: int | tuple[int, ...] = -1) -> GradientTransformationExtraArgs:
    """Subtract from each unit's weights their mean, for every update of two or more dimensions.

    A unit is one index of the output axis; the mean is over all other axes, the inputs of the unit. Vectors and scalars
    pass through unchanged.

    Args:
      output_axis: the axis or axes of the units. Usually -1, as in kernels of shape (in, out) or (height, width, in,
        out); 0 for (out, in), PyTorch's kernels.
    Source:  Yong et al. 2020, Eq. 1.
    Differs: Optax takes the mean over all axes but the first, which is output_axis=0.
    """
    axes = output_axis if isinstance(output_axis, tuple | list) else [output_axis]
    if not all(isinstance(a, int) for a in axes):
        checks.fail(f"output_axis must be an int or a tuple of ints, got {checks.shown(output_axis)}", TypeError)

    def rule(g: Array) -> Array:
        if g.ndim < 2 or g.size == 0:
            return g
        units = axes_of(g.ndim, output_axis)
        return g - jnp.mean(g, axis=tuple(a for a in range(g.ndim) if a not in units), keepdims=True)

    return leafwise(rule)

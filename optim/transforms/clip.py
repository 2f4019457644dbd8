"""Clipping of updates: per element, per leaf, per unit, or by the norm of the whole tree."""

from typing import Any

import jax.numpy as jnp
from jax import lax

from .. import checks, tree
from ..core.registry import example, register
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise, leafwise, treewise
from ..matrix.stacks import axes_of
from ..numerics import like, norm, rms, saturated, scaled
from ..types import Array, Scalar, Updates

AdaptiveGradClipState = ClipState = ClipByGlobalNormState = EmptyState


@register(example(0.5))
def clip(max_delta: Scalar) -> GradientTransformationExtraArgs:
    """Clamp every element to [-max_delta, max_delta].

    Args:
      max_delta: largest magnitude of an element, > 0, in units of g; inf does not clip.
    """

    def rule(g: Array) -> Array:
        bound = like(g, max_delta)
        return jnp.clip(g, -bound, bound)

    return elementwise(rule)


@register(example(1.0))
def clip_by_global_norm(max_norm: Scalar) -> GradientTransformationExtraArgs:
    """Scale all updates so that their global norm is at most max_norm.

        N = sqrt(sum over the tree of |g|^2)
        u = (max_norm / N) g  if N > max_norm, else g

    Args:
      max_norm: largest global norm of the result, > 0, in units of g; inf does not clip. Usually 1.
    Source:  Pascanu et al. 2013, Alg. 1.
    Differs: if any element is NaN, N is NaN and the other elements pass unchanged; Optax makes all of them NaN.
    """

    def scalars(updates: Updates) -> dict[str, Array]:
        norm = tree.global_norm(updates)
        one, most = jnp.ones_like(norm), jnp.asarray(like(norm, max_norm), norm.dtype)
        over = lax.gt(norm, most)
        return {"factor": lax.select(over, lax.div(most, lax.select(over, norm, one)), one)}

    return treewise(lambda g, factor: scaled(g, factor), scalars=scalars)


@register(example(0.5))
def clip_by_block_rms(threshold: Scalar) -> GradientTransformationExtraArgs:
    """Scale each leaf so that its root mean square is at most threshold: u = g / max(1, rms(g) / threshold).

    Args:
      threshold: largest root mean square of a leaf, > 0, in units of g. Usually 1.
    Source:  Shazeer & Stern 2018, Adafactor, Alg. 4, update clipping.
    """

    def rule(g: Array) -> Array:
        size = rms(g)
        over, most = size > like(size, threshold), like(size, threshold)
        return scaled(g, jnp.where(over, most / jnp.where(over, size, 1), 1))

    return leafwise(rule)


def unit_axes(g: Array) -> tuple[int, ...] | None:
    """Axes over which the norm of one output unit is taken, by the number of axes; None takes all of them."""
    dims = sum(n > 1 for n in g.shape)
    if dims <= 1:
        return None
    if g.ndim in (2, 3):
        return (0,)
    return tuple(range(g.ndim - 1))


@register(example(0.1), example(0.01, eps=0.1, axis=0), ranges={"eps": checks.POSITIVE})
def adaptive_grad_clip(
    clipping: Scalar, eps: Scalar = 1e-3, axis: int | tuple[int, ...] | None = None
) -> GradientTransformationExtraArgs:
    """Scale each unit's update so that its norm is at most clipping times the norm of the unit's parameters.

        u_i = g_i clipping max(|p_i|, eps) / |g_i|  where |g_i| > clipping max(|p_i|, eps), else g_i

    A unit is a whole vector, a column of a matrix, or an output channel of a convolution kernel.

    Args:
      clipping: largest ratio of an update's norm to its parameters' norm, > 0. Usually 0.01 to 0.1.
      eps: lower bound on the parameters' norm, > 0, in units of p. Usually 1e-3.
      axis: an axis or a tuple of axes over which the norms are taken; None chooses them by the number of axes.
    Source:  Brock et al. 2021, Eq. 3.
    """

    axes = axis if isinstance(axis, tuple | list) else [0 if axis is None else axis]
    if not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
        checks.fail(f"axis must be an int or a tuple of ints, got {checks.shown(axis)}", TypeError)

    def rule(g: Array, p: Array) -> Any:
        axes = axes_of(g, axis) if axis is not None and g.ndim else unit_axes(g)
        keepdims = g.ndim > 0 and axes is not None
        g_norm, p_norm = norm(g, axes, keepdims), saturated(norm(p, axes, keepdims))
        most = like(g_norm, clipping) * jnp.maximum(p_norm, like(p_norm, eps))
        over = g_norm > most
        return g * jnp.where(over, most / jnp.where(over, g_norm, 1), 1)

    return leafwise(rule)

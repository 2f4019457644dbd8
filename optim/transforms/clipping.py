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
from ..numerics import convert, like, norm, real_dtype, rms, saturated, scaled, wide_dtype
from ..types import Array, Scalar, Updates

AdaptiveGradClipState = ClipState = ClipByGlobalNormState = EmptyState


@register(example(0.5), usual={"max_delta": 1.0})
def clip(max_delta: Scalar) -> GradientTransformationExtraArgs:
    """Clamp every element to [-max_delta, max_delta].

    Args:
      max_delta: largest magnitude of an element, > 0, in units of g; inf does not clip.
    """

    def rule(g: Array) -> Array:
        bound = like(g, max_delta)
        return jnp.clip(g, -bound, bound)

    return elementwise(rule)


@register(example(1.0), usual={"max_norm": 1.0})
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


@register(example(0.5), usual={"threshold": 1.0})
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


def unit_axes(x: Array, axis: int | tuple[int, ...] | None = None) -> tuple[int, ...] | None:
    """Axes over which the norm of one output unit is taken, by the number of axes unless given; None takes all."""
    if axis is not None:
        return axes_of(x.ndim, axis)
    if sum(n > 1 for n in x.shape) <= 1:
        return None
    if x.ndim in (2, 3):
        return (0,)
    return tuple(range(x.ndim - 1))


def _unit_norm(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """The norm of each unit, with axes of size 1 where the sum was taken, or one number for a single unit."""
    axes = unit_axes(x, axis) if x.ndim else None
    return norm(x, axes, keepdims=axes is not None)


@checks.entrance("unitwise_norm")
def unitwise_norm(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Compute the norm of the unit that each element belongs to.

    A unit is a whole vector, a column of a matrix, or an output channel of a convolution kernel.

    Args:
      x: an array.
      axis: an axis or a tuple of axes over which the norms are taken; None chooses them by the number of axes.
    Returns: a real array of the shape of x.
    Source:  Brock et al. 2021, Sec. 4.
    """
    x = tree.as_array(x)
    dtype = x.dtype if tree.trainable(x) else wide_dtype(x.dtype)
    norms = _unit_norm(convert(x, wide_dtype(dtype)), axis)
    return jnp.broadcast_to(convert(norms, real_dtype(dtype)), x.shape)


@checks.entrance("unitwise_clip")
def unitwise_clip(g_norm: Array, max_norm: Array, grad: Array, div_eps: Scalar = 1e-6) -> Array:
    """Scale a gradient where the norm of its unit is too large.

        u = grad max_norm / max(g_norm, div_eps)  where g_norm > max_norm, else grad

    Args:
      g_norm: the norm of the unit that each element belongs to, as `unitwise_norm` gives it.
      max_norm: the largest norm of each.
      grad: the gradient. The three have one shape, or broadcast to that of grad.
      div_eps: least denominator, > 0, in units of g. Usually 1e-6.
    Raises:  ValueError for other shapes, and for div_eps out of range.
    Source:  Brock et al. 2021, Eq. 3.
    """
    checks.argument("div_eps", div_eps, checks.POSITIVE)
    grad, g_norm, max_norm = map(tree.as_array, (grad, g_norm, max_norm))
    for name, x in (("g_norm", g_norm), ("max_norm", max_norm)):
        if not checks.broadcasts(x.shape, grad.shape):
            checks.fail(f"{name} has shape {x.shape}, grad has {grad.shape}")
    wide = wide_dtype(grad.dtype)
    size, most = (convert(x, real_dtype(wide)) for x in (g_norm, max_norm))
    factor = jnp.where(size > most, most / jnp.maximum(size, like(size, div_eps)), 1)
    return convert(scaled(convert(grad, wide), factor), grad.dtype)


@register(example(0.1), example(0.01, eps=0.1, axis=0), ranges={"eps": checks.POSITIVE}, usual={"clipping": 0.01})
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
    Differs: Optax refuses more than five axes without `axis`.
    """

    axes = axis if isinstance(axis, tuple | list) else [0 if axis is None else axis]
    if not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
        checks.fail(f"axis must be an int or a tuple of ints, got {checks.shown(axis)}", TypeError)

    def rule(g: Array, p: Array) -> Any:
        g_norm, p_norm = _unit_norm(g, axis), saturated(_unit_norm(p, axis))
        most = like(g_norm, clipping) * jnp.maximum(p_norm, like(p_norm, eps))
        over = g_norm > most
        return g * jnp.where(over, most / jnp.where(over, g_norm, 1), 1)

    return leafwise(rule)

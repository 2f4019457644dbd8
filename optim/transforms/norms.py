"""Scaling by norms: of the whole tree, of a leaf, of its parameter."""

import jax.numpy as jnp

from ..checks import NON_NEGATIVE, REAL
from ..core.registry import example, register
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import leafwise, treewise
from ..numerics import like, mean_sq, ratio, root, saturated, scaled, square
from ..tree import global_norm
from ..types import Array, Scalar, Tree

NormalizeState = EmptyState
ScaleByTrustRatioState = EmptyState


@register()
def normalize() -> GradientTransformationExtraArgs:
    """Divide updates by their norm over the whole tree, u = g / |g|.

    Differs: where the norm is zero updates are zero, in Optax NaN.
    """

    def scalars(updates: Tree) -> dict[str, Array]:
        norm = global_norm(updates)
        return {"size": ratio(jnp.ones_like(norm), norm)}

    return treewise(lambda g, size: scaled(g, size), scalars=scalars)


@register(example(), example(2.0, 0.1), ranges={"scale_factor": REAL})
def normalize_by_update_norm(scale_factor: Scalar = 1.0, eps: Scalar = 1e-6) -> GradientTransformationExtraArgs:
    """Divide updates by their norm over the whole tree, and scale them.

        u = scale_factor g / (|g| + eps)

    Args:    scale_factor: a finite number; eps >= 0, in units of g.
    """

    def scalars(updates: Tree) -> dict[str, Array]:
        norm = global_norm(updates)
        return {"size": like(norm, scale_factor) * ratio(jnp.ones_like(norm), norm + like(norm, eps))}

    return treewise(lambda g, size: scaled(g, size), scalars=scalars)


def norm(x: Array) -> Array:
    """sqrt(sum of |x|^2) over one array; its derivative at zero is zero."""
    return root(saturated(jnp.sum(square(x))))


@register(example(), example(0.1, 2.0, 0.3), ranges={"min_norm": NON_NEGATIVE, "trust_coefficient": NON_NEGATIVE})
def scale_by_trust_ratio(
    min_norm: Scalar = 0.0, trust_coefficient: Scalar = 1.0, eps: Scalar = 0.0
) -> GradientTransformationExtraArgs:
    """Scale each leaf to the size of its parameter.

        u = trust_coefficient |p| / (|g| + eps) g,  norms at least min_norm;  u = g where |p| or |g| is 0

    Args:    min_norm, trust_coefficient, eps >= 0; min_norm in units of p and of g, eps of g.
    Source:  You et al. 2017, LARS, Eq. 6; You et al. 2020, LAMB, Alg. 2.
    """

    def rule(g: Array, p: Array) -> Array:
        least = like(g, min_norm)
        # Of a huge g the norm is infinite and u is 0: held at a finite one it would not bound u.
        p_norm, g_norm = jnp.maximum(norm(p), least), jnp.maximum(root(jnp.sum(square(g))), least)
        size = like(g, trust_coefficient) * ratio(p_norm, g_norm + like(g, eps))
        return scaled(g, jnp.where((p_norm > 0) & (g_norm > 0), size, 1))

    return leafwise(rule)


@register(example(), example(1.0), ranges={"min_scale": NON_NEGATIVE})
def scale_by_param_block_norm(min_scale: Scalar = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf by the norm of its parameter, which counts as min_scale at least.

    Args:    min_scale >= 0, in units of p.
    """
    return leafwise(lambda g, p: scaled(g, jnp.maximum(norm(p), like(g, min_scale))))


@register(example(), example(1.0), ranges={"min_scale": NON_NEGATIVE})
def scale_by_param_block_rms(min_scale: Scalar = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf by the root mean square of its parameter, which counts as min_scale at least.

    Args:    min_scale >= 0, in units of p.
    """
    return leafwise(lambda g, p: scaled(g, jnp.maximum(root(mean_sq(p)), like(g, min_scale))))

"""Scaling by norms: of the whole tree, of a leaf, or of a leaf's parameter."""

import jax.numpy as jnp

from .. import numerics
from ..checks import NON_NEGATIVE, REAL
from ..core.registry import example, register
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import leafwise, treewise
from ..numerics import like, ratio, saturated, scaled
from ..tree import global_norm
from ..types import Array, Scalar, Tree

NormalizeState = EmptyState
ScaleByTrustRatioState = EmptyState


@register()
def normalize() -> GradientTransformationExtraArgs:
    """Divide updates by their norm over the whole tree, u = g / |g|.

    Differs: where the norm is zero, updates are zero; in Optax they are NaN.
    """

    def scalars(updates: Tree) -> dict[str, Array]:
        norm = global_norm(updates)
        return {"size": ratio(jnp.ones_like(norm), norm)}

    return treewise(lambda g, size: scaled(g, size), scalars=scalars)


@register(example(), example(2.0, 0.1), ranges={"scale_factor": REAL})
def normalize_by_update_norm(scale_factor: Scalar = 1.0, eps: Scalar = 1e-6) -> GradientTransformationExtraArgs:
    """Divide updates by their norm over the whole tree, then multiply them by scale_factor.

        u = scale_factor g / (|g| + eps)

    Args:
      scale_factor: norm of the result, a finite number. Usually 1.
      eps: added to the norm, >= 0, in units of g. Usually 1e-6.
    """

    def scalars(updates: Tree) -> dict[str, Array]:
        norm = global_norm(updates)
        return {"size": like(norm, scale_factor) * ratio(jnp.ones_like(norm), norm + like(norm, eps))}

    return treewise(lambda g, size: scaled(g, size), scalars=scalars)


def norm(x: Array) -> Array:
    """sqrt(sum of |x|^2) over one array, at most the largest finite number; its derivative at zero is zero."""
    return saturated(numerics.norm(x))


@register(example(), example(0.1, 2.0, 0.3), ranges={"min_norm": NON_NEGATIVE, "trust_coefficient": NON_NEGATIVE})
def scale_by_trust_ratio(
    min_norm: Scalar = 0.0, trust_coefficient: Scalar = 1.0, eps: Scalar = 0.0
) -> GradientTransformationExtraArgs:
    """Scale each leaf to the norm of its parameter.

        u = trust_coefficient |p| / (|g| + eps) g,  norms at least min_norm;  u = g where |p| or |g| is 0

    Args:
      min_norm: lower bound on both norms, >= 0, in units of p and of g. Usually 0.
      trust_coefficient: norm of the result relative to that of the parameter, >= 0. Usually 1, in LARS 0.001.
      eps: added to the norm of g, >= 0, in units of g. Usually 0.
    Source:  You et al. 2017, LARS, Eq. 6; You et al. 2020, LAMB, Alg. 2.
    """

    def rule(g: Array, p: Array) -> Array:
        least = like(g, min_norm)
        # An overflowing norm of g stays infinite, so that u is 0: a finite substitute would not bound u.
        p_norm, g_norm = jnp.maximum(norm(p), least), jnp.maximum(numerics.norm(g), least)
        size = like(g, trust_coefficient) * ratio(p_norm, g_norm + like(g, eps))
        return scaled(g, jnp.where((p_norm > 0) & (g_norm > 0), size, 1))

    return leafwise(rule)


@register(
    example(),
    example(1.0),
    ranges={"min_scale": NON_NEGATIVE},
    exceptions={"independent": "it is one norm"},
)
def scale_by_param_block_norm(min_scale: Scalar = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf by the norm of its parameter, or by min_scale if that is larger.

    Args:
      min_scale: smallest factor, >= 0, in units of p. Usually 1e-3.
    """
    return leafwise(lambda g, p: scaled(g, jnp.maximum(norm(p), like(g, min_scale))))


@register(example(), example(1.0), ranges={"min_scale": NON_NEGATIVE})
def scale_by_param_block_rms(min_scale: Scalar = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf by the root mean square of its parameter, or by min_scale if that is larger.

    Args:
      min_scale: smallest factor, >= 0, in units of p. Usually 1e-3, as in Adafactor.
    """
    return leafwise(lambda g, p: scaled(g, jnp.maximum(saturated(numerics.rms(p)), like(g, min_scale))))

"""Distance over gradients, separately for each leaf."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import like, root_ratio, saturated, scaled, square
from ..transforms.norms import norm
from ..types import Array, DType, Params, Scalar, Tree


class ScaleByDistanceOverGradientsState(NamedTuple):
    max_dist: Tree
    grad_sum_of_squares: Tree
    init_params: Params


@register(
    example(),
    example(0.1, 0.5, global_scale=2.0),
    ranges={"reps_rel": checks.POSITIVE, "global_scale": checks.REAL},
    exceptions={"init": "its first distance is a norm of the parameters"},
)
def scale_by_distance_over_gradients(
    reps_rel: Scalar = 1e-6, eps: Scalar = 1e-8, param_dtype: DType = jnp.float32, global_scale: Scalar = 1.0
) -> GradientTransformationExtraArgs:
    """Scale each leaf by its largest distance from the start over the root of its summed squared gradients.

        r <- max(r, |p - p0|),  r = reps_rel (1 + |p0|) at first
        G <- G + |g|^2
        u  = global_scale r / sqrt(G + eps) g

    `dog` takes the norms over the whole tree instead.

    Args:
      reps_rel: initial r relative to 1 + |p0|, > 0. Usually 1e-6.
      eps: added inside the root, in units of g^2, >= 0. Usually 1e-8.
      param_dtype: dtype of r and G, at least float32.
      global_scale: factor on all updates, a finite number. Usually 1.0.
    State:   max_dist (r), grad_sum_of_squares (G), a scalar per leaf; init_params (p0) shaped like params: 4
             bytes per float32 parameter.
    Source:  Ivgi, Hinder & Carmon 2023, Eq. 1, layer by layer.
    """

    def start(p: Array) -> Array:
        size = norm(p)
        return like(size, reps_rel) * (1 + size)

    def rule(g: Array, p: Array, max_dist: Array, grad_sum_of_squares: Array, init_params: Array) -> Any:
        dist = jnp.maximum(max_dist, norm(p - init_params))
        total = grad_sum_of_squares + saturated(jnp.sum(square(g)))
        size = like(dist, global_scale) * root_ratio(dist, total[0], 0.0, eps)
        return scaled(g, size), (dist, total, init_params)

    # None is the slots' default dtype: float32, or float64 for float64 parameters.
    dtype = None if jnp.dtype(param_dtype).itemsize <= 4 else param_dtype
    return leafwise(
        rule,
        ScaleByDistanceOverGradientsState,
        max_dist=Slot(init=start, dtype=dtype, real=True, free=True),
        grad_sum_of_squares=Slot(init=lambda p: jnp.zeros(1), dtype=dtype, real=True, free=True),
        init_params=Slot(init=lambda p: p),
    )

"""SM3: second moments of rows and columns in place of elements."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import abs_sq, complement, ema, full_like, real_dtype, root_ratio, scaled
from ..transforms.scale import scale_by_learning_rate
from ..types import Array, Scalar, ScalarOrSchedule, Tree, Updates


class ScaleBySM3State(NamedTuple):
    mu: Tree
    nu: Updates


def _spread(x: Array, axis: int, ndim: int) -> Array:
    """An accumulator of one axis where all axes of the leaf are."""
    return x if ndim == 0 else x.reshape([-1 if i == axis else 1 for i in range(ndim)])


def _covered(square: Array, axis: int) -> Array:
    """The largest element of each slice along an axis."""
    return jnp.max(square, axis=[i for i in range(square.ndim) if i != axis], initial=0)


@register(example(), example(0.5, 0.9, 1e-3), ranges={"b2": checks.CLOSED_UNIT})
def scale_by_sm3(b1: Scalar = 0.9, b2: Scalar = 1.0, eps: Scalar = 1e-8) -> GradientTransformationExtraArgs:
    """Divide updates by the root of the least sum of squares that covers them, and average.

        s    = b2 min over axes of mu_axis + (1 - b2) |g|^2,  for b2 = 1  min over axes of mu_axis + |g|^2
        nu  <- b1 nu + (1 - b1) g / sqrt(s + eps)
        mu_axis <- max of s over all other axes
        u    = nu

    Args:    b1 in [0, 1), b2 in [0, 1]; eps >= 0, in units of g^2.
    State:   nu shaped like params; mu, for each leaf a list of one vector per axis: 4 bytes per float32 parameter.
    Source:  Anil et al. 2019, SM3-II, with momentum.
    """

    def rule(g: Array, mu: list[Array], nu: Array) -> Any:
        least = functools.reduce(jnp.minimum, [_spread(m, i, g.ndim) for i, m in enumerate(mu)])
        # The whole square where nothing is forgotten.
        share = complement(least, b2)
        share = jnp.where(share == 0, 1, share) if checks.is_array(b2) else share or 1.0
        total = scaled(jnp.broadcast_to(least, g.shape), b2) + scaled(abs_sq(g), share)
        nu = ema(nu, root_ratio(g, total, 0.0, eps), b1)
        return nu, ([_covered(total, i) for i in range(g.ndim)] or [total], nu)

    def start(p: Array) -> list[Array]:
        # Made of the parameter, so that they live where the parameter does.
        zeros = full_like(p, 0, real_dtype(p.dtype))
        return [_covered(zeros, i) for i in range(p.ndim)] or [zeros]

    # nu is as wide as a second moment, whose name it has.
    return leafwise(rule, ScaleBySM3State, mu=Slot(init=start, real=True, free=True), nu=Slot(decay=1.0))


@register(example(0.1))
def sm3(learning_rate: ScalarOrSchedule, momentum: Scalar = 0.9) -> GradientTransformationExtraArgs:
    """SM3: `scale_by_sm3` with momentum for b1, then minus the learning rate.

    Args:    momentum in [0, 1).
    Differs: in Optax it fails on scalars.
    """
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))

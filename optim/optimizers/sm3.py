"""SM3: second moments of rows and columns instead of elements."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import abs_sq, complement, ema, full_like, real_dtype, root_ratio, scaled, zeros_of_shape
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Scalar, ScalarOrSchedule, Tree, Updates


class ScaleBySM3State(NamedTuple):
    mu: Tree
    nu: Updates


def _broadcastable(x: Array, axis: int, ndim: int) -> Array:
    """Reshape the accumulator of one axis so that it broadcasts against the leaf."""
    return x if ndim == 0 else x.reshape([-1 if i == axis else 1 for i in range(ndim)])


def _slice_maxima(square: Array, axis: int) -> Array:
    """The maximum of each slice along an axis."""
    return jnp.max(square, axis=[i for i in range(square.ndim) if i != axis], initial=0)


@register(example(), example(0.5, 0.9, 1e-3), ranges={"b2": checks.CLOSED_UNIT})
def scale_by_sm3(b1: Scalar = 0.9, b2: Scalar = 1.0, eps: Scalar = 1e-8) -> GradientTransformationExtraArgs:
    """Divide updates by the root of the smallest accumulator that covers them, and average the result.

        s    = b2 min over axes of mu_axis + (1 - b2) |g|^2,  for b2 = 1  min over axes of mu_axis + |g|^2
        nu  <- b1 nu + (1 - b1) g / sqrt(s + eps)
        mu_axis <- max of s over all other axes
        u    = nu

    Args:
      b1: decay of nu, in [0, 1). Usually 0.9.
      b2: decay of the accumulators, in [0, 1]; with 1 they are sums that never decay. Usually 1.0.
      eps: added inside the root, in units of g^2, >= 0. Usually 1e-8.
    State:   nu shaped like params; mu, for each leaf a list of one vector per axis: 4 bytes per float32 parameter.
    Source:  Anil et al. 2019, SM3-II, with momentum.
    """

    def rule(g: Array, mu: list[Array], nu: Array) -> Any:
        least = functools.reduce(jnp.minimum, [_broadcastable(m, i, g.ndim) for i, m in enumerate(mu)])
        # With b2 = 1 the square is added in full.
        share = complement(least, b2)
        share = jnp.where(share == 0, 1, share) if checks.is_array(b2) else share or 1.0
        total = scaled(jnp.broadcast_to(least, g.shape), b2) + scaled(abs_sq(g), share)
        nu = ema(nu, root_ratio(g, total, 0.0, eps), b1)
        return nu, ([_slice_maxima(total, i) for i in range(g.ndim)] or [total], nu)

    def initial(p: Array) -> list[Array]:
        dtype = real_dtype(p.dtype)

        def along(i: int) -> Array:
            return zeros_of_shape(p, (p.shape[i],), dtype, lambda x: _slice_maxima(x, i))

        return list(map(along, range(p.ndim))) or [full_like(p, 0, dtype)]

    # nu has a second moment's name, so it has its dtype too.
    return leafwise(rule, ScaleBySM3State, mu=Slot(init=initial, real=True, free=True), nu=Slot(decay=1.0))


@register(example(0.1), usual={"learning_rate": 0.1})
def sm3(learning_rate: ScalarOrSchedule, momentum: Scalar = 0.9) -> GradientTransformationExtraArgs:
    """SM3: `scale_by_sm3` with b1 = momentum, then `scale_by_learning_rate`.

    Args:
      momentum: decay of the running mean of normalised updates, in [0, 1). Usually 0.9.
    Differs: Optax fails on scalars.
    When:    transformers and large embeddings, with half of Adam's state; a usual learning rate is 0.1.
    """
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))

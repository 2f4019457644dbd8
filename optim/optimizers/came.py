"""CAME: Adafactor whose steps shrink where they are unstable."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from ..checks import NON_NEGATIVE, Range
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import (
    abs_sq,
    ema,
    full,
    full_like,
    like,
    ratio,
    real_dtype,
    rms,
    root,
    root_ratio,
    saturated,
    scaled,
    zeros_of_shape,
)
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, DType, MaskOrFn, Scalar, ScalarOrSchedule, Tree, Updates

_RANGES = {
    "eps": NON_NEGATIVE,
    "eps_confidence": Range(0, means="added to the squared deviation of an update from its mean"),
    "clipping_threshold": Range(0, open_low=True, infinite=True, means="largest root mean square of a leaf's update"),
}


class ScaleByCameState(NamedTuple):
    mu: Updates
    nu_row: Tree
    nu_col: Tree
    nu: Tree
    s_row: Tree
    s_col: Tree


def _start(axis: int | None) -> Callable[[Array], Array]:
    """Initial value of a mean over one of the last two axes, or of the whole second moment where there are no two."""

    def start(p: Array) -> Array:
        dtype, factored = real_dtype(p.dtype), p.ndim >= 2
        if factored and axis is not None:
            shape = tuple(n for i, n in enumerate(p.shape) if i != p.ndim + axis)
            return zeros_of_shape(p, shape, dtype, lambda x: jnp.sum(x, axis=axis))
        return full_like(p, 0, dtype) if not factored and axis is None else full((1,), 0, dtype)

    return start


def _factored_ratio(x: Array, row: Array, col: Array) -> Array:
    """x / sqrt(row col / mean(row))."""
    mean = jnp.broadcast_to(saturated(jnp.mean(row, axis=-1, keepdims=True)), row.shape)
    by_row = x * jnp.expand_dims(ratio(root(mean), root(row)), -1).astype(x.dtype)
    # Multiplied: the derivative of a quotient overflows where the denominator is as small as the root of eps.
    return by_row * jnp.expand_dims(ratio(jnp.ones_like(col), root(col)), -2).astype(x.dtype)


@register(example(), example(0.5, 0.9, 0.99, 1e-6, 1e-4, 0.5), ranges=_RANGES)
def scale_by_came(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: Scalar = 0.9999,
    eps: Scalar = 1e-30,
    eps_confidence: Scalar = 1e-16,
    clipping_threshold: Scalar = 1.0,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Divide by a factored root mean square, average, and divide by the root of the average's factored instability.

        V(x)  = row(x) col(x) / mean(row(x)),  running means of x over the last axis and over the last but one
        u     = g / sqrt(V(|g|^2 + eps)), divided by max(1, rms(u) / clipping_threshold)         decay b2
        mu   <- b1 mu + (1 - b1) u
        u     = mu / sqrt(V(|u - mu|^2 + eps_confidence))                                        decay b3

    Nothing is bias-corrected. Leaves with fewer than two axes have a whole second moment, and their update is mu.

    Args:
      b1, b2, b3: decays of mu and of the two factored means, in [0, 1). Usually 0.9, 0.999 and 0.9999.
      eps: added to |g|^2, >= 0. Usually 1e-30.
      eps_confidence: added to |u - mu|^2, >= 0. Usually 1e-16.
      clipping_threshold: largest root mean square of u before it is averaged, > 0. Usually 1.0.
    State:   mu shaped like params; two pairs of means per matrix, or nu: 4 bytes per float32 parameter of a matrix.
    Source:  Luo et al. 2023, CAME, Alg. 2.
    """

    def rule(g: Array, mu: Array, nu_row: Array, nu_col: Array, nu: Array, s_row: Array, s_col: Array) -> Any:
        if g.size == 0:
            return g, (mu, nu_row, nu_col, nu, s_row, s_col)
        square = abs_sq(g)
        square = saturated(square + like(square, eps))
        if g.ndim >= 2:
            nu_row = ema(nu_row, saturated(jnp.mean(square, axis=-1)), b2)
            nu_col = ema(nu_col, saturated(jnp.mean(square, axis=-2)), b2)
            u = _factored_ratio(g, nu_row, nu_col)
        else:
            nu = ema(nu, square, b2)
            u = root_ratio(g, nu, 0.0)
        size = rms(u)
        u = scaled(u, 1 / jnp.maximum(size / like(size, clipping_threshold), 1))
        mu = ema(mu, u, b1)
        if g.ndim < 2:
            return mu, (mu, nu_row, nu_col, nu, s_row, s_col)
        unstable = abs_sq(u - mu)
        unstable = unstable + like(unstable, eps_confidence)
        s_row = ema(s_row, jnp.mean(unstable, axis=-1), b3)
        s_col = ema(s_col, jnp.mean(unstable, axis=-2), b3)
        return _factored_ratio(mu, s_row, s_col), (mu, nu_row, nu_col, nu, s_row, s_col)

    return leafwise(
        rule,
        ScaleByCameState,
        mu=Slot(dtype=mu_dtype, decay=b1, always_stored=True),
        nu_row=Slot(init=_start(-1), real=True, free=True),
        nu_col=Slot(init=_start(-2), real=True, free=True),
        nu=Slot(init=_start(None), real=True, free=True),
        s_row=Slot(init=_start(-1), real=True, free=True),
        s_col=Slot(init=_start(-2), real=True, free=True),
    )


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), ranges=_RANGES, usual={"learning_rate": 0.0002})
def came(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: Scalar = 0.9999,
    eps: Scalar = 1e-30,
    eps_confidence: Scalar = 1e-16,
    clipping_threshold: Scalar = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """CAME: `scale_by_came`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    transformers for which Adam's second moment takes too much memory; a usual learning rate is 2e-4.
    """
    return chain(
        scale_by_came(b1, b2, b3, eps, eps_confidence, clipping_threshold, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

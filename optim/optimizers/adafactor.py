"""Adafactor: a second moment stored as the outer product of its row means and column means."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import checks
from ..combine.chain import chain
from ..core.record import NamedFunction
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..numerics import (
    full,
    full_like,
    like,
    ratio,
    real_dtype,
    root,
    root_ratio,
    saturated,
    scalar_dtype,
    scaled,
    square,
    zeros_of_shape,
)
from ..transforms.clipping import clip_by_block_rms
from ..transforms.momentum import ema as running_mean
from ..transforms.norms import scale_by_param_block_rms
from ..transforms.scaling import scale, scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Tree


class FactoredState(NamedTuple):
    count: Count
    v_row: Tree
    v_col: Tree
    v: Tree


@NamedFunction
def decay_rate_pow(i: Array, exponent: Scalar = 0.8) -> Array:
    """1 - (i + 1)^-exponent. It is 0 at the first update, so no bias correction is needed."""
    time = jnp.maximum(jnp.asarray(i).astype(scalar_dtype()) + 1, 1)
    return 1 - time ** -like(time, exponent)


_RANGES = {
    "decay_rate": checks.NON_NEGATIVE,
    **dict.fromkeys(["step_offset", "decay_offset"], checks.Range(integer=True)),
    "min_dim_size_to_factor": checks.Range(1, integer=True),
    "epsilon": checks.NON_NEGATIVE,
    "clipping_threshold": checks.Range(0, open_low=True, infinite=True, optional=True),
    "weight_decay_rate": checks.RATE,
}


def _largest_axes(shape: tuple[int, ...], min_size: int) -> tuple[int, int] | None:
    """The axes of the second largest and the largest size; None if the second largest is below `min_size`."""
    if len(shape) < 2:
        return None
    order = [int(i) for i in np.argsort(shape, kind="stable")]
    return (order[-2], order[-1]) if shape[order[-2]] >= min_size else None


@register(
    example(min_dim_size_to_factor=2),
    example(False, 0.5, 1, epsilon=1e-3),
    ranges=_RANGES,
    errors=[(example(decay_rate_fn=0.8), "decay_rate_fn must be a function (step, decay_rate) -> decay, got 0.8")],
)
def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: Scalar = 0.8,
    step_offset: int = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: Scalar = 1e-30,
    decay_rate_fn: Callable[..., Any] = decay_rate_pow,
) -> GradientTransformationExtraArgs:
    """Divide updates by their running root mean square, stored as means over rows and over columns.

        b      = 1 - (t - step_offset)^-decay_rate
        v_row <- b v_row + (1 - b) mean over columns of (|g|^2 + epsilon),  v_col likewise over rows
        u      = g / sqrt(v_row v_col / mean(v_row))

    Rows and columns are the two largest axes. If the smaller of them is below min_dim_size_to_factor, or if factored is
    False, the whole v <- b v + (1 - b) (|g|^2 + epsilon) is stored, and u = g / sqrt(v).

    Args:
      factored: store means over rows and columns; False stores the whole v.
      decay_rate: exponent in b, >= 0. Usually 0.8.
      step_offset: number of steps by which b starts late; until then b is 0. Usually 0.
      min_dim_size_to_factor: smallest size of the two axes for which v is factored, >= 1. Usually 128.
      epsilon: added to |g|^2, in units of g^2, >= 0. Usually 1e-30.
      decay_rate_fn: function (count - step_offset, decay_rate) -> b.
    State:   count; v_row, v_col, v, each of one element where unused: two means per matrix, or 4 bytes per parameter.
    Source:  Shazeer & Stern 2018, Alg. 4, Sec. 7.2.
    Differs: in Optax the updates before step_offset are NaN.
    """
    checks.function("decay_rate_fn", decay_rate_fn, "a function (step, decay_rate) -> decay", arity=2)

    def factored_axes(x: Array) -> tuple[int, int] | None:
        return _largest_axes(x.shape, min_dim_size_to_factor) if factored else None

    def initial(which: int | None) -> Callable[[Array], Array]:
        """Initial value of the mean over one of the two axes, or of the whole v."""

        def start(p: Array) -> Array:
            axes, dtype = factored_axes(p), real_dtype(p.dtype)
            if axes and which is not None:
                shape = tuple(n for i, n in enumerate(p.shape) if i != axes[which])
                return zeros_of_shape(p, shape, dtype, lambda x: jnp.sum(x, axis=axes[which]))
            return full_like(p, 0, dtype) if not axes and which is None else full((1,), 0, dtype)

        return start

    def scalars(t: Count) -> dict[str, Any]:
        decay = jnp.asarray(decay_rate_fn(t - 1 - jnp.asarray(step_offset, t.dtype), decay_rate))
        return {"rate": 1 - decay}

    def rule(g: Array, v_row: Array, v_col: Array, v: Array, rate: Array) -> Any:
        axes = factored_axes(g)

        def average(mean: Array, value: Array) -> Array:
            return mean + scaled(value - mean, rate)

        def floored(value: Array) -> Array:
            return saturated(value + like(value, epsilon))

        if not axes:
            v = average(v, floored(square(g)))
            return root_ratio(g, v, 0.0), (v_row, v_col, v)
        # The mean of |g|^2 + epsilon, with all but the square after the mean: else a GPU writes a matrix to memory.
        d1, d0 = axes
        v_row = average(v_row, floored(jnp.mean(square(g), axis=d0)))
        v_col = average(v_col, floored(jnp.mean(square(g), axis=d1)))
        row_axis = d1 - 1 if d1 > d0 else d1
        # Roots before ratios: the derivative of a ratio of numbers as small as epsilon overflows float32.
        mean = jnp.broadcast_to(saturated(jnp.mean(v_row, axis=row_axis, keepdims=True)), v_row.shape)
        row_scaled = g * jnp.expand_dims(ratio(root(mean), root(v_row)), d0)
        return root_ratio(row_scaled, jnp.expand_dims(v_col, d1), 0.0), (v_row, v_col, v)

    return leafwise(
        rule,
        FactoredState,
        scalars=scalars,
        v_row=Slot(init=initial(1), real=True, free=True),
        v_col=Slot(init=initial(0), real=True, free=True),
        v=Slot(init=initial(None), real=True, free=True),
    )


@register(
    example(0.1, 2),
    example(min_dim_size_to_factor=2, momentum=0.9, weight_decay_rate=0.1, weight_decay_mask=True, eps=1e-3),
    example(0.1, decay_offset=1, multiply_by_parameter_scale=False, clipping_threshold=None, factored=False),
    ranges=_RANGES,
)
def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: Scalar = 0.8,
    decay_offset: int = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Scalar | None = 1.0,
    momentum: Scalar | None = None,
    dtype_momentum: DType = jnp.float32,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: Scalar = 1e-30,
    factored: bool = True,
    weight_decay_mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Adafactor: `scale_by_factored_rms`, `clip_by_block_rms`, the learning rate, `scale_by_param_block_rms`, `ema`.

    Then follow `add_decayed_weights` and the minus sign. A member is left out if its argument is None or False.

    Args:
      decay_offset: step_offset of `scale_by_factored_rms`. Usually 0.
      multiply_by_parameter_scale: multiply each leaf's update by the root mean square of its parameter.
      clipping_threshold: largest root mean square of a leaf's update, > 0; None does not clip. Usually 1.0.
      momentum: decay of a running mean of updates, in [0, 1); None takes no mean.
      dtype_momentum: dtype of this mean.
      weight_decay_rate: as weight_decay, >= 0, but not multiplied by the learning rate; None decays nothing.
      eps: epsilon of `scale_by_factored_rms`, in units of g^2, >= 0. Usually 1e-30.
    Source:  Shazeer & Stern 2018, Alg. 4 and 5.
    When:    transformers for which Adam's moments take too much memory; a usual learning rate is 1e-2, or 1e-3 for
             fine-tuning, relative to the size of the parameters.
    """
    members = [
        scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps),
        identity() if clipping_threshold is None else clip_by_block_rms(clipping_threshold),
        identity() if learning_rate is None else scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_param_block_rms() if multiply_by_parameter_scale else identity(),
    ]
    if momentum is not None:
        members.append(running_mean(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        members.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*members, scale(-1.0))

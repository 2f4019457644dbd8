"""Adafactor: a second moment kept as the outer product of its rows' and columns' means."""

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
from ..numerics import abs_sq, full_like, like, ratio, real_dtype, root, root_ratio, saturated, scalar_dtype, scaled
from ..transforms.clip import clip_by_block_rms
from ..transforms.momentum import ema as mean_of_updates
from ..transforms.norms import scale_by_param_block_rms
from ..transforms.scale import scale, scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Tree


class FactoredState(NamedTuple):
    count: Count
    v_row: Tree
    v_col: Tree
    v: Tree


@NamedFunction
def decay_rate_pow(i: Array, exponent: Scalar = 0.8) -> Array:
    """1 - (i + 1)^-exponent: 0 at the first update, so that it needs no bias correction."""
    time = jnp.maximum(jnp.asarray(i).astype(scalar_dtype()) + 1, 1)
    return 1 - time ** -like(time, exponent)


_RANGES = {
    "decay_rate": checks.NON_NEGATIVE,
    **dict.fromkeys(["step_offset", "decay_offset"], checks.Range(integer=True)),
    "min_dim_size_to_factor": checks.Range(1, integer=True),
    "epsilon": checks.NON_NEGATIVE,
    "clipping_threshold": checks.Range(0, open_low=True, optional=True),
    "weight_decay_rate": checks.RATE,
}


def _largest(shape: tuple[int, ...], least: int) -> tuple[int, int] | None:
    """The axes of the second largest and the largest size, if the former is large enough to factor."""
    if len(shape) < 2:
        return None
    order = [int(i) for i in np.argsort(shape, kind="stable")]
    return (order[-2], order[-1]) if shape[order[-2]] >= least else None


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
    """Divide updates by their root mean square, of which only means over rows and over columns are kept.

        b      = 1 - (t - step_offset)^-decay_rate
        v_row <- b v_row + (1 - b) mean over columns of (|g|^2 + epsilon),  v_col likewise over rows
        u      = g / sqrt(v_row v_col / mean(v_row))

    Rows and columns are the two largest axes; where the smaller of them is less than min_dim_size_to_factor, and
    without factored, v <- b v + (1 - b) (|g|^2 + epsilon) is kept whole, and u = g / sqrt(v).

    Args:    decay_rate >= 0; step_offset: the count at which to begin, before which it counts as the first;
             epsilon >= 0, in units of g^2; decay_rate_fn(count - step_offset, decay_rate) -> b.
    State:   count; v_row, v_col, v: what is not kept has one element. Two means per matrix, or 4 bytes per parameter.
    Source:  Shazeer & Stern 2018, Alg. 4, Sec. 7.2.
    Differs: in Optax the updates before step_offset are NaN.
    """
    checks.function("decay_rate_fn", decay_rate_fn, "a function (step, decay_rate) -> decay", arity=2)

    def axes(x: Array) -> tuple[int, int] | None:
        return _largest(x.shape, min_dim_size_to_factor) if factored else None

    def without(which: int | None) -> Callable[[Array], Array]:
        """Zeros for means over one of the two axes, or for the whole leaf."""

        def start(p: Array) -> Array:
            # Made of the parameter, so that it lives where the parameter does.
            found, zeros = axes(p), full_like(p, 0, real_dtype(p.dtype))
            if which is None:
                return jnp.zeros(1) if found else zeros
            return jnp.sum(zeros, axis=found[which]) if found else jnp.zeros(1)

        return start

    def scalars(t: Count) -> dict[str, Any]:
        decay = jnp.asarray(decay_rate_fn(t - 1 - jnp.asarray(step_offset, t.dtype), decay_rate))
        return {"new": 1 - decay}

    def rule(g: Array, v_row: Array, v_col: Array, v: Array, new: Array) -> Any:
        square, found = abs_sq(g), axes(g)
        square = saturated(square + like(square, epsilon))

        def moved(x: Array, now: Array) -> Array:
            return x + scaled(now - x, new)

        if not found:
            v = moved(v, square)
            return root_ratio(g, v, 0.0), (v_row, v_col, v)
        d1, d0 = found
        v_row = moved(v_row, saturated(jnp.mean(square, axis=d0)))
        v_col = moved(v_col, saturated(jnp.mean(square, axis=d1)))
        across = d1 - 1 if d1 > d0 else d1
        # Roots before ratios: the derivative of a ratio of numbers as small as epsilon leaves the range of float32.
        mean = jnp.broadcast_to(saturated(jnp.mean(v_row, axis=across, keepdims=True)), v_row.shape)
        over_rows = g * jnp.expand_dims(ratio(root(mean), root(v_row)), d0)
        return root_ratio(over_rows, jnp.expand_dims(v_col, d1), 0.0), (v_row, v_col, v)

    return leafwise(
        rule,
        FactoredState,
        scalars=scalars,
        v_row=Slot(init=without(1), real=True, free=True),
        v_col=Slot(init=without(0), real=True, free=True),
        v=Slot(init=without(None), real=True, free=True),
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

    Then `add_decayed_weights`, and minus. What is None, and without multiply_by_parameter_scale the parameter's size,
    is left out.

    Args:    decay_offset: `scale_by_factored_rms`'s step_offset. clipping_threshold > 0. momentum in [0, 1): the
             decay of a mean of updates, in dtype_momentum. weight_decay_rate >= 0, not scaled by the learning rate;
             weight_decay_mask: as in `masked`. eps: its epsilon.
    Source:  Shazeer & Stern 2018, Alg. 4 and 5.
    """
    steps = [
        scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps),
        identity() if clipping_threshold is None else clip_by_block_rms(clipping_threshold),
        identity() if learning_rate is None else scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_param_block_rms() if multiply_by_parameter_scale else identity(),
    ]
    if momentum is not None:
        steps.append(mean_of_updates(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        steps.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*steps, scale(-1.0))

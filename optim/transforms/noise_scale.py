"""The gradient noise scale: how large a batch is worth its cost."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..checks import DECAY, Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import StateScalar, treewise
from ..numerics import convert, ema, hyperparameter, ratio, saturated
from ..types import Array, Count, Scalar


class GradientNoiseScaleState(NamedTuple):
    count: Count
    noise: Array
    signal: Array
    noise_scale: Array


def _bounded(x: Array) -> Array:
    """x, or the finite number of a quarter of the largest size where x is larger: differences stay finite."""
    most = np.finfo(x.dtype).max / 4
    return jnp.clip(x, -most, most)


@register(
    example(64, 8).given(micro_sq_norm=1.0),
    example(64, 8, 0.5).given(micro_sq_norm=2.0),
    ranges={
        "batch_size": Range(1, open_low=True, means="number of examples in the gradient that comes in"),
        "micro_batch_size": Range(0, open_low=True, means="number of examples in each of its parts"),
        "decay": DECAY,
    },
    exceptions={"independent": "it does not change updates"},
    errors=[(example(8, 8), "micro_batch_size must be less than batch_size = 8, got 8")],
)
def gradient_noise_scale(
    batch_size: Scalar, micro_batch_size: Scalar, decay: Scalar = 0.99
) -> GradientTransformationExtraArgs:
    """Measure the gradient noise scale, the batch size beyond which steps stop improving; updates pass unchanged.

        noise  <- decay noise + (1 - decay) (s - |g|^2) / (1 / b - 1 / B)      B: batch_size, b: micro_batch_size
        signal <- decay signal + (1 - decay) (B |g|^2 - b s) / (B - b)         s: micro_sq_norm, |g|: global norm
        noise_scale = noise / signal

    Put it first in a chain. update needs micro_sq_norm=..., the mean of the squared global norms of the gradients of
    the micro-batches, or of the devices' parts, whose mean is g. `inspect` reports noise_scale.

    Args:
      batch_size: number of examples in g, > 1.
      micro_batch_size: number of examples in each part, > 0 and less than batch_size.
      decay: decay of both means, in [0, 1). Usually 0.99.
    State:   count; noise, signal, noise_scale: scalars. noise_scale is 0 while the estimate of signal is not positive.
    Source:  McCandlish et al. 2018, App. A.1.
    """
    concrete = all(map(checks.is_number, (batch_size, micro_batch_size)))
    if concrete and micro_batch_size >= batch_size:
        checks.fail(f"micro_batch_size must be less than batch_size = {batch_size}, got {micro_batch_size}")

    def scalars(updates: Any, micro_sq_norm: Any, noise: Array, signal: Array) -> dict[str, Array]:
        large, small = hyperparameter(batch_size), hyperparameter(micro_batch_size)
        whole = convert(saturated(jnp.asarray(tree.sum_sq(updates))), noise.dtype)
        parts = convert(hyperparameter(micro_sq_norm), noise.dtype)
        difference = _bounded(parts - whole)
        apart = _bounded(difference / convert(1 / small - 1 / large, noise.dtype))
        left = _bounded(whole - difference * convert(small / (large - small), noise.dtype))
        noise, signal = _bounded(ema(noise, apart, decay)), _bounded(ema(signal, left, decay))
        return {"noise": noise, "signal": signal, "noise_scale": ratio(noise, signal)}

    values = {name: StateScalar() for name in ("noise", "signal", "noise_scale")}
    return treewise(lambda g: g, GradientNoiseScaleState, scalars=scalars, **values)

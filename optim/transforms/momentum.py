"""Decaying sums and running means of updates."""

from typing import Any, NamedTuple

from .. import checks, numerics
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..types import Array, Count, DType, Scalar, Updates


class TraceState(NamedTuple):
    trace: Updates


class EmaState(NamedTuple):
    count: Count
    ema: Updates


@register(
    example(0.9),
    example(0.9, nesterov=True),
    example(0.9, accumulator_dtype="float32"),
    ranges={"decay": checks.CLOSED_UNIT},
    exceptions={"precision": "a sum of 1 / (1 - decay) gradients is rounded at its own size, not the update's"},
    usual={"decay": 0.9},
)
def trace(decay: Scalar, nesterov: bool = False, accumulator_dtype: DType = None) -> GradientTransformationExtraArgs:
    """Replace updates by a decaying sum of them.

        s <- decay s + g
        u  = s,  or with nesterov  g + decay s

    Args:
      decay: decay of s, in [0, 1]. Usually 0.9.
      accumulator_dtype: dtype of s; None keeps the parameter's.
      nesterov: whether to look one step ahead, as in Nesterov's accelerated gradient.
    State:   trace (s) shaped like params, zero at first: 4 bytes per float32 parameter.
    Source:  Sutskever et al. 2013, Eqs. 1 and 3, with the learning rate applied after.
    """

    def rule(g: Array, trace: Array) -> Any:
        s = g + numerics.decayed(trace, decay)
        return (g + numerics.scaled(s, decay) if nesterov else s), s

    return elementwise(rule, TraceState, trace=Slot(dtype=accumulator_dtype, decay=decay, always_stored=True))


@register(example(0.9), example(0.9, debias=False), example(0.999, accumulator_dtype="float32"), usual={"decay": 0.999})
def ema(decay: Scalar, debias: bool = True, accumulator_dtype: DType = None) -> GradientTransformationExtraArgs:
    """Replace updates by a running mean of them.

        m <- decay m + (1 - decay) g
        u  = m / (1 - decay^t),  or without debias  m

    Args:
      decay: decay of m, in [0, 1). Usually 0.9.
      debias: whether to correct m for its start at zero.
      accumulator_dtype: dtype of m; None keeps the parameter's, at least float32 for decay > 0.99.
    State:   count; ema (m) shaped like params: 4 bytes per float32 parameter.
    """

    def rule(g: Array, ema: Array, t: Count) -> Any:
        m = numerics.ema(ema, g, decay)
        return (numerics.debias(m, decay, t) if debias else m), m

    return elementwise(rule, EmaState, ema=Slot(dtype=accumulator_dtype, decay=decay))

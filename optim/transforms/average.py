"""Averages of the parameters, for evaluation."""

from typing import Any, NamedTuple

from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import ema, real_dtype, scaled
from ..tree import cast_like
from ..types import Array, Count, DType, Params, Scalar


class AverageParamsState(NamedTuple):
    count: Count
    average: Params


@register(example(), example(0.999), example(0.9, accumulator_dtype="float32"))
def average_params(decay: Scalar | None = None, accumulator_dtype: DType = None) -> GradientTransformationExtraArgs:
    """Keep an average of the parameters; updates pass through unchanged.

        a <- decay a + (1 - decay) (p + u),  or without decay  a + (p + u - a) / t

    Put it last in a chain, so that it averages the parameters after the whole update. `eval_params` returns the
    average, which starts as a copy of the parameters.

    Args:
      decay: decay of the average, in [0, 1), usually 0.999 to 0.9999; None takes the mean of all parameters so far.
      accumulator_dtype: dtype of the average; None keeps the parameter's, at least float32 without decay or above 0.99.
    State:   count; average shaped like params: 4 bytes per float32 parameter.
    Source:  Polyak & Juditsky 1992, Eq. 7.
    """

    def rule(g: Array, p: Array, average: Array, t: Count) -> Any:
        new = p + g
        if decay is None:
            return g, average + scaled(new - average, 1 / t.astype(real_dtype(g.dtype)))
        return g, ema(average, new, decay)

    slot = Slot(init=lambda p: p, dtype=accumulator_dtype, decay=1.0 if decay is None else decay, always_stored=True)
    tx = elementwise(rule, AverageParamsState, average=slot)
    return tx.declaring(evaluates=lambda state, params: cast_like(state.average, params))

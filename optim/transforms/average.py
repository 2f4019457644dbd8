"""Averages of the parameters, to evaluate with."""

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
    """Keep an average of the parameters, and let updates pass; the last member of a chain.

        a <- decay a + (1 - decay) (p + u),  or without decay  a + (p + u - a) / t

    `eval_params` gives the average. At first it is the parameters.

    Args:    decay in [0, 1), or None for the mean of all parameters so far; accumulator_dtype: the dtype of the
             average, by default the parameter's, but at least float32 for decay > 0.99 and for the mean.
    State:   count; average shaped like params: 4 bytes per float32 parameter.
    Source:  Polyak & Juditsky 1992, Eq. 7.
    """

    def rule(g: Array, p: Array, average: Array, t: Count) -> Any:
        new = p + g
        if decay is None:
            return g, average + scaled(new - average, 1 / t.astype(real_dtype(g.dtype)))
        return g, ema(average, new, decay)

    kept = Slot(init=lambda p: p, dtype=accumulator_dtype, decay=1.0 if decay is None else decay, always_stored=True)
    tx = elementwise(rule, AverageParamsState, average=kept)
    return tx.declaring(evaluates=lambda state, params: cast_like(state.average, params))

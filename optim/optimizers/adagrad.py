"""Adagrad: divide by the root of the sum of all squared gradients."""

from typing import Any, NamedTuple

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, root_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Scalar, ScalarOrSchedule, Updates


class ScaleByRssState(NamedTuple):
    sum_of_squares: Updates


@register(example(), example(0.0, 1e-3), example(0.0, 0.0))
def scale_by_rss(initial_accumulator_value: Scalar = 0.1, eps: Scalar = 1e-7) -> GradientTransformationExtraArgs:
    """Divide updates by the root of the sum of all their squares, with eps inside the root.

        s <- s + |g|^2
        u  = g / sqrt(s + eps), 0 where s is 0

    Args:
      initial_accumulator_value: initial s, in units of g^2, >= 0. Usually 0.1.
      eps: added inside the root, in units of g^2, >= 0. Usually 1e-7.
    State:   sum_of_squares (s) shaped like params: 4 bytes per float32 parameter.
    Source:  Duchi et al. 2011, Fig. 1, diagonal form.
    """

    def rule(g: Array, sum_of_squares: Array) -> Any:
        s = sum_of_squares + abs_sq(g)
        return root_ratio(g, s, 0.0, eps), s

    return elementwise(
        rule, ScaleByRssState, sum_of_squares=Slot(init=initial_accumulator_value, real=True, non_negative=True)
    )


@register(example(), example(0.1, 1e-3), example(0.0, 0.0))
def scale_by_adagrad(initial_accumulator_value: Scalar = 0.0, eps: Scalar = 1e-7) -> GradientTransformationExtraArgs:
    """Divide updates by the root of the sum of all their squares, with eps outside the root.

        s <- s + |g|^2
        u  = g / (sqrt(s) + eps)

    Args:
      initial_accumulator_value: initial s, in units of g^2, >= 0. Usually 0.
      eps: added outside the root, in units of g, >= 0. Usually 1e-7.
    State:   `ScaleByRssState`: 4 bytes per float32 parameter.
    Source:  Duchi et al. 2011, Fig. 1: H = delta I + diag(G)^(1/2). Keras and PyTorch use it.
    """

    def rule(g: Array, sum_of_squares: Array) -> Any:
        s = sum_of_squares + abs_sq(g)
        return root_ratio(g, s, eps), s

    return elementwise(
        rule, ScaleByRssState, sum_of_squares=Slot(init=initial_accumulator_value, real=True, non_negative=True)
    )


@register(example(0.1), usual={"learning_rate": 0.01})
def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: Scalar = 0.1, eps: Scalar = 1e-7
) -> GradientTransformationExtraArgs:
    """Adagrad: `scale_by_rss`, then `scale_by_learning_rate`.

    When:    sparse features such as bags of words, and convex problems; a usual learning rate is 1e-2 to 0.1.
    """
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))

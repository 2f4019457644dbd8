"""Adadelta: steps in the units of past steps."""

from typing import Any, NamedTuple

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, ema, like, root, root_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, MaskOrFn, Scalar, ScalarOrSchedule, Updates


class ScaleByAdaDeltaState(NamedTuple):
    e_g: Updates
    e_x: Updates


_FEEDBACK = {"precision": "each step's size depends on earlier steps, so rounding errors add up and never decay"}


@register(example(), example(0.95, 1e-3), example(eps=0.0), exceptions=_FEEDBACK)
def scale_by_adadelta(rho: Scalar = 0.9, eps: Scalar = 1e-6) -> GradientTransformationExtraArgs:
    """Multiply updates by the ratio of two running root mean squares: of past outputs and of gradients.

        e_g <- rho e_g + (1 - rho) |g|^2
        u    = g sqrt(e_x + eps) / sqrt(e_g + eps)
        e_x <- rho e_x + (1 - rho) |u|^2

    Args:
      rho: decay of e_g and e_x, in [0, 1). Usually 0.9.
      eps: added inside both roots, >= 0. Usually 1e-6; it sets the size of the first steps.
    State:   e_g, e_x shaped like params: 8 bytes per float32 parameter.
    Source:  Zeiler 2012, Alg. 1.
    """

    def rule(g: Array, e_g: Array, e_x: Array) -> Any:
        e_g = ema(e_g, abs_sq(g), rho)
        u = root_ratio(g * root(e_x + like(e_x, eps)), e_g, 0.0, eps)
        return u, (e_g, ema(e_x, abs_sq(u), rho))

    return elementwise(
        rule, ScaleByAdaDeltaState, e_g=Slot(real=True, non_negative=True), e_x=Slot(real=True, non_negative=True)
    )


@register(example(), example(0.1, weight_decay=0.1, weight_decay_mask=True), exceptions=_FEEDBACK)
def adadelta(
    learning_rate: ScalarOrSchedule | None = None,
    rho: Scalar = 0.9,
    eps: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Adadelta: `add_decayed_weights`, `scale_by_adadelta`, then `scale_by_learning_rate`.

    The weight decay is added before the scaling, so it is scaled too.

    Args:
      learning_rate: a number or a schedule, >= 0; None leaves the sign as it is, so updates point uphill. Usually 1.0.
    When:    training without tuning a learning rate; 1.0 is usual.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )

"""Weight decay: a multiple of the parameters, added to the updates."""

from typing import NamedTuple

import jax.numpy as jnp

from ..combine.masked import masked
from ..core.registry import example, register
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise
from ..numerics import scaled, scheduled
from ..schedules import inverse_time_decay
from ..types import Array, Count, MaskOrFn, ScalarOrSchedule

AddDecayedWeightsState = EmptyState


class WeightDecaySchedule(NamedTuple):
    count: Count


@register(example(0.1), example(inverse_time_decay(0.1, 1, 0.5)), example(0.1, mask=True))
def add_decayed_weights(weight_decay: ScalarOrSchedule = 0.0, mask: MaskOrFn = None) -> GradientTransformationExtraArgs:
    """Add weight_decay p to the updates.

    Args:
      weight_decay: coefficient of the decay, >= 0: a number, an array of shape (), or a schedule. Usually 1e-4 to 0.1.
      mask: the parameters that decay, as in `masked`; None decays all of them.
    State:   empty; `WeightDecaySchedule(count)` for a schedule; `MaskedState` around it with a mask.
    Source:  Loshchilov & Hutter 2019, Alg. 2, line 12, before the learning rate.
    """
    if callable(weight_decay):

        def scalars(t: Count) -> dict[str, Array]:
            return {"decay": scheduled(weight_decay, t - jnp.ones_like(t))}

        tx = elementwise(lambda g, p, decay: g + scaled(p, decay), WeightDecaySchedule, scalars=scalars)
    else:
        tx = elementwise(lambda g, p: g + scaled(p, weight_decay))
    return tx if mask is None else masked(tx, mask)

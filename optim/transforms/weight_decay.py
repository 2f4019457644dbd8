"""Weight decay: a multiple of the parameters, added to the updates."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..combine.masked import masked
from ..core.registry import example, register
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import StateScalar, elementwise
from ..numerics import at, ratio, scaled, scheduled
from ..schedules import inverse_time_decay
from ..types import Array, Count, MaskOrFn, Scalar, ScalarOrSchedule

AddDecayedWeightsState = EmptyState

Mode = Literal["plain", "cautious", "corrected"]


class WeightDecaySchedule(NamedTuple):
    count: Count


class CorrectedWeightDecayState(NamedTuple):
    count: Count
    max_learning_rate: Array


RANGES = {"max_learning_rate": checks.Range(0, open_low=True, means="the largest learning rate")}


@register(
    example(0.1),
    example(inverse_time_decay(0.1, 1, 0.5)),
    example(0.1, mask=True),
    example(0.1, mode="cautious"),
    example(0.1, mode="corrected", learning_rate=inverse_time_decay(0.1, 1, 0.5)),
    ranges=RANGES,
    errors=[
        (example(0.1, mode="careful"), "mode must be 'plain', 'cautious' or 'corrected', got 'careful'"),
        (example(0.1, mode="corrected"), "mode 'corrected' needs the learning rate of the optimizer"),
        (example(0.1, learning_rate=0.1), "learning_rate is for mode 'corrected', got mode 'plain'"),
    ],
)
def add_decayed_weights(
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    mode: Mode = "plain",
    *,
    learning_rate: ScalarOrSchedule | None = None,
    max_learning_rate: Scalar | None = None,
) -> GradientTransformationExtraArgs:
    """Add weight_decay p to the updates, everywhere or where the update shrinks the weight.

        plain:      u + w p                          w: weight_decay
        cautious:   u + w p where u p >= 0, u elsewhere
        corrected:  u + w c p,  c = learning_rate / max_learning_rate at this update

    Put it before the learning rate, which decays the weights too; after it the decay is independent of it.

    Args:
      weight_decay: coefficient of the decay, >= 0: a number, an array of shape (), or a schedule. Usually 1e-4 to 0.1.
      mask: the parameters that decay, as in `masked`; None decays all of them.
      mode: "plain", "cautious" or "corrected". Usually "plain"; u of "cautious" is what will be subtracted.
      learning_rate: the optimizer's learning rate, for "corrected".
      max_learning_rate: its largest value, > 0; None takes the largest so far, which in a warm-up makes c 1.
    State:   empty; `WeightDecaySchedule(count)` for a schedule; CorrectedWeightDecayState(count, max_learning_rate) for
             "corrected"; `MaskedState` around it with a mask.
    Source:  Loshchilov & Hutter 2019, Alg. 2, line 12; cautious: 2510.12402, Alg. 1; corrected: Defazio 2025, AdamC.
    """
    checks.choice("mode", mode, ("plain", "cautious", "corrected"))
    if mode == "corrected" and learning_rate is None:
        checks.fail("mode 'corrected' needs the learning rate of the optimizer: add_decayed_weights(w, learning_rate=)")
    for name, given in (("learning_rate", learning_rate), ("max_learning_rate", max_learning_rate)):
        if mode != "corrected" and given is not None:
            checks.fail(f"{name} is for mode 'corrected', got mode {mode!r}")
    if mode == "corrected":
        tx = _corrected(weight_decay, learning_rate, max_learning_rate)
    else:
        tx = _decay(weight_decay, mode)
    return tx if mask is None else masked(tx, mask)


def _decay(weight_decay: ScalarOrSchedule, mode: Mode) -> GradientTransformationExtraArgs:
    def decayed(g: Array, p: Array, decay: Any) -> Array:
        # Not g p, which may be rounded to 0.
        chosen = p * (jnp.sign(g) * jnp.sign(p) >= 0).astype(p.dtype) if mode == "cautious" else p
        return g + scaled(chosen, decay)

    if callable(weight_decay):

        def scalars(t: Count) -> dict[str, Array]:
            return {"decay": scheduled(weight_decay, t - jnp.ones_like(t))}

        return elementwise(lambda g, p, decay: decayed(g, p, decay), WeightDecaySchedule, scalars=scalars)
    return elementwise(lambda g, p: decayed(g, p, weight_decay))


def _corrected(weight_decay: Any, learning_rate: Any, largest: Scalar | None) -> GradientTransformationExtraArgs:
    def scalars(t: Count, max_learning_rate: Array) -> dict[str, Array]:
        rate = at(learning_rate, t)
        bound = jnp.maximum(max_learning_rate, rate) if largest is None else at(largest, t)
        return {"decay": at(weight_decay, t) * ratio(rate, bound), "max_learning_rate": bound}

    return elementwise(
        lambda g, p, decay: g + scaled(p, decay),
        CorrectedWeightDecayState,
        scalars=scalars,
        max_learning_rate=StateScalar(),
    )

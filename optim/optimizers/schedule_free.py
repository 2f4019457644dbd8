"""Schedule-free learning: averaging in place of a decaying learning rate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks
from ..checks import Range
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot, StateScalar
from ..lift.wrap import wrap
from ..numerics import at, hyperparameter, like, ratio, safe_increment, scaled
from ..schedules import inverse_time_decay, linear_schedule
from ..transforms.scale import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, OptState, Params, Scalar, ScalarOrSchedule, TransformationLike
from .rms import scale_by_rms
from .sgd import sgd


class ScheduleFreeState(NamedTuple):
    b1: Array
    weight_sum: Array
    step_count: Count
    max_lr: Array
    base_optimizer_state: OptState
    z: Params


_RANGES = {
    "b1": Range(0, 1, open_low=True),
    "weight_lr_power": checks.NON_NEGATIVE,
    "warmup_steps": checks.STEPS,
}


@register(
    example(sgd(0.1), 0.1),
    example(sgd(0.1, momentum=0.5), inverse_time_decay(0.1, 1, 0.5), 0.5, 1.0, state_dtype="float32"),
    ranges=_RANGES,
    errors=[(example(sgd, 0.1), "base_optimizer must be a transformation (init, update), got the function sgd")],
)
def schedule_free(
    base_optimizer: TransformationLike,
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    weight_lr_power: Scalar = 2.0,
    state_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Take the gradient between what the base optimizer moves and the average of where it was.

        z' = z + base(g)                        g at p = (1 - b1) z + b1 x; z and x start where p does
        w  = max_lr^weight_lr_power             max_lr is the largest learning rate so far
        x' = (1 - c) x + c z',                  c = w / (the sum of all w)
        u  = (1 - b1) z' + b1 x' - p

    The gradient's place p is the parameters; x, to evaluate with, is `schedule_free_eval_params`.

    Args:    base_optimizer: a transformation that has its learning rate; momentum is what b1 is for. learning_rate: the
             same again, >= 0. b1 in (0, 1]: at 0 nothing would be averaged. weight_lr_power >= 0. state_dtype: the
             dtype of z, by default the parameter's, at least float32.
    State:   b1, weight_sum, step_count (1 before the first update), max_lr, the base optimizer's, z shaped like params:
             4 bytes per float32 parameter. x is not stored: bfloat16 parameters round it at every step.
    Raises:  TypeError for a base that is no (init, update) pair.
    Source:  Defazio et al. 2024, Sec. 1, and Alg. 1 for the weights.
    Differs: Optax weighs an update with the schedule's next learning rate, here it is the one the base optimizer uses.
    """

    def scalars(weight_sum: Array, step_count: Count, max_lr: Array) -> dict[str, Array]:
        largest = jnp.maximum(hyperparameter(max_lr), at(learning_rate, step_count))
        weight = largest ** hyperparameter(weight_lr_power)
        total = hyperparameter(weight_sum) + weight
        share = ratio(weight, total)
        return {
            "b1": hyperparameter(b1),
            "weight_sum": total,
            "step_count": safe_increment(step_count),
            "max_lr": largest,
            "share": share,
            "beyond": (1 - share) * (1 - like(share, b1)),
        }

    def rule(u: Array, p: Array, z: Array, share: Array, beyond: Array) -> Any:
        # x is (p - (1 - b1) z) / b1. Put into the formula, no division is left, and nothing that cancels.
        z = z + u
        return scaled(z - p, share) + scaled(u, beyond), z

    member = taking_extra_args(base_optimizer, "base_optimizer")
    return wrap(
        member,
        rule,
        ScheduleFreeState,
        scalars=scalars,
        evaluate=_average,
        b1=StateScalar(lambda _: hyperparameter(b1)),
        weight_sum=StateScalar(),
        step_count=StateScalar(1, jnp.int32),
        max_lr=StateScalar(),
        z=Slot(init=lambda p: p, dtype=state_dtype, decay=1.0),
    )


def _average(p: Array, z: Array, b1: Array) -> Array:
    """x, between y (the parameters) and z."""
    return p + scaled(p - z, ratio(1 - b1, b1))


def schedule_free_eval_params(state: OptState, params: Params) -> Params:
    """The average x to evaluate with, from the state of `schedule_free`, alone or within another.

        x = p + (1 - b1) / b1 (p - z)

    Raises:  ValueError where the state has no ScheduleFreeState, or several.
    """
    found = [s for s in jax.tree.leaves(state, is_leaf=_is_state) if _is_state(s)]
    if len(found) != 1:
        checks.fail(f"schedule_free_eval_params needs one ScheduleFreeState in its state, got {len(found)}")
    (own,) = found
    evaluates = schedule_free(identity(), 0.0).facts.evaluates
    assert evaluates is not None
    return evaluates(own, params)


def _is_state(x: Any) -> bool:
    return getattr(x, "_fields", None) == ScheduleFreeState._fields


def _warmed(learning_rate: ScalarOrSchedule, warmup_steps: int | None) -> ScalarOrSchedule:
    """The learning rate, reached in a line from 0."""
    if warmup_steps is None or (checks.is_number(warmup_steps) and warmup_steps == 0):
        return learning_rate
    if callable(learning_rate):
        checks.fail("learning_rate must be a number with warmup_steps, got a schedule; let that warm up", TypeError)
    return linear_schedule(0.0, learning_rate, warmup_steps)


@register(
    example(),
    example(0.1, 3, 0.5, 0.9, 1e-3, weight_decay=0.1, weight_lr_power=1.0),
    ranges=_RANGES,
    errors=[(example(inverse_time_decay(0.1, 1, 0.5), 3), "learning_rate must be a number with warmup_steps")],
)
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    warmup_steps: int | None = None,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: Scalar = 2.0,
    state_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Schedule-free AdamW: `schedule_free` on bias-corrected `scale_by_rms` with `add_decayed_weights`.

    Args:    b2 in [0, 1); warmup_steps: in how many updates the learning rate rises from 0, None and 0 for none.
    Source:  Defazio et al. 2024, Alg. 1.
    Differs: 0 warmup_steps in Optax are a learning rate of 0.
    """
    rate = _warmed(learning_rate, warmup_steps)
    base = chain(
        scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(rate),
    )
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)


@register(example(0.1), example(0.1, 3, 0.5, 0.1, 1.0), ranges=_RANGES)
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    warmup_steps: int | None = None,
    b1: Scalar = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: Scalar = 2.0,
    state_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Schedule-free gradient descent: `schedule_free` on `sgd`, with warmup_steps as in `schedule_free_adamw`."""
    rate = _warmed(learning_rate, warmup_steps)
    base = sgd(rate) if weight_decay is None else chain(add_decayed_weights(weight_decay), sgd(rate))
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)

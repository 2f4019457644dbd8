"""Schedule-free learning: averaged iterates instead of a decaying learning rate."""

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
from ..schedules import inverse_time_decay
from ..schedules.progress import schedule, since
from ..transforms.scaling import scale_by_learning_rate
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
    """Evaluate the gradient between the base optimizer's iterate z and its running average x.

        z' = z + base(g)                        g at p = (1 - b1) z + b1 x; z and x start where p does
        w  = max_lr^weight_lr_power             max_lr is the largest learning rate so far
        x' = (1 - c) x + c z',                  c = w / (the sum of all w)
        u  = (1 - b1) z' + b1 x' - p

    The parameters are p, the point of the gradients; `schedule_free_eval_params` returns x, to evaluate the model with.

    Args:
      base_optimizer: a transformation that applies the learning rate, without momentum, since b1 takes its place.
      learning_rate: the same learning rate as the base optimizer's, >= 0, or a schedule.
      b1: weight of x in p, in (0, 1]; at 0 nothing would be averaged. Usually 0.9.
      weight_lr_power: exponent in w, >= 0. Usually 2.
      state_dtype: dtype of z; None keeps the parameter's, at least float32.
    State:   b1, weight_sum, step_count (1 before the first update), max_lr, base_optimizer_state, z shaped like params:
             4 bytes per float32 parameter. x is not stored: bfloat16 parameters round it at every step.
    Raises:  TypeError if base_optimizer is not an (init, update) pair.
    Source:  Defazio et al. 2024, Sec. 1, and Alg. 1 for the weights.
    Differs: Optax computes w from the schedule's next learning rate, not from the base optimizer's current one.
    When:    training without a fixed number of steps; a usual learning rate is 1 to 10 times that of a schedule.
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
            "z_factor": (1 - share) * (1 - like(share, b1)),
        }

    def rule(u: Array, p: Array, z: Array, share: Array, z_factor: Array) -> Any:
        # The formula with x = (p - (1 - b1) z) / b1 put in: it needs no division, and nothing cancels.
        z = z + u
        return scaled(z - p, share) + scaled(u, z_factor), z

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
    """The average x, from the parameters p and z."""
    return p + scaled(p - z, ratio(1 - b1, b1))


def schedule_free_eval_params(state: OptState, params: Params) -> Params:
    """The average x to evaluate with, from the state of `schedule_free` or a state that contains it.

        x = p + (1 - b1) / b1 (p - z)

    Raises:  ValueError if the state contains no ScheduleFreeState, or several.
    """
    states = [s for s in jax.tree.leaves(state, is_leaf=_is_state) if _is_state(s)]
    if len(states) != 1:
        checks.fail(f"schedule_free_eval_params needs one ScheduleFreeState in its state, got {len(states)}")
    evaluates = schedule_free(identity(), 0.0).facts.evaluates
    assert evaluates is not None
    return evaluates(states[0], params)


def _is_state(x: Any) -> bool:
    return getattr(x, "_fields", None) == ScheduleFreeState._fields


def _warmed(learning_rate: ScalarOrSchedule, warmup_steps: int | None) -> ScalarOrSchedule:
    """The learning rate after a linear warm-up, whose n-th update has n / warmup_steps of it."""
    if warmup_steps is None or (checks.is_number(warmup_steps) and warmup_steps == 0):
        return learning_rate
    if callable(learning_rate):
        checks.fail(
            "learning_rate must be a number if warmup_steps is given, got a schedule; put the warm-up into it",
            TypeError,
        )
    return schedule(
        lambda n, rate, steps: rate * jnp.minimum((since(n, 0) + 1) / steps, 1), learning_rate, warmup_steps
    )


@register(
    example(),
    example(0.1, 3, 0.5, 0.9, 1e-3, weight_decay=0.1, weight_lr_power=1.0),
    ranges=_RANGES,
    errors=[(example(inverse_time_decay(0.1, 1, 0.5), 3), "learning_rate must be a number if warmup_steps is given")],
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
    """Schedule-free AdamW: `schedule_free` around bias-corrected `scale_by_rms` with `add_decayed_weights`.

    Args:
      warmup_steps: number n of updates with learning rates of 1/n, 2/n, ... of learning_rate, >= 0; 0 or None for no
        warm-up.
      b2: decay of the second moment, in [0, 1). Usually 0.999.
      eps: added to the root, in units of g, >= 0. Usually 1e-8.
    Source:  Defazio et al. 2024, Alg. 1.
    Differs: the warm-up of Optax starts at 0, so that its first update has no effect, and with warmup_steps = 0 stays
             there.
    When:    networks that AdamW trains, without a fixed number of steps; a usual learning rate is 2.5e-3.
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
    """Schedule-free gradient descent: `schedule_free` around `add_decayed_weights` and `sgd`.

    Args:
      warmup_steps: number n of updates with learning rates of 1/n, 2/n, ... of learning_rate, >= 0; 0 or None for no
        warm-up.
    Source:  Defazio et al. 2024, Sec. 1, and Alg. 1 for the warm-up.
    Differs: the warm-up of Optax starts at 0.
    When:    networks that SGD with momentum trains, without a fixed number of steps; a usual learning rate is 1.0.
    """
    rate = _warmed(learning_rate, warmup_steps)
    base = sgd(rate) if weight_decay is None else chain(add_decayed_weights(weight_decay), sgd(rate))
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)

"""Reduce the learning rate where the loss stops falling."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..checks import CLOSED_UNIT, NON_NEGATIVE, STEPS, Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import StateScalar, elementwise
from ..numerics import convert, like, loss, scaled
from ..types import Array, Count, Scalar


class ReduceLROnPlateauState(NamedTuple):
    scale: Array
    best_value: Array
    plateau_count: Count
    cooldown_count: Count
    count: Count
    avg_value: Array


@register(
    example(0.5, patience=2, cooldown=1).given(value=1.0),
    example(0.5, 1, min_scale=0.1, atol=0.1).given(value=1.0),
    ranges={
        "factor": Range(0, 1, open_low=True, open_high=True),
        "patience": STEPS,
        "rtol": CLOSED_UNIT,
        "atol": NON_NEGATIVE,
        "cooldown": STEPS,
        "accumulation_size": Range(1, integer=True),
        "min_scale": NON_NEGATIVE,
    },
    exceptions={
        "golden": "it needs the loss of every step: see tests/units/test_wrappers_others.py",
        "inspect": "its count is of values, not of updates",
    },
    errors=[(example(rtol=0.0), "at least one of rtol and atol must be positive, got 0.0 and 0.0")],
)
def reduce_on_plateau(
    factor: Scalar = 0.1,
    patience: Scalar = 10,
    rtol: Scalar = 1e-4,
    atol: Scalar = 0.0,
    cooldown: Scalar = 0,
    accumulation_size: Scalar = 1,
    min_scale: Scalar = 0.0,
) -> GradientTransformationExtraArgs:
    """Multiply updates by a scale that shrinks by `factor` whenever the loss has stopped falling.

        better: value < best - rtol |best| - atol
        scale <- factor scale      after `patience` values in a row that are not better

    The loss is the extra argument `value` of update.

    Args:
      factor: multiplies the scale, in (0, 1). Usually 0.1 to 0.5.
      patience: values without improvement before the scale shrinks, an integer >= 0. Usually 5 to 10.
      rtol, atol: smallest improvement, relative in [0, 1] and absolute >= 0, not both 0. Usually 1e-4 and 0.
      cooldown: values ignored after the scale has shrunk, an integer >= 0. Usually 0.
      accumulation_size: values averaged into one before they are compared, an integer >= 1. Usually 1.
      min_scale: lower bound of the scale, >= 0. Usually 0.
    State:   ReduceLROnPlateauState(scale, best_value, plateau_count, cooldown_count, count, avg_value): scalars.
    Differs: Optax compares with (1 - rtol) best - atol, which every negative loss is below, so that its scale never
             shrinks; its patience of 0 acts once, at the first value, and here it equals a patience of 1.
    When:    after an optimizer with a constant learning rate, if a validation loss is at hand.
    """
    if all(checks.is_number(x) and x == 0 for x in (rtol, atol)):
        checks.fail(f"at least one of rtol and atol must be positive, got {rtol} and {atol}")

    def scalars(
        value: Any,
        scale: Array,
        best_value: Array,
        plateau_count: Count,
        cooldown_count: Count,
        count: Count,
        avg_value: Array,
    ) -> dict[str, Array]:
        value = convert(loss(value), avg_value.dtype)
        count = count + 1
        avg_value = avg_value + (value - avg_value) / count.astype(value.dtype)
        complete = count >= accumulation_size
        # `best_value` is infinite at first, and inf - rtol * inf is NaN.
        margin = jnp.where(jnp.isfinite(best_value), like(value, rtol) * jnp.abs(best_value) + like(value, atol), 0)
        better = avg_value < best_value - margin
        stuck = jnp.where(better | (cooldown_count > 0), 0, plateau_count + 1)
        falls = (stuck >= patience) & (stuck > 0)
        fallen = jnp.maximum(scale * like(value, factor), like(value, min_scale))
        new = {
            "scale": jnp.where(falls, fallen, scale),
            "best_value": jnp.where(better, avg_value, best_value),
            "plateau_count": jnp.where(falls, 0, stuck),
            "cooldown_count": jnp.where(falls, cooldown, jnp.maximum(cooldown_count - 1, 0)),
        }
        old = {
            "scale": scale,
            "best_value": best_value,
            "plateau_count": plateau_count,
            "cooldown_count": cooldown_count,
        }
        out = {name: jnp.where(complete, new[name].astype(old[name].dtype), old[name]) for name in new}
        out["count"] = jnp.where(complete, 0, count)
        out["avg_value"] = jnp.where(complete, 0, avg_value)
        return out

    counts = {name: StateScalar(0, jnp.int32) for name in ("plateau_count", "cooldown_count", "count")}
    values = {name: StateScalar(x) for name, x in (("scale", 1.0), ("best_value", jnp.inf), ("avg_value", 0.0))}
    declared = {**counts, **values}
    tx = elementwise(lambda g, scale: scaled(g, scale), ReduceLROnPlateauState, scalars=scalars, **declared)
    return tx.declaring(exposes=lambda state: {"count": state.count})  # counts values, not updates

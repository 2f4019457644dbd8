"""Rprop: a step size for each element, adapted by the signs of its gradients."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import like
from ..transforms.scaling import scale
from ..types import Array, Scalar, Updates

_RANGES = {
    "learning_rate": checks.NON_NEGATIVE,
    "eta_minus": checks.CLOSED_UNIT,
    "eta_plus": checks.Range(1),
    "min_step_size": checks.NON_NEGATIVE,
    "max_step_size": checks.Range(0, infinite=True),
}
_REVERSED_BOUNDS = [
    (example(0.1, min_step_size=1.0, max_step_size=0.5), "min_step_size must be <= max_step_size, got 1.0 and")
]


class ScaleByRpropState(NamedTuple):
    step_sizes: Updates
    prev_updates: Updates


@register(example(0.1), example(0.1, 0.7, 1.5, 0.08, 0.12), ranges=_RANGES, errors=_REVERSED_BOUNDS)
def scale_by_rprop(
    learning_rate: Scalar,
    eta_minus: Scalar = 0.5,
    eta_plus: Scalar = 1.2,
    min_step_size: Scalar = 1e-6,
    max_step_size: Scalar = 50.0,
) -> GradientTransformationExtraArgs:
    """Replace each element by its sign times a step size that grows while the sign stays and shrinks when it changes.

        s <- s eta_plus  where sign(g) is the sign of the last u,  s eta_minus  where it is the opposite,
             both clamped to [min_step_size, max_step_size]
        u  = 0  where it is the opposite, else sign(g) s

    Args:
      learning_rate: initial s, in units of params, >= 0; a number or an array, not a schedule. Usually 1e-2.
      eta_minus: factor on s when the sign changes, in [0, 1]. Usually 0.5.
      eta_plus: factor on s while the sign stays, >= 1. Usually 1.2.
      min_step_size, max_step_size: bounds of s, in units of params, >= 0. Usually 1e-6 and 50.
    State:   step_sizes (s), prev_updates (u) shaped like params: 8 bytes per float32 parameter.
    Raises:  ValueError if min_step_size > max_step_size.
    Source:  Riedmiller & Braun 1993; Igel & Huesken 2000, Rprop-, which takes no step back at a turn.
    Differs: Optax 0.2.8 returns the previous update, or 0 where the gradient changes its sign.
    """
    limits = (min_step_size, max_step_size)
    if all(map(checks.is_number, limits)) and limits[0] > limits[1]:
        checks.fail(f"min_step_size must be <= max_step_size, got {limits[0]} and {limits[1]}")

    def rule(g: Array, step_sizes: Array, prev_updates: Array) -> Any:
        agree = jnp.sign(g) * jnp.sign(prev_updates)
        longer, shorter = step_sizes * like(g, eta_plus), step_sizes * like(g, eta_minus)
        adapted = jnp.clip(jnp.where(agree > 0, longer, shorter), *(like(g, x) for x in limits))
        s = jnp.where(agree == 0, step_sizes, adapted)
        u = jnp.where(agree < 0, 0, jnp.sign(g) * s)
        return u, (s, u)

    return elementwise(
        rule,
        ScaleByRpropState,
        step_sizes=Slot(init=learning_rate, real=True, non_negative=True),
        prev_updates=Slot(decay=1.0),
    )


@register(example(0.1), ranges=_RANGES, errors=_REVERSED_BOUNDS, usual={"learning_rate": 0.01})
def rprop(
    learning_rate: Scalar,
    eta_minus: Scalar = 0.5,
    eta_plus: Scalar = 1.2,
    min_step_size: Scalar = 1e-6,
    max_step_size: Scalar = 50.0,
) -> GradientTransformationExtraArgs:
    """Rprop: `scale_by_rprop`, then `scale` by -1.

    When:    full-batch training, where the signs of gradients are not noisy; a usual learning rate is 1e-2.
    """
    return chain(scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), scale(-1.0))

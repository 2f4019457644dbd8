"""Updates that come now and then."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..types import Array, Count, Updates


class ApplyEvery(NamedTuple):
    count: Count
    grad_acc: Updates


@register(example(), example(3), ranges={"k": checks.Range(1, integer=True)})
def apply_every(k: int = 1) -> GradientTransformationExtraArgs:
    """Sum k updates, and give their sum with the last of them, zero before.

    For means, skipped updates and micro-batches that are no numbers see `MultiSteps`.

    Args:    k >= 1: a whole number.
    State:   count; grad_acc shaped like params: 4 bytes per float32 parameter.
    Differs: count goes on, where in Optax it starts again after each k.
    """

    def scalars(t: Count) -> dict[str, Array]:
        return {"first": (t - 1) % k == 0, "last": t % k == 0}

    def rule(g: Array, grad_acc: Array, first: Array, last: Array) -> Any:
        total = g + jnp.where(first, 0, grad_acc)
        return jnp.where(last, total, 0), total

    return elementwise(rule, ApplyEvery, scalars=scalars, grad_acc=Slot(decay=1.0))

"""Updates that are applied once every k steps."""

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
    """Sum k consecutive updates and emit the sum at the k-th; the updates before it are zero.

    To average gradients, or to skip non-finite micro-batches, see `MultiSteps`.

    Args:
      k: number of updates in a sum, an integer >= 1.
    State:   count; grad_acc shaped like params: 4 bytes per float32 parameter.
    Differs: count counts all updates; in Optax it restarts after every k.
    """

    def scalars(t: Count) -> dict[str, Array]:
        return {"first": (t - 1) % k == 0, "last": t % k == 0}

    def rule(g: Array, grad_acc: Array, first: Array, last: Array) -> Any:
        total = g + jnp.where(first, 0, grad_acc)
        return jnp.where(last, total, 0), total

    return elementwise(rule, ApplyEvery, scalars=scalars, grad_acc=Slot(decay=1.0))

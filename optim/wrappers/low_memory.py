"""A whole optimizer in less than half the memory."""

from typing import Any

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..optimizers.adam import scale_by_adam
from ..transforms.rounding import keep_master, keep_residual, round_stochastically
from ..types import DType, TransformationLike
from .stored import RANGES, scales_of, slots_of, stored

_WEIGHTS = {
    "residual": lambda: keep_residual("int8"),
    "residual16": lambda: keep_residual("int16"),
    "kahan": lambda: keep_residual("kahan"),
    "stochastic": round_stochastically,
    "master": keep_master,
    "plain": None,
}


@register(
    example(scale_by_adam()),
    example(scale_by_adam(), weights="stochastic", slots="int4", block=128),
    ranges=RANGES,
    exceptions={
        "golden": "it combines others and has no formula of its own",
        "specs": "its blocks end where shards do, which an Auto mesh does not tell",
    },
    errors=[
        (example(1), "tx must be a transformation (init, update), got 1"),
        (
            example(scale_by_adam(), weights="float8"),
            "weights must be 'residual', 'residual16', 'kahan', 'stochastic', 'master' or 'plain'",
        ),
    ],
)
def low_memory(
    tx: TransformationLike,
    weights: str = "residual",
    slots: Any = "int8",
    *,
    block: int = 256,
    min_size: int = 4096,
    scale_dtype: DType = jnp.float32,
) -> GradientTransformationExtraArgs:
    """Store the slots of an optimizer in 8 or 4 bits, and let bfloat16 parameters move as float32 ones do.

        tx = low_memory(adamw(1e-3))     # with bfloat16 parameters 7.03 bytes for a parameter, its gradient included

    It is `chain(stored(tx, ...), keep_residual())`. All averages of gradients are coded; copies of parameters, such as
    the z of schedule_free, and sums without decay are not, as they move by less than a code.

    Args:
      tx: an optimizer, with its weight decay and learning rate.
      weights: "residual" (1 byte for a 16-bit parameter), "residual16" or "kahan" (2 bytes), "stochastic" (none),
        "master" (4 bytes), or "plain": parameters of any dtype are rounded to the nearest.
      slots: the codec of all averages, as in `stored`; None stores them as they are.
      block, min_size, scale_dtype: as in `stored`.
    State:   a tuple of the state of `tx` and, unless weights are plain, of the last member: with AdamW 3.03 bytes for a
             bfloat16 parameter.
    Raises:  ValueError for an unknown codec, or where tx has no average to code.
    When:    the parameters, gradients and state of the optimizer do not fit into memory.
    """
    member = taking_extra_args(tx, "tx")
    checks.choice("weights", weights, _WEIGHTS)
    scales_of(scale_dtype)
    if slots is not None:
        names = [name for name, met in slots_of(member).items() if all(map(_is_average, met))]
        if not names:
            checks.fail("tx has no running average to code; slots=None stores its slots as they are")
        options: dict[str, Any] = {"block": block, "min_size": min_size, "scale_dtype": scale_dtype}
        member = stored(member, **options, **dict.fromkeys(names, slots))
    last = _WEIGHTS[weights]
    return chain(member) if last is None else chain(member, last())


def _is_average(slot: Any) -> bool:
    is_sum = checks.is_number(slot.decay) and slot.decay == 1
    return not callable(slot.init) and not is_sum and not slot.free and not slot.per_leaf

"""Slots stored in fewer bytes."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from .. import checks
from ..core.members import around, coarsest
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.codecs import NAMES, Choice, Choices, choosing
from ..optimizers.adam import scale_by_adam
from ..tree.params import PARAMS
from ..types import DType, Params, TransformationLike

RANGES = {
    "block": checks.Range(2, integer=True, means="elements that share a scale"),
    "min_size": checks.Range(0, integer=True, means="leaves with fewer elements are stored as they are"),
}


def scales_of(dtype: DType) -> str:
    """The name of a dtype for scales."""
    name = "float32" if dtype is None else str(jnp.dtype(dtype))
    if name == "float16":
        checks.fail("scale_dtype must have the range of float32, got float16, in which small scales are zero")
    return name if name == "bfloat16" else "float32"


def slots_of(member: GradientTransformationExtraArgs) -> Mapping[str, Any]:
    """The slots that the members of a transformation have, by name."""
    choices = Choices({})
    with choosing(choices):
        member.init(PARAMS)
    return choices.met


@register(
    example(scale_by_adam(), nu="int8", min_size=0),
    example(scale_by_adam(), mu="bfloat16", nu="int4", block=4, min_size=0),
    ranges=RANGES,
    exceptions={
        "golden": "it only chooses how the slots of its inner transformation are stored",
        "specs": "its blocks end where shards do, which an Auto mesh does not tell",
    },
    errors=[
        (example(1, mu="int8"), "tx must be a transformation (init, update), got 1"),
        (example(scale_by_adam(), mu="int7"), "mu must be 'bfloat16', 'float8', 'int8' or 'int4', got 'int7'"),
        (example(scale_by_adam(), trace="int8"), "no member has a slot 'trace'; there are mu, nu"),
        (example(scale_by_adam()), "name a slot and its codec, as in stored(tx, mu='int8')"),
    ],
)
def stored(
    tx: TransformationLike, *, block: int = 256, min_size: int = 4096, scale_dtype: DType = jnp.float32, **codecs: Any
) -> GradientTransformationExtraArgs:
    """Store slots in fewer bytes, each name by its codec, in every member of `tx` that has a slot of that name.

        tx = stored(adamw(1e-3), mu="int8", nu="int8")    # 2.03 bytes of state for a parameter, in place of 8

    A rule sees float32 numbers; its new slots are coded last. Non-negative slots never become zero where they were not.

    Args:
      tx: a transformation.
      block: number of elements along the last axis that share a scale, >= 2. Usually 256; 32 to 128 for int4.
      min_size: leaves with fewer elements are stored as they are, >= 0; so are complex ones, and leaves whose code
        would not be smaller. `summary` counts them.
      scale_dtype: dtype of the scales: float32 or bfloat16; float16 would underflow.
      codecs: slot=codec: "int8", "int4", "float8", "bfloat16" (rounded stochastically), or an object with
        `encode(x, last) -> code` and `decode(code, shape) -> x`.
    State:   that of `tx`, with codes of the parameters' shapes, and scales [..., ceil(n / block)].
    Raises:  ValueError for an unknown codec, or a slot that no member has.
    Source:  codes of Ortiz et al. 2026 (FlashOptim), with float32 scales.
    When:    the optimizer's state does not fit into memory; a state coded in 8 bits trains like one in float32.
    """
    member = taking_extra_args(tx, "tx")
    scales = scales_of(scale_dtype)
    known = ", ".join(sorted(slots_of(member))) or "none"
    for slot, codec in codecs.items():
        if hasattr(codec, "encode") and hasattr(codec, "decode") and not isinstance(codec, str):
            continue
        if not isinstance(codec, str) and slot not in known.split(", "):
            checks.fail(f"no argument {slot!r}; the slots of tx are {known}", TypeError)
        checks.choice(slot, codec, NAMES)
    if not codecs:
        checks.fail("name a slot and its codec, as in stored(tx, mu='int8')")
    choice = {slot: Choice(codec, block, min_size, scales) for slot, codec in codecs.items()}

    def init(params: Params) -> Any:
        choices = Choices(choice)
        with choosing(choices):
            state = member.init(params)
        for slot in choice:
            if slot not in choices.used:
                checks.fail(f"no member has a slot {slot!r}; there are {known}")
        return state

    init(PARAMS)  # a slot that does not exist is an error here already
    # A scale belongs to elements of one leaf, so that leaves laid end to end would be coded otherwise.
    return around(
        member,
        init,
        member.update,
        inner=lambda state: state,
        check=member.check_state,
        exact=member.facts.exact,
        grain=coarsest(member.grain, "leafwise"),
    )

"""Slots stored in fewer bytes."""

from typing import Any

from .. import checks
from ..core.members import around, coarsest
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.codecs import NAMES, Choice, Choices, choosing
from ..optimizers.adam import scale_by_adam
from ..tree.params import PARAMS
from ..types import Params, TransformationLike

RANGES = {
    "block": checks.Range(2, integer=True, means="elements that share a scale"),
    "min_size": checks.Range(0, integer=True, means="leaves with fewer elements are stored as they are"),
}


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
        (example(scale_by_adam(), mu="int7"), "mu must be one of"),
        (example(scale_by_adam(), trace="int8"), "no member has a slot 'trace'; there are mu, nu"),
        (example(scale_by_adam()), "name a slot and its codec, as in stored(tx, mu='int8')"),
    ],
)
def stored(
    tx: TransformationLike, *, block: int = 256, min_size: int = 4096, scale_dtype: str = "float32", **codecs: Any
) -> GradientTransformationExtraArgs:
    """Store slots in fewer bytes, each name by its codec, in every member of `tx` that has a slot of that name.

        tx = stored(adamw(1e-3), mu="int8", nu="int8")    # 2.03 bytes of state for a parameter, in place of 8

    A rule sees float32 numbers; its new slots are coded last. Non-negative slots never become zero where they were not.

    Args:
      tx: a transformation.
      block: number of elements along the last axis that share a scale, >= 2. Usually 256; 32 to 128 for int4.
      min_size: leaves with fewer elements are stored as they are, >= 0; so are complex ones, and leaves whose code
        would not be smaller. `summary` counts them.
      scale_dtype: "float32" or "bfloat16".
      codecs: slot=codec: "int8", "int4", "float8", "bfloat16" (rounded stochastically), or an object with
        `encode(x, last) -> code` and `decode(code, shape) -> x`.
    State:   that of `tx`, with codes of the parameters' shapes, and scales [..., ceil(n / block)].
    Raises:  ValueError for an unknown codec, or a slot that no member has.
    Source:  codes of Ortiz et al. 2026 (FlashOptim), with float32 scales.
    When:    the optimizer's state does not fit into memory; a state coded in 8 bits trains like one in float32.
    """
    member = taking_extra_args(tx, "tx")
    checks.choice("scale_dtype", scale_dtype, ("float32", "bfloat16"))
    for slot, codec in codecs.items():
        if isinstance(codec, str) or not (hasattr(codec, "encode") and hasattr(codec, "decode")):
            checks.choice(slot, codec, NAMES)
    if not codecs:
        checks.fail("name a slot and its codec, as in stored(tx, mu='int8')")
    choice = {slot: Choice(codec, block, min_size, scale_dtype) for slot, codec in codecs.items()}

    def init(params: Params) -> Any:
        choices = Choices(choice)
        with choosing(choices):
            state = member.init(params)
        for slot in choice:
            if slot not in choices.used:
                known = ", ".join(sorted(choices.met)) or "none"
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

"""Frozen parameters, with or without slots for them."""

from typing import Any

from .. import tree
from ..combine.masked import masked, resolve_mask
from ..combine.partition import partition
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..transforms.momentum import ema
from ..transforms.scaling import set_to_zero
from ..types import MaskOrFn, Params, TransformationLike


def every_other(params: Params) -> Any:
    leaves, structure = tree.flatten(params)
    return structure.unflatten([i % 2 == 0 for i in range(len(leaves))])


_BY_LEAF = {
    "grain": "the mask has one entry per leaf, and one vector is one leaf",
    "complex": "the mask has one entry per leaf, and two halves are two leaves",
}


@register(
    example(True),
    example(every_other),
    exceptions={
        "golden": "it has no formula",
        "errors": "it does not read the updates that it does not replace",
        **_BY_LEAF,
    },
)
def freeze(mask: MaskOrFn) -> GradientTransformationExtraArgs:
    """Replace updates by zero where the mask is True; use it last in a chain.

    The members before it still have slots for the frozen parameters; `selective_transform` saves their memory.

    Args:
      mask: as in `masked`: True for the parameters that stay fixed.
    State:   MaskedState, empty.
    """
    return masked(set_to_zero(), mask)


@register(
    example(ema(0.9), freeze_mask=False),
    example(ema(0.9), freeze_mask=every_other),
    exceptions={**_BY_LEAF, "golden": "it only chooses what its inner transformation sees"},
    errors=[(example(1, freeze_mask=True), "optimizer must be a transformation (init, update), got 1")],
)
def selective_transform(optimizer: TransformationLike, *, freeze_mask: MaskOrFn) -> GradientTransformationExtraArgs:
    """Apply `optimizer` where the mask is False; elsewhere updates are zero, and there are no slots.

    Args:
      optimizer: a transformation.
      freeze_mask: as in `masked`: True for the parameters that stay fixed.
    State:   PartitionState(inner_states): that of `partition` with the labels "train" and "freeze".
    Differs: given a function as mask, Optax freezes everything; here the function returns the mask.
    """
    member = taking_extra_args(optimizer, "optimizer")

    def labels(params: Params) -> Any:
        frozen = resolve_mask(freeze_mask, params)
        return tree.structure(params).unflatten(["freeze" if f else "train" for f in frozen])

    return partition({"train": member, "freeze": set_to_zero()}, labels)

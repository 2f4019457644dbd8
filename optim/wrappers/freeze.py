"""Parameters that stay as they are, and take no memory for it."""

from typing import Any

from .. import tree
from ..combine.masked import masked, resolve_mask
from ..combine.partition import partition
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..transforms.momentum import ema
from ..transforms.scale import set_to_zero
from ..types import MaskOrFn, Params, TransformationLike


def every_other(params: Params) -> Any:
    leaves, structure = tree.flatten(params)
    return structure.unflatten([i % 2 == 0 for i in range(len(leaves))])


_BY_LEAF = {
    "grain": "what is frozen is told by leaves, and one vector is one leaf",
    "complex": "what is frozen is told by leaves, and two halves are two leaves",
}


@register(
    example(True),
    example(every_other),
    exceptions={"errors": "it does not look at updates that it leaves alone", **_BY_LEAF},
)
def freeze(mask: MaskOrFn) -> GradientTransformationExtraArgs:
    """Replace updates by zero where the mask is True; the last member of a chain.

    What comes before it still keeps slots for what it freezes: `selective_transform` does not.

    Args:    mask: as in `masked`.
    State:   MaskedState, empty.
    """
    return masked(set_to_zero(), mask)


@register(
    example(ema(0.9), freeze_mask=False),
    example(ema(0.9), freeze_mask=every_other),
    exceptions=_BY_LEAF,
    errors=[(example(1, freeze_mask=True), "optimizer must be a transformation (init, update), got 1")],
)
def selective_transform(optimizer: TransformationLike, *, freeze_mask: MaskOrFn) -> GradientTransformationExtraArgs:
    """Apply `optimizer` where the mask is False; elsewhere updates are zero, and there are no slots.

    Args:    optimizer: a transformation. freeze_mask: as in `masked`, True for what stays as it is.
    State:   PartitionState(inner_states), as `partition` with the labels "train" and "freeze" keeps it.
    Differs: where Optax is given a function it freezes everything; here the function gives the mask.
    """
    member = taking_extra_args(optimizer, "optimizer")

    def labels(params: Params) -> Any:
        frozen = resolve_mask(freeze_mask, params)
        return tree.structure(params).unflatten(["freeze" if f else "train" for f in frozen])

    return partition({"train": member, "freeze": set_to_zero()}, labels)

"""A transformation on a part of the tree."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import checks, tree
from ..core.members import around
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..tree.packing import labelled
from ..types import MaskOrFn, Params, TransformationLike, Tree


class MaskedNode(NamedTuple):
    """Placeholder for a masked leaf in trees of Optax; here that is `None`."""


class MaskedState(NamedTuple):
    """The state of the inner transformation, which sees `None` wherever the mask is False."""

    inner_state: Any


def resolve_mask(mask: MaskOrFn, over: Tree) -> list[bool]:
    """One bool per leaf of `over`, from a bool, a tree of bools that is a prefix of it, or a function giving one."""
    if tree.stands_for_params(over):
        return []
    places = zip(labelled(mask, over, "mask"), tree.flatten(over)[0], strict=True)
    return [p is not None and _as_bool(x) for x, p in places]


def _as_bool(x: Any) -> bool:
    if checks.is_traced(x):
        checks.fail("mask must be concrete bools, got one being traced", checks.TracedError)
    if isinstance(x, bool | np.bool_) or (checks.is_array(x) and x.shape == () and x.dtype == bool):
        return bool(x)
    return checks.fail(f"mask must be True or False at every leaf, got {checks.shown(x)}", TypeError)


def keep_where(mask: list[bool], tree_: Tree) -> Tree:
    """`tree_` with `None` wherever the mask is False."""
    leaves, structure = tree.flatten(tree_)
    return structure.unflatten([x if m else None for x, m in zip(leaves, mask, strict=True)])


def every_other(params: Params) -> Any:
    leaves, structure = tree.flatten(params)
    return structure.unflatten([i % 2 == 0 for i in range(len(leaves))])


@register(
    example(identity(), True),
    example(identity(), every_other),
    exceptions={
        "golden": "it combines others and has no formula of its own",
        "errors": "only its inner transformation looks at updates",
    },
    errors=[(example(1, True), "inner must be a transformation (init, update), got 1")],
)
def masked(
    inner: TransformationLike, mask: MaskOrFn, *, mask_compatible_extra_args: bool = False
) -> GradientTransformationExtraArgs:
    """Apply `inner` where the mask is True; elsewhere updates are unchanged, and there are no slots.

    Args:
      inner: a transformation.
      mask: a bool, a tree of bools that is a prefix of the parameters, or a function params -> such a tree.
      mask_compatible_extra_args: whether extra arguments shaped like params are masked too. Functions of the
        parameters, as line searches take, are given all of them.
    State:   MaskedState(inner_state).
    Raises:  TypeError for a mask that is not made of bools; ValueError for a mask of another structure.
    """
    member = taking_extra_args(inner, "inner")

    def init(params: Params) -> MaskedState:
        return MaskedState(member.init(keep_where(resolve_mask(mask, params), params)))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        over = updates if params is None else params
        keep = resolve_mask(mask, over)
        leaves = tree.match(updates, over, "updates", "params")
        structure = tree.structure(over)

        def alike(value: Any) -> bool:
            return bool(tree.structure(value) == structure)

        def inward(value: Any) -> Any:
            return keep_where(keep, value) if mask_compatible_extra_args and alike(value) else value

        def outward(value: Any) -> Any:
            """The arguments of a function of the parameters: parameters that the mask hides are unchanged."""
            if params is None or not alike(value):
                return value
            both = zip(tree.flatten(value)[0], tree.flatten(params)[0], keep, strict=True)
            return structure.unflatten([x if m else p for x, p, m in both])

        extra_args = translated(extra_args, inward, outward)
        inside, inner_state = member.update(
            structure.unflatten([x if m else None for x, m in zip(leaves, keep, strict=True)]),
            state.inner_state,
            None if params is None else keep_where(keep, params),
            **extra_args,
        )
        new = tree.match(inside, over, "updates", "params")
        merged = [n if m else x for x, n, m in zip(leaves, new, keep, strict=True)]
        return structure.unflatten(merged), MaskedState(inner_state)

    def sees(params: Any) -> Any:
        return keep_where(resolve_mask(mask, params), params)

    facts = {"state_classes": (MaskedState,), "exact": member.facts.exact}
    return around(member, init, update, inner=lambda state: state.inner_state, sees=sees, **facts)


def translated(
    extra_args: Mapping[str, Any], inward: Callable[[Any], Any], outward: Callable[[Any], Any]
) -> dict[str, Any]:
    """Extra arguments as a member that sees other trees takes them: trees go `inward`, and what a function of trees is
    given, `outward`."""

    def met(value: Any) -> Any:
        if not tree.is_function(value):
            return inward(value)

        @functools.wraps(value)
        def outside(*args: Any, **kwargs: Any) -> Any:
            return value(*map(outward, args), **{k: outward(v) for k, v in kwargs.items()})

        return outside

    return {k: met(v) for k, v in extra_args.items()}

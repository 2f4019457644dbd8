"""Slots of many small leaves in a few buffers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..combine.masked import translated
from ..core.inspection import eval_params
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.rules import check_updates
from ..optimizers.adam import scale_by_adam
from ..transforms.clipping import clip_by_global_norm
from ..tree.packing import MAX_LEAF, Layout, Packed, check_max_leaf, found_in, is_packed, pack
from ..tree.params import of_arrays
from ..types import Params, TransformationLike, Tree


@register(
    example(scale_by_adam()),
    example(clip_by_global_norm(1.0), max_leaf=2),
    ranges={"max_leaf": checks.STEPS},
    exceptions={
        "golden": "it only chooses what its inner transformation sees",
        "init": "it concatenates the parameters",
        "communication": "it concatenates the shards of the parameters",
    },
    errors=[
        (example(1), "tx must be a transformation (init, update), got 1"),
        (example(scale_by_adam(), max_leaf=-1), "max_leaf must be an integer >= 0, got -1"),
    ],
)
def packed(tx: TransformationLike, *, max_leaf: int = MAX_LEAF, by: Any = None) -> GradientTransformationExtraArgs:
    """Apply `tx` to small leaves concatenated into a few buffers, and to large leaves as they are.

    Results are equal to those of `tx`, except for random numbers, which are drawn per buffer. The state has few arrays
    in place of many small ones. `pack` concatenates the parameters as well, which saves more.

    Args:
      tx: a transformation whose members are all elementwise or treewise.
      max_leaf: largest number of elements of a leaf that is packed, an integer >= 0. Usually 4096.
      by: labels as in `pack`: leaves with different labels go to different buffers, as a mask inside tx needs.
    State:   that of `tx` for `pack(params, max_leaf=max_leaf, by=by)`.
    Raises:  ValueError for a member whose rule sees whole leaves, or whose grain is unknown.
    When:    a model with thousands of small parameters.
    """
    member = taking_extra_args(tx, "tx")
    check_max_leaf(max_leaf)
    for part in member.of_grain("leafwise"):
        checks.fail(f"tx has a rule on whole leaves, {part}: remove it, or use tx without packing")
    for part in member.of_grain(None):
        checks.fail(f"tx has a member that does not say what its updates depend on: {part}")
    enter = functools.partial(pack, max_leaf=max_leaf, by=by)

    def init(params: Params) -> Any:
        return member.init(params if tree.stands_for_params(params) else of_arrays(enter, params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        template = updates if params is None else params
        packed_params = None if params is None else enter(params)
        # Without params, take the layout from the state: the gradients may lack leaves.
        candidates = [packed_params] if packed_params else found_in(state) or [enter(updates)]
        layout = candidates[0].layout
        gs = [g if tree.absent(g) else tree.as_array(g) for g in tree.match(updates, template, "updates", "params")]
        ps = tree.flatten(template)[0]
        check_updates(gs, ps, template)
        extra_args = translated(extra_args, functools.partial(_to_packed, layout), _to_tree)
        inner, new = member.update(layout.filled(gs), state, packed_params, **extra_args)
        moved = layout.leaves(inner.children)
        out = [g if tree.absent(g) else numerics.restored(u, g) for u, g in zip(moved, gs, strict=True)]
        return tree.structure(template).unflatten(out), _without_missing(new, state, layout, gs)

    def evaluates(state: Any, params: Params) -> Params:
        packed_params = enter(params)
        evaluation = eval_params(member, state, packed_params)
        return params if evaluation is packed_params else evaluation.tree

    # The slots do not correspond to leaves, so an outer wrapper must not split the update by leaf.
    sees = functools.partial(jax.eval_shape, enter)
    return around(member, init, update, inner=lambda state: state, sees=sees, grain="treewise", evaluates=evaluates)


def _to_packed(layout: Layout, value: Any) -> Any:
    return layout.filled(tree.flatten(value)[0]) if tree.structure(value) == layout.structure else value


def _to_tree(value: Any) -> Any:
    return value.tree if is_packed(value) else value


def _without_missing(new: Tree, old: Tree, layout: Layout, gs: list[Any]) -> Tree:
    """The new state, but the old elements of leaves without a gradient whose buffer had others with one."""
    masks = {}
    for child, indices in enumerate(layout.members):
        has_grad = [not tree.absent(gs[i]) for i in indices]
        if any(has_grad) and not all(has_grad):
            masks[child] = layout.marked(child, has_grad)

    def visit(x: Any, y: Any) -> Any:
        if not (is_packed(x) and masks):
            return x
        children = list(x.children)
        for child, has_grad in masks.items():
            children[child] = jnp.where(has_grad, x.children[child], y.children[child])
        return Packed(children, layout)

    return jax.tree.map(visit, new, old, is_leaf=is_packed)

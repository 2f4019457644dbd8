"""Slots of small leaves in few buffers."""

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
from ..transforms.clip import clip_by_global_norm
from ..tree.packing import MAX_LEAF, Layout, Packed, check_max_leaf, found_in, is_packed, pack
from ..types import Params, TransformationLike, Tree


@register(
    example(scale_by_adam()),
    example(clip_by_global_norm(1.0), max_leaf=2),
    errors=[
        (example(1), "tx must be a transformation (init, update), got 1"),
        (example(scale_by_adam(), max_leaf=-1), "max_leaf must be a whole number, at least 0, got -1"),
    ],
)
def packed(tx: TransformationLike, *, max_leaf: int = MAX_LEAF, by: Any = None) -> GradientTransformationExtraArgs:
    """Apply `tx` to small leaves end to end in few buffers, and to large ones as they are.

    The numbers are those of `tx`, random ones aside, which are drawn buffer by buffer. A state of many small arrays
    becomes one of few; `pack` does that to the parameters too, which saves more.

    Args:    tx: elementwise or treewise down to its last member. max_leaf >= 0: leaves of more elements stay as they
             are. by: labels as `pack` takes them; leaves of different ones are kept apart, as a mask in `tx` needs.
    State:   that of `tx` for `pack(params, max_leaf=max_leaf, by=by)`.
    Raises:  ValueError for a member whose rule sees whole leaves, or that does not say what its rule sees.
    """
    member = taking_extra_args(tx, "tx")
    check_max_leaf(max_leaf)
    for part in member.of_grain("leafwise"):
        checks.fail(f"tx has a rule on whole leaves, {part}: leave that one out, or use tx as it is")
    for part in member.of_grain(None):
        checks.fail(f"tx has a member that does not say what its updates depend on: {part}")
    enter = functools.partial(pack, max_leaf=max_leaf, by=by)

    def init(params: Params) -> Any:
        return member.init(params if tree.stands_for_params(params) else enter(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        home = updates if params is None else params
        inside = None if params is None else enter(params)
        # Gradients alone may lack leaves that the state knows of.
        known = [inside] if inside else found_in(state) or [enter(updates)]
        layout = known[0].layout
        gs = [g if tree.absent(g) else tree.as_array(g) for g in tree.match(updates, home, "updates", "params")]
        ps = tree.flatten(home)[0]
        check_updates(gs, ps, home)
        extra_args = translated(extra_args, functools.partial(_entered, layout), _left)
        inner, new = member.update(layout.filled(gs), state, inside, **extra_args)
        moved = layout.leaves(inner.children)
        out = [g if tree.absent(g) else numerics.restored(u, g) for u, g in zip(moved, gs, strict=True)]
        return tree.structure(home).unflatten(out), _kept(new, state, layout, gs)

    def evaluates(state: Any, params: Params) -> Params:
        inside = enter(params)
        other = eval_params(member, state, inside)
        return params if other is inside else other.tree

    # Its slots are no leaf's, so nobody may work leaf by leaf.
    sees = functools.partial(jax.eval_shape, enter)
    return around(member, init, update, inner=lambda state: state, sees=sees, grain="treewise", evaluates=evaluates)


def _entered(layout: Layout, value: Any) -> Any:
    return layout.filled(tree.flatten(value)[0]) if tree.structure(value) == layout.structure else value


def _left(value: Any) -> Any:
    return value.tree if is_packed(value) else value


def _kept(new: Tree, old: Tree, layout: Layout, gs: list[Any]) -> Tree:
    """The new state, but the old one for leaves that had no gradient while others in their buffer had."""
    parts = {}
    for child, indices in enumerate(layout.members):
        here = [not tree.absent(gs[i]) for i in indices]
        if any(here) and not all(here):
            parts[child] = layout.marked(child, here)

    def visit(x: Any, y: Any) -> Any:
        if not (is_packed(x) and parts):
            return x
        children = list(x.children)
        for child, here in parts.items():
            children[child] = jnp.where(here, x.children[child], y.children[child])
        return Packed(children, layout)

    return jax.tree.map(visit, new, old, is_leaf=is_packed)

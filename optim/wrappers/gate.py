"""Taking a step or leaving it, by a condition that may be traced."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, numerics, tree
from ..core.transformation import GradientTransformationExtraArgs
from ..types import Array, Grain, Tree

T = TypeVar("T")


def either(taken: Any, do: Callable[[], T], leave: Callable[[], T]) -> T:
    """`do()` where `taken`, else `leave()`: one of them runs.

    Under `vmap` both do; JAX then keeps what the other one computes out of values and derivatives alike.
    """
    if not checks.is_traced(taken):
        return do() if taken else leave()
    out: T = lax.cond(taken, do, leave)
    return out


def finite(updates: Tree) -> Array:
    """Whether no element of any leaf is infinite or NaN."""
    found = [jnp.all(jnp.isfinite(tree.as_array(x))) for x in tree.leaves(updates)]
    return jnp.all(jnp.stack(found)) if found else jnp.asarray(True)


def present(updates: Tree) -> Tree:
    """`updates` as arrays, with `None` for whatever is nothing: what a branch of a condition may hold."""
    leaves, structure = tree.flatten(updates)
    return structure.unflatten([None if tree.absent(x) else tree.as_array(x) for x in leaves])


def restored(new: Tree, updates: Tree) -> Tree:
    """The arrays of `new` in the structure and dtypes of `updates`, beside whatever is nothing there."""
    arrays = iter(jax.tree.leaves(new))
    leaves, structure = tree.flatten(updates)
    return structure.unflatten([x if tree.absent(x) else _as(next(arrays), tree.as_array(x)) for x in leaves])


def fitted(new: Tree, old: Tree) -> Tree:
    """`new` in the dtypes of `old`, which a member from elsewhere may have changed."""
    places: Any = jax.tree.structure(old)
    if jax.tree.structure(new) != places:
        return new
    return jax.tree.map(lambda x, y: _as(tree.as_array(x), tree.as_array(y)), new, old)


def _as(x: Array, like: Array) -> Array:
    return numerics.convert(x, like.dtype, weak=like.weak_type)


def step_if(
    taken: Any,
    member: GradientTransformationExtraArgs,
    updates: Tree,
    state: Any,
    params: Any,
    extra_args: Any,
    *,
    left: Callable[[Tree], Tree],
) -> tuple[Tree, Any]:
    """The member's update where `taken`; else `left(updates)`, and its state as it is."""
    here = present(updates)

    def do() -> Any:
        new, new_state = member.update(here, state, params, **extra_args)
        return jax.tree.leaves(restored(new, here)), fitted(new_state, state)

    def leave() -> Any:
        return jax.tree.leaves(left(here)), state

    new, state = either(taken, do, leave)
    return restored(new, updates), state


def nothing(updates: Tree) -> Tree:
    """Zero updates."""
    return tree.zeros_like(updates)


def seeing_all(member: GradientTransformationExtraArgs) -> Grain | None:
    """The grain of a wrapper that looks at the whole tree before `member` does."""
    return "treewise" if member.grain == "elementwise" else member.grain

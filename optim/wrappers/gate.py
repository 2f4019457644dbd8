"""Take a step or skip it, by a condition that may be traced."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..core.transformation import GradientTransformationExtraArgs
from ..types import Array, Grain, Tree

T = TypeVar("T")


def either(taken: Any, do: Callable[[], T], leave: Callable[[], T]) -> T:
    """`do()` if `taken`, else `leave()`; only one of them runs.

    Under `vmap` both run, and JAX selects the values and derivatives of the one that applies.
    """
    if not checks.is_traced(taken):
        return do() if taken else leave()
    return numerics.branch(taken, do, leave)


def finite(updates: Tree) -> Array:
    """Whether every element of every leaf is finite."""
    finite_leaves = [jnp.all(jnp.isfinite(tree.as_array(x))) for x in tree.leaves(updates)]
    return jnp.all(jnp.stack(finite_leaves)) if finite_leaves else jnp.asarray(True)


def present(updates: Tree) -> Tree:
    """`updates` as arrays, with `None` for absent leaves (float0 too), as a branch may return them."""
    leaves, structure = tree.flatten(updates)
    return structure.unflatten([None if tree.absent(x) else tree.as_array(x) for x in leaves])


def restored(new: Tree, updates: Tree) -> Tree:
    """The arrays of `new` in the structure and dtypes of `updates`; absent leaves of `updates` stay as they are."""
    arrays = iter(jax.tree.leaves(new))
    leaves, structure = tree.flatten(updates)
    return structure.unflatten([x if tree.absent(x) else _as(next(arrays), tree.as_array(x)) for x in leaves])


def fitted(new: Tree, old: Tree) -> Tree:
    """`new` cast to the dtypes of `old`: a member from another library may have changed them."""
    old_structure: Any = jax.tree.structure(old)
    if jax.tree.structure(new) != old_structure:
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
    otherwise: Callable[[Tree], Tree],
) -> tuple[Tree, Any]:
    """The member's update if `taken`; otherwise `otherwise(updates)` and the old state."""
    if member.facts.exact:  # its updates are in float32
        updates = tree.widen(updates)
    arrays = present(updates)

    def do() -> Any:
        new, new_state = member.update(arrays, state, params, **extra_args)
        return jax.tree.leaves(restored(new, arrays)), fitted(new_state, state)

    def leave() -> Any:
        return jax.tree.leaves(otherwise(arrays)), state

    new, state = either(taken, do, leave)
    return restored(new, updates), state


def zero_updates(updates: Tree) -> Tree:
    """Zeros that read nothing: those of `tree.zeros_like` in a branch would cost a GPU all shardings of the state."""
    return tree.map(lambda x: jnp.zeros_like(tree.as_array(x)), updates)


def seeing_all(member: GradientTransformationExtraArgs) -> Grain | None:
    """The grain of a wrapper that reads the whole tree before `member` runs."""
    return "treewise" if member.grain == "elementwise" else member.grain

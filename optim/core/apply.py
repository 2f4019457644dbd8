"""`apply_updates`: parameters plus updates."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..types import Updates
from . import eager

P = TypeVar("P")


@checks.entrance("apply_updates")
def apply_updates(params: P, updates: Updates) -> P:
    """params + updates, computed in the wider of both dtypes and at least float32, and cast last to each parameter's.

    Where an update is `None` its parameter stays; a parameter `None` stays `None`. Outside `jit` the sum of the whole
    tree is one compiled program.

    Raises: ValueError naming the leaf whose shape differs from its parameter's, or whose dtype no step can change.
    """
    new: P = eager.run(_program, _sum, params, updates)
    return new


def _sum(params: Any, updates: Any) -> Any:
    leaves, structure = tree.flatten(params)
    steps = tree.match(updates, params, "updates", "params")
    return structure.unflatten([_moved(p, u, i, params) for i, (p, u) in enumerate(zip(leaves, steps, strict=True))])


_program = jax.jit(_sum)


def _moved(p: Any, u: Any, i: int, params: Any) -> Any:
    if tree.absent(u):
        return p
    if p is None:
        checks.fail(f"updates{tree.paths(params)[i]} is an array, params{tree.paths(params)[i]} is None")
    p, u = tree.as_array(p), tree.as_array(u)
    if p.shape != u.shape:
        path = tree.paths(params)[i]
        checks.fail(f"updates{path} has shape {u.shape}, params{path} has {p.shape}")
    kinds = (jnp.complexfloating, jnp.inexact)
    if any(jnp.issubdtype(u.dtype, k) and not jnp.issubdtype(p.dtype, k) for k in kinds):
        path = tree.paths(params)[i]
        checks.fail(f"updates{path} is {u.dtype}, which params{path} of dtype {p.dtype} cannot hold")
    if not jnp.issubdtype(p.dtype, jnp.inexact):
        return p + numerics.convert(u, p.dtype)
    dtype = numerics.common_dtype(numerics.wide_dtype(p.dtype), u.dtype)
    moved = jax.lax.add(numerics.convert(p, dtype), numerics.convert(u, dtype))
    return numerics.convert(moved, p.dtype, weak=p.weak_type)

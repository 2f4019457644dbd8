"""Running moments of trees. A moment keeps its dtype; where there is no update it stays."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .. import checks, numerics
from ..types import Array, Count, Scalar, Tree, Updates
from .dtypes import compute
from .places import absent, aligned, as_array, map, paths, structure


@numerics.mixing("bias_correction")
def bias_correction(moment: Tree, decay: Scalar, count: Count) -> Tree:
    """moment / (1 - decay^count): what a mean that began at zero would be without its beginning."""

    def corrected(x: Any) -> Array:
        return compute(lambda m: numerics.debias(m, decay, count), x)

    return map(corrected, moment)


@numerics.mixing("update_moment")
def update_moment(updates: Updates, moments: Tree, decay: Scalar, order: int) -> Tree:
    """decay m + (1 - decay) g^order.

    Raises: ValueError naming the leaf whose shape is not its moment's, or which is complex and its moment is not.
    """
    return _moved(updates, moments, lambda m, g: numerics.ema(m, _power(g, order), decay))


@numerics.mixing("update_moment_per_elem_norm")
def update_moment_per_elem_norm(updates: Updates, moments: Tree, decay: Scalar, order: int) -> Tree:
    """decay m + (1 - decay) |g|^order for complex g, which has a real moment; g^order for a real one."""

    def powered(g: Array) -> Array:
        if not jnp.iscomplexobj(g):
            return _power(g, order)
        half, odd = divmod(order, 2)
        return _power(numerics.abs_sq(g), half) * (jnp.abs(g) if odd else 1)

    return _moved(updates, moments, lambda m, g: numerics.ema(m, powered(g), decay))


@numerics.mixing("update_infinity_moment")
def update_infinity_moment(updates: Updates, moments: Tree, decay: Scalar, eps: Scalar) -> Tree:
    """max(decay m, |g| + eps)."""

    def grown(m: Array, g: Array) -> Array:
        size = jnp.abs(g)
        return jnp.maximum(numerics.scaled(m, decay), size + numerics.like(size, eps))

    return _moved(updates, moments, grown)


def _power(g: Array, order: int) -> Array:
    return numerics.abs_sq(g) if order == 2 and not jnp.iscomplexobj(g) else g**order


def _moved(updates: Updates, moments: Tree, f: Callable[[Array, Array], Array]) -> Tree:
    """`f(moment, update)` in the wider of both dtypes and at least float32, cast last to the moment's."""

    def one(i: int, g: Any, m: Any) -> Any:
        if absent(g):
            return m
        g, m = as_array(g), as_array(m)
        new = f(*_alike(m, g))
        if jnp.iscomplexobj(new) and not jnp.iscomplexobj(m):
            path = paths(updates)[i]
            checks.fail(f"updates{path} is {g.dtype}, which moments{path} of dtype {m.dtype} cannot hold")
        return numerics.convert(new, m.dtype, weak=m.weak_type)

    rows = aligned({"updates": updates, "moments": moments})
    return structure(updates).unflatten([one(i, g, m) for i, (g, m) in enumerate(rows)])


def _alike(*xs: Array) -> list[Array]:
    """Real and complex arrays of one precision, at least float32."""
    precise = numerics.common_dtype(jnp.float32, *(numerics.real_dtype(x.dtype) for x in xs))
    both = numerics.common_dtype(precise, *(x.dtype for x in xs))
    return [numerics.convert(x, both if jnp.iscomplexobj(x) else precise) for x in xs]

"""Running moments of trees; a moment keeps its dtype, and its value where the update is `None`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .. import checks, numerics
from ..types import Array, Count, Scalar, Tree, Updates
from .dtypes import compute
from .places import absent, aligned, as_array, map, paths, structure


@numerics.mixing("bias_correction")
def bias_correction(moment: Tree, decay: Scalar, count: Count) -> Tree:
    """Correct a mean that started at zero: moment / (1 - decay^count).

    Args:
      moment: a tree of running means.
      decay: their decay, in [0, 1).
      count: number of updates in them, >= 1.
    """

    def corrected(x: Any) -> Array:
        return compute(lambda m: numerics.debias(m, decay, count), x)

    return map(corrected, moment)


@numerics.mixing("update_moment")
def update_moment(updates: Updates, moments: Tree, decay: Scalar, order: int) -> Tree:
    """Update running moments: decay m + (1 - decay) g^order.

    Args:
      updates: a tree of gradients g.
      moments: a tree m of the same structure and shapes.
      decay: decay of m, in [0, 1).
      order: the exponent of g, a positive integer.
    Raises:  ValueError naming a leaf whose shape differs from its moment's, or a complex leaf with a real moment.
    """
    return _update_each(updates, moments, lambda m, g: numerics.ema(m, _power(g, order), decay))


@numerics.mixing("update_moment_per_elem_norm")
def update_moment_per_elem_norm(updates: Updates, moments: Tree, decay: Scalar, order: int) -> Tree:
    """Update running moments of magnitudes: decay m + (1 - decay) |g|^order for complex g, g^order for real g.

    Args:
      updates: a tree of gradients g.
      moments: a real tree m of the same structure and shapes.
      decay: decay of m, in [0, 1).
      order: the exponent, a positive integer.
    """

    def powered(g: Array) -> Array:
        if not jnp.iscomplexobj(g):
            return _power(g, order)
        half, odd = divmod(order, 2)
        return _power(numerics.abs_sq(g), half) * (jnp.abs(g) if odd else 1)

    return _update_each(updates, moments, lambda m, g: numerics.ema(m, powered(g), decay))


@numerics.mixing("update_infinity_moment")
def update_infinity_moment(updates: Updates, moments: Tree, decay: Scalar, eps: Scalar) -> Tree:
    """Update running maxima: max(decay m, |g| + eps).

    Args:
      updates: a tree of gradients g.
      moments: a tree m of the same structure and shapes.
      decay: decay of m, in [0, 1).
      eps: added to |g|, in units of g, >= 0.
    """

    def grown(m: Array, g: Array) -> Array:
        size = jnp.abs(g)
        return jnp.maximum(numerics.scaled(m, decay), size + numerics.like(size, eps))

    return _update_each(updates, moments, grown)


def _power(g: Array, order: int) -> Array:
    return numerics.abs_sq(g) if order == 2 and not jnp.iscomplexobj(g) else g**order


def _update_each(updates: Updates, moments: Tree, f: Callable[[Array, Array], Array]) -> Tree:
    """`f(moment, update)` in the wider dtype of both and at least float32, cast last to the moment's dtype."""

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
    """Real and complex arrays in one precision, at least float32."""
    precise = numerics.common_dtype(jnp.float32, *(numerics.real_dtype(x.dtype) for x in xs))
    both = numerics.common_dtype(precise, *(x.dtype for x in xs))
    return [numerics.convert(x, both if jnp.iscomplexobj(x) else precise) for x in xs]

"""The assignment problem: a partner for every row or every column of a cost matrix, at the least total cost."""

import typing as _typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import checks, hints, numerics
from .types import Array

__all__ = ["base_hungarian_algorithm", "hungarian_algorithm"]


@checks.entrance("hungarian_algorithm")
def hungarian_algorithm(cost_matrix: Array) -> tuple[Array, Array]:
    """Assign rows to columns, each to at most one, at the least total cost.

        min over assignments of sum of cost_matrix[i, j];  min(n, m) pairs (i, j), in the order of the rows

        i, j = hungarian_algorithm(cost_matrix)
        cost = cost_matrix[i, j].sum()

    One row after another gets a column, on the shortest augmenting path under dual variables: O(n^2 m) for n <= m. It
    computes in at least float32. Integers stay integers, and are exact below 2^28 in magnitude (2^60 in 64 bits).

    Args:
      cost_matrix: real, of shape (n, m). A pair that costs inf or NaN is forbidden: as few of these as possible are
        in the result. Where a pair costs -inf, some such pair is in the result, if there is an assignment without
        forbidden pairs that has one.
    Returns: i and j, int32 of shape (min(n, m),). The derivative of the cost is that of the pairs chosen.
    Raises:  ValueError for an array that is not a matrix; TypeError for complex numbers.
    Source:  Crouse 2016, On implementing 2D rectangular assignment algorithms, pp. 1685-1686; Jonker & Volgenant 1987.
    Differs: Optax has two algorithms, one under each name, whose pairs come in other orders.
    """
    cost = jnp.asarray(cost_matrix)
    if cost.ndim != 2:
        checks.fail(f"cost_matrix must be a matrix, got {checks.shown(cost)}")
    if jnp.iscomplexobj(cost):
        checks.fail(f"cost_matrix must be real, got {cost.dtype}", TypeError)
    cost = _comparable(lax.stop_gradient(cost))
    n, m = cost.shape
    if n <= m:
        return jnp.arange(n, dtype=jnp.int32), _columns(cost)
    rows = _columns(cost.T)
    order = jnp.argsort(rows).astype(jnp.int32)
    return rows[order], order


base_hungarian_algorithm = hungarian_algorithm


def _comparable(cost: Array) -> Array:
    """Costs to compute with: without NaN and -inf."""
    if not jnp.issubdtype(cost.dtype, jnp.floating):
        return cost.astype(numerics.common_dtype(cost.dtype, jnp.int32))
    cost = numerics.convert(cost, numerics.wide_dtype(cost.dtype))
    cost = jnp.where(jnp.isnan(cost), jnp.inf, cost)
    finite = jnp.isfinite(cost)
    low = jnp.min(cost, initial=0, where=finite)
    high = jnp.max(cost, initial=0, where=finite)
    # So low that one such pair is worth more than all others together.
    least = low - (min(cost.shape) + 1) * (high - low + 1)
    return jnp.where(cost == -jnp.inf, least, cost)


@jax.jit
def _columns(cost: Array) -> Array:
    """The column of each row, given at most as many rows as columns."""
    n, m = cost.shape
    if n == 0:
        return jnp.zeros(0, jnp.int32)
    nobody, nowhere = jnp.full(m, -1, jnp.int32), jnp.full(n, -1, jnp.int32)
    start = (jnp.zeros(n, cost.dtype), jnp.zeros(m, cost.dtype), nobody, nowhere)
    _, _, row_of, column_of = lax.fori_loop(0, n, lambda i, carry: _assign(cost, jnp.int32(i), *carry), start)
    # A row that no path without a forbidden pair could assign gets one of the columns that are left.
    alone = column_of < 0
    left = jnp.nonzero(row_of < 0, size=m, fill_value=0)[0].astype(jnp.int32)
    return jnp.where(alone, left[jnp.cumsum(alone) - 1], column_of)


def _assign(cost: Array, row: Array, u: Array, v: Array, row_of: Array, column_of: Array) -> tuple[Array, ...]:
    """Assign one more row: dual variables u of rows and v of columns, and the pairs of both kinds, -1 where free."""
    infinity = np.array(np.inf if cost.dtype.kind == "f" else np.iinfo(cost.dtype).max, cost.dtype)
    free = row_of < 0

    # The tree of shortest paths from `row`, in reduced costs, up to the first free column.
    def grow(carry: Any) -> Any:
        i, _, length, lengths, before, inside = carry
        through = length + cost[i] - u[i] - v
        shorter = ~inside & (through < lengths)
        lengths, before = jnp.where(shorter, through, lengths), jnp.where(shorter, i, before)
        length = jnp.min(lengths, initial=infinity, where=~inside)
        nearest = ~inside & (lengths == length)
        j = jnp.argmax(jnp.where(nearest, jnp.where(free, 2, 1), 0)).astype(jnp.int32)
        sink = jnp.where(free[j] & (length < infinity), j, -1)
        return row_of[j], sink, length, lengths, before, inside.at[j].set(True)

    def growing(carry: Any) -> Any:
        _, sink, length, *_ = carry
        return (sink < 0) & (length < infinity)

    unreached, outside = jnp.full(v.shape, infinity), jnp.zeros(v.shape, bool)
    begin = (row, jnp.int32(-1), jnp.zeros((), cost.dtype), unreached, jnp.full(v.shape, -1, jnp.int32), outside)
    _, sink, length, lengths, before, inside = lax.while_loop(growing, grow, begin)

    # Without a path nothing changes: an augmenting path for this row will not appear later either.
    slack = jnp.where(inside & ~free & (sink >= 0), length - lengths, 0)
    u = u.at[jnp.where(free, u.size, row_of)].add(slack, mode="drop").at[row].add(jnp.where(sink >= 0, length, 0))

    def flip(carry: Any) -> Any:
        j, row_of, column_of = carry
        i = before[j]
        return column_of[i], row_of.at[j].set(i), column_of.at[i].set(j)

    _, row_of, column_of = lax.while_loop(lambda carry: carry[0] >= 0, flip, (sink, row_of, column_of))
    return u, v - slack, row_of, column_of


if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = hints.surface(__name__)

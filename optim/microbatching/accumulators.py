"""How the results of micro-batches are combined."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from .. import checks, numerics
from ..types import Array, DType, Tree

_reshard: Any = jax.sharding.reshard  # untyped in jax


class AccumulationType(enum.Enum):
    """How the results of micro-batches are combined."""

    MEAN = enum.auto()
    SUM = enum.auto()
    RUNNING_MEAN = enum.auto()
    CONCAT = enum.auto()


@dataclass(frozen=True)
class Accumulator:
    """A rule that combines the results of micro-batches, where no `AccumulationType` does.

        carry = init(shape of x_0);  carry = update(carry, x_i, i) for i = 0, 1, ...;  result = finalize(carry)

        largest = Accumulator(
            lambda x: jnp.full(x.shape, -jnp.inf, x.dtype), lambda carry, x, i: jnp.maximum(carry, x),
            lambda carry: carry, lambda xs: xs.max(axis=0),
        )

    Args:
      init: function from the shape and dtype of one result, a tree of `jax.ShapeDtypeStruct`, to the first carry.
      update: function (carry, result, i) -> carry, where i is the number of results before this one.
      finalize: function from the last carry to the combined result.
      aggregate: function from the results of all examples of one micro-batch, stacked along a leading axis, to the
        result of that micro-batch; `micro_vmap` and `micro_grad` need it.
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Any], Tree]
    finalize: Callable[[Tree], Tree]
    aggregate: Callable[[Tree], Tree]


CONCAT, MEAN, RUNNING_MEAN, SUM = (AccumulationType[n] for n in ("CONCAT", "MEAN", "RUNNING_MEAN", "SUM"))


def check(accumulator: Any) -> None:
    for kind in jax.tree.leaves(accumulator):
        if not isinstance(kind, AccumulationType | Accumulator):
            checks.fail(
                f"accumulator must be an AccumulationType, an Accumulator or a tree of them, got {checks.shown(kind)}",
                TypeError,
            )


def combined(accumulator: Tree, shapes: Tree, count: int) -> Accumulator:
    """One accumulator for results of these shapes, given a prefix of them and the number of micro-batches."""

    def spread(kind: Any, branch: Tree) -> Tree:
        return kind if isinstance(kind, Accumulator) else jax.tree.map(lambda x: _of_array(kind, x, count), branch)

    parts = jax.tree.map(spread, accumulator, shapes)
    return Accumulator(
        lambda shapes: jax.tree.map(lambda part, x: part.init(x), parts, shapes),
        lambda carry, value, i: jax.tree.map(lambda part, c, x: part.update(c, x, i), parts, carry, value),
        lambda carry: jax.tree.map(lambda part, c: part.finalize(c), parts, carry),
        lambda values: aggregated(accumulator, values),
    )


def aggregated(accumulator: Tree, values: Tree) -> Tree:
    """The result of a micro-batch, given those of its examples along a leading axis."""

    def over_examples(kind: Any, branch: Tree) -> Tree:
        return kind.aggregate(branch) if isinstance(kind, Accumulator) else jax.tree.map(_aggregate[kind], branch)

    return jax.tree.map(over_examples, accumulator, values)


def _over_first(reduce: Any) -> Callable[[Any], Any]:
    def reduced(x: Any) -> Any:
        if jnp.ndim(x) == 0:
            checks.fail(f"a result of vmap_fn must have a batch axis, got {checks.shown(x)}")
        return reduce(x, axis=0)

    return reduced


_aggregate = {
    SUM: _over_first(jnp.sum),
    MEAN: _over_first(jnp.mean),
    RUNNING_MEAN: _over_first(jnp.mean),
    CONCAT: lambda x: x,
}


def _zeros(x: Any, dtype: DType, second: tuple[int, ...] = ()) -> Array:
    """Zeros of the shape of `x`, with another second axis, that are sharded like `x` under an Explicit mesh."""
    zeros = jnp.zeros((*x.shape[:1], *second, *x.shape[1:]), dtype)
    spec: Any = getattr(getattr(x, "sharding", None), "spec", ())
    if all(axis is None for axis in spec):
        return zeros
    moved: Any = PartitionSpec(*spec[:1], *[None for _ in second], *spec[1:])  # type: ignore[no-untyped-call]
    sharded: Array = _reshard(zeros, NamedSharding(x.sharding.mesh, moved))
    return sharded


def _of_array(kind: AccumulationType, shape: Any, count: int) -> Accumulator:
    """The accumulator of one array: floating numbers are added in at least float32, integers as they are."""
    inexact = jnp.issubdtype(shape.dtype, jnp.inexact)
    wide = numerics.wide_dtype(shape.dtype) if inexact or kind in (MEAN, RUNNING_MEAN) else shape.dtype
    dtype = shape.dtype if inexact else wide

    def init(x: Any) -> Any:
        return _zeros(x, wide)

    def add(total: Any, x: Any, i: Any) -> Any:
        return total + numerics.convert(jnp.asarray(x), wide)

    def add_and_count(carry: Any, x: Any, i: Any) -> Any:
        return add(carry[0], x, i), (i + 1).astype(jnp.int32)

    def average(mean: Any, x: Any, i: Any) -> Any:
        return mean + (numerics.convert(jnp.asarray(x), wide) - mean) / (i + 1).astype(wide)

    def narrow(x: Any) -> Any:
        return numerics.convert(x, dtype)

    def divide(carry: Any) -> Any:
        total, number = carry
        return narrow(total / jnp.maximum(number, 1).astype(wide))

    # A micro-batch has every count-th example, so its results go to every count-th place.
    def place(rows: Any, x: Any, i: Any) -> Any:
        if x.ndim == 0:
            checks.fail("CONCAT needs results with a first axis, got a scalar")
        return lax.dynamic_update_index_in_dim(rows, x, i, 1)

    def rows(x: Any) -> Any:
        return _zeros(x, x.dtype, (count,))

    def joined(rows: Any) -> Any:
        return rows.reshape(rows.shape[0] * rows.shape[1], *rows.shape[2:])

    match kind:
        case AccumulationType.SUM:
            return Accumulator(init, add, narrow, _aggregate[kind])
        case AccumulationType.MEAN:
            return Accumulator(lambda x: (init(x), jnp.zeros((), jnp.int32)), add_and_count, divide, _aggregate[kind])
        case AccumulationType.RUNNING_MEAN:
            return Accumulator(init, average, narrow, _aggregate[kind])
        case AccumulationType.CONCAT:
            return Accumulator(rows, place, joined, _aggregate[kind])

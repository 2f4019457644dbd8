"""Evaluate a function on a batch in parts, to save memory."""

import enum
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import checks
from ..types import Tree


class AccumulationType(enum.Enum):
    """How the results of micro-batches are combined."""

    MEAN = enum.auto()
    SUM = enum.auto()
    RUNNING_MEAN = enum.auto()
    CONCAT = enum.auto()


SUM = AccumulationType.SUM


@checks.entrance("microbatch")
def microbatch(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    microbatch_size: int | None,
    accumulator: Any = SUM,
    *,
    argnames: str | Sequence[str] = (),
    in_axes: int | Sequence[int] = 0,
    num_real_microbatches: Any = None,
) -> Callable[..., Any]:
    """Evaluate `fun` on one micro-batch after another, with the memory of a single one.

        mean_grad = microbatch(jax.grad(loss), argnums=1, microbatch_size=8, accumulator=AccumulationType.MEAN)
        grads = mean_grad(params, batch)

    Args:
      fun: the function.
      argnums, argnames: positions and names of the arguments with a batch axis, trees of arrays.
      microbatch_size: examples per micro-batch, which must divide the batch; None evaluates the whole batch at once.
      accumulator: SUM, MEAN, RUNNING_MEAN (a mean at every moment) or CONCAT (along the first axis), or a prefix of
        fun's result with these as leaves.
      in_axes: the batch axis, one for all arguments or one for each of argnums + argnames.
      num_real_microbatches: number of micro-batches to evaluate, from the first on, a number or an array; None for all.
    Raises:  ValueError if microbatch_size does not divide the batch, or batches differ in size.
    """
    checks.function("fun", fun)
    if microbatch_size is not None:
        checks.argument("microbatch_size", microbatch_size, checks.Range(1, integer=True))
    for kind in jax.tree.leaves(accumulator):
        if not isinstance(kind, AccumulationType):
            checks.fail(
                f"accumulator must be an AccumulationType or a tree of them, got {checks.shown(kind)}", TypeError
            )
    if microbatch_size is None:
        return fun
    places = [argnums] if isinstance(argnums, int) else list(argnums)
    names = [argnames] if isinstance(argnames, str) else list(argnames)
    axes = [in_axes] * (len(places) + len(names)) if isinstance(in_axes, int) else list(in_axes)

    @checks.entrance()
    @functools.wraps(fun)
    def in_parts(*args: Any, **kwargs: Any) -> Any:
        with checks.naming("microbatch"):
            batched = [args[i] for i in places] + [kwargs[name] for name in names]
            parts = _parts(batched, axes, microbatch_size)
            count = jax.tree.leaves(parts)[0].shape[0]

        def part(i: Any) -> Any:
            now = [jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, 0, keepdims=False), t) for t in parts]
            new = list(args)
            for place, value in zip(places, now, strict=False):
                new[place] = value
            return fun(*new, **{**kwargs, **dict(zip(names, now[len(places) :], strict=True))})

        shapes = jax.eval_shape(part, 0)
        kinds = _kinds(accumulator, shapes)
        total = count if num_real_microbatches is None else jnp.minimum(num_real_microbatches, count)
        started = jax.tree.map(functools.partial(_initial, count=count), kinds, shapes)

        def step(i: Any, accumulated: Tree) -> Tree:
            return jax.tree.map(functools.partial(_accumulate, i=i), kinds, accumulated, part(i))

        accumulated = jax.lax.fori_loop(0, total, step, started)
        return jax.tree.map(functools.partial(_result, total=total), kinds, accumulated)

    return in_parts


def _parts(given: list[Any], axes: list[int], size: int) -> list[Any]:
    """Every argument with its batch axis split in two: a leading axis of micro-batches, and the examples of each."""
    sizes = {x.shape[a] for t, a in zip(given, axes, strict=True) for x in jax.tree.leaves(t)}
    if len(sizes) != 1:
        checks.fail(f"the batched arguments have the sizes {sorted(sizes)}, expected one size")
    (n,) = sizes
    if n % size or n == 0:
        checks.fail(f"microbatch_size {size} must divide the batch of {n}")

    def cut(x: Any, axis: int) -> Any:
        axis %= x.ndim
        whole = x.reshape(*x.shape[:axis], n // size, size, *x.shape[axis + 1 :])
        return jnp.moveaxis(whole, axis, 0)

    return [jax.tree.map(lambda x, a=a: cut(jnp.asarray(x), a), t) for t, a in zip(given, axes, strict=True)]


def _kinds(accumulator: Any, shapes: Tree) -> Tree:
    def spread(kind: Any, branch: Tree) -> Tree:
        return jax.tree.map(lambda _: kind, branch)

    return jax.tree.map(spread, accumulator, shapes)


def _initial(kind: AccumulationType, x: Any, count: int) -> Any:
    if kind is AccumulationType.CONCAT:
        return jnp.zeros((count, *x.shape), x.dtype)
    means = kind in (AccumulationType.MEAN, AccumulationType.RUNNING_MEAN)
    return jnp.zeros(x.shape, jnp.result_type(x.dtype, jnp.float32) if means and not _inexact(x) else x.dtype)


def _inexact(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _accumulate(kind: AccumulationType, accumulated: Any, x: Any, i: Any) -> Any:
    if kind is AccumulationType.CONCAT:
        return jax.lax.dynamic_update_index_in_dim(accumulated, x, i, 0)
    x = jnp.asarray(x).astype(accumulated.dtype)
    if kind is AccumulationType.RUNNING_MEAN:
        return accumulated + (x - accumulated) / (jnp.asarray(i) + 1).astype(accumulated.dtype)
    return accumulated + x


def _result(kind: AccumulationType, accumulated: Any, total: Any) -> Any:
    if kind is AccumulationType.CONCAT:
        return accumulated.reshape(accumulated.shape[0] * accumulated.shape[1], *accumulated.shape[2:])
    return accumulated / jnp.asarray(total).astype(accumulated.dtype) if kind is AccumulationType.MEAN else accumulated

"""A function evaluated on one micro-batch after another, to save memory."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks
from ..types import Tree
from .accumulators import SUM, check, combined


@checks.entrance("reshape_batch_axis")
def reshape_batch_axis(tree: Tree, microbatch_size: int, axis: int = 0) -> Tree:
    """Split the batch axis of every leaf in two, (number of micro-batches, microbatch_size).

        reshape_batch_axis(jnp.arange(6), 2)  # [[0, 3], [1, 4], [2, 5]]

    Of k micro-batches, the i-th has the examples i, i + k, i + 2k, ...: where the batch is sharded among devices, each
    device has its part of every micro-batch.

    Args:
      tree: a tree of arrays.
      microbatch_size: examples per micro-batch, which must divide the batch.
      axis: the batch axis.
    Raises:  ValueError if microbatch_size does not divide the batch, or leaves differ in its size.
    """
    checks.argument("microbatch_size", microbatch_size, checks.Range(1, integer=True))
    (split,), _ = _split([tree], [axis], microbatch_size)
    return jax.tree.map(lambda x: jnp.swapaxes(x, *_both(x, axis)), split)


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
      accumulator: SUM, MEAN, RUNNING_MEAN (a mean at every moment), CONCAT (along the first axis) or an `Accumulator`,
        or a prefix of fun's result with these as leaves.
      in_axes: the batch axis, one for all arguments or one for each of argnums + argnames.
      num_real_microbatches: number of micro-batches to evaluate, from the first on, a number or an array; None for all.
        Which examples are in a micro-batch: see `reshape_batch_axis`. CONCAT has zeros for the others.
    Raises:  ValueError if microbatch_size does not divide the batch, or batches differ in size.
    Differs: MEAN divides by the number of micro-batches evaluated; Optax divides by the number of all.
    """
    checks.function("fun", fun)
    if microbatch_size is not None:
        checks.argument("microbatch_size", microbatch_size, checks.Range(1, integer=True))
    check(accumulator)
    if microbatch_size is None:
        return fun
    places = [argnums] if isinstance(argnums, int) else list(argnums)
    names = [argnames] if isinstance(argnames, str) else list(argnames)
    axes = [in_axes] * (len(places) + len(names)) if isinstance(in_axes, int) else list(in_axes)
    if len(axes) != len(places) + len(names):
        checks.fail(f"in_axes must have one axis for each of argnums + argnames, got {in_axes}")

    @checks.entrance()
    @functools.wraps(fun)
    def in_parts(*args: Any, **kwargs: Any) -> Any:
        with checks.naming("microbatch"):
            parts, count = _split([args[i] for i in places] + [kwargs[name] for name in names], axes, microbatch_size)

        def part(i: Any) -> Any:
            now = [jax.tree.map(functools.partial(_part, i, axis), t) for t, axis in zip(parts, axes, strict=True)]
            new = list(args)
            for place, value in zip(places, now, strict=False):
                new[place] = value
            return fun(*new, **{**kwargs, **dict(zip(names, now[len(places) :], strict=True))})

        shapes = jax.eval_shape(part, 0)
        with checks.naming("microbatch"):
            rule = combined(accumulator, shapes, count)
        total = count if num_real_microbatches is None else jnp.minimum(num_real_microbatches, count)
        carry = lax.fori_loop(0, total, lambda i, carry: rule.update(carry, part(i), jnp.asarray(i)), rule.init(shapes))
        return rule.finalize(carry)

    return in_parts


def _split(given: list[Any], axes: list[int], size: int) -> tuple[list[Any], int]:
    """Every batch axis as two, the examples of a micro-batch and the micro-batches, and the number of these.

    In this order the split is a reshape, which copies nothing and keeps the sharding of the batch axis.
    """
    arrays = [jax.tree.map(jnp.asarray, t) for t in given]
    sizes = set()
    for t, axis in zip(arrays, axes, strict=True):
        for x in jax.tree.leaves(t):
            if not -x.ndim <= axis < x.ndim:
                checks.fail(f"a batched argument has no axis {axis}: {checks.shown(x)}")
            sizes.add(x.shape[axis])
    if len(sizes) != 1:
        checks.fail(f"the batched arguments have the sizes {sorted(sizes)}, expected one size")
    (n,) = sizes
    if n % size or n == 0:
        checks.fail(f"microbatch_size {size} must divide the batch of {n}")

    def split(axis: int, x: Any) -> Any:
        axis %= x.ndim
        return x.reshape(*x.shape[:axis], size, n // size, *x.shape[axis + 1 :])

    return [jax.tree.map(functools.partial(split, a), t) for t, a in zip(arrays, axes, strict=True)], n // size


def _both(x: Any, axis: int) -> tuple[int, int]:
    """The two axes that `_split` made of one."""
    first = axis if axis >= 0 else axis + x.ndim - 1
    return first, first + 1


def _part(i: Any, axis: int, x: Any) -> Any:
    return lax.dynamic_index_in_dim(x, i, _both(x, axis)[1], keepdims=False)

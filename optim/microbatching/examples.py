"""Functions of one example, mapped over a batch in micro-batches: values, and gradients per example."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from .. import checks
from ..types import Tree
from .accumulators import CONCAT, SUM, aggregated, check
from .batches import microbatch


@checks.entrance("micro_vmap")
def micro_vmap(
    fun: Callable[..., Any],
    in_axes: int | Sequence[int | None] = 0,
    out_axes: Any = 0,
    *,
    microbatch_size: int | None = None,
    vmap_fn: Callable[..., Any] = jax.vmap,
    accumulator: Any = CONCAT,
    num_real_microbatches: Any = None,
) -> Callable[..., Any]:
    """Map a function of one example over a batch, as `jax.vmap` does, with the memory of one micro-batch.

        norms = micro_vmap(jnp.linalg.norm, microbatch_size=8)(vectors)

    Args:
      fun: function of one example.
      in_axes: the batch axis of all positional arguments, or of each, where None marks an argument without one. Keyword
        arguments have it first.
      out_axes: must be 0.
      microbatch_size: examples per micro-batch, which must divide the batch; None maps over the whole batch at once.
      vmap_fn: function (fun, in_axes, out_axes) like `jax.vmap`.
      accumulator: CONCAT for the results of all examples, SUM, MEAN or RUNNING_MEAN over them, or an `Accumulator`, or
        a prefix of fun's result with these as leaves.
      num_real_microbatches: as in `microbatch`.
    Raises:  ValueError as `microbatch`, and for out_axes other than 0.
    Differs: in_axes=0 is the batch axis of every argument; Optax takes a number for a function of one argument only.
    """
    checks.function("fun", fun)
    checks.function("vmap_fn", vmap_fn)
    check(accumulator)
    if out_axes != 0:
        checks.fail(f"out_axes must be 0, got {checks.shown(out_axes)}")
    given = [in_axes] if isinstance(in_axes, int) else in_axes
    if not isinstance(given, list | tuple) or not all(a is None or isinstance(a, int) for a in given):
        checks.fail(f"in_axes must be an int or a tuple of ints and None, got {checks.shown(in_axes)}", TypeError)

    @checks.entrance("micro_vmap")
    def mapped(*args: Any, **kwargs: Any) -> Any:
        axes = tuple([in_axes] * len(args) if isinstance(in_axes, int) else in_axes)
        if len(axes) != len(args):
            checks.fail(f"in_axes must have one axis for each of {len(args)} arguments, got {in_axes}")

        def of_microbatch(*args: Any, **kwargs: Any) -> Any:
            return aggregated(accumulator, vmap_fn(fun, axes, 0)(*args, **kwargs))

        batched = {i: axis for i, axis in enumerate(axes) if axis is not None}
        return microbatch(
            of_microbatch,
            list(batched),
            microbatch_size,
            accumulator,
            argnames=list(kwargs),
            in_axes=[*batched.values(), *[0] * len(kwargs)],
            num_real_microbatches=num_real_microbatches,
        )(*args, **kwargs)

    return mapped


class Aux(NamedTuple):
    """What `micro_grad` returns beside the gradient: values, metrics and auxiliary results of all examples."""

    values: Any
    metrics: Any
    aux: Any


@checks.entrance("micro_grad")
def micro_grad(
    fun: Callable[..., Any],
    has_aux: bool = False,
    argnums: int | Sequence[int] = 0,
    *,
    batch_argnums: int | Sequence[int] = 1,
    keep_batch_dim: bool = True,
    microbatch_size: int | None = None,
    accumulator: Any = SUM,
    transform_fn: Callable[[Tree], Tree] = lambda grads: grads,
    metrics_fn: Callable[[Tree], Any] = lambda grads: None,
    num_real_microbatches: Any = None,
) -> Callable[..., tuple[Any, Aux]]:
    """Transform the gradient of every example, and add them up, with the memory of one micro-batch.

        g_i = grad fun(params, example i)
        sum of transform_fn(g_i),  Aux(values, metrics, aux) of all i, where metrics = metrics_fn(g_i)

        clipped = micro_grad(loss, transform_fn=lambda g: optim.projections.projection_l2_ball(g, 1.0))
        grads, (losses, _, _) = clipped(params, batch)

    Args:
      fun: function (params, batch) -> value, or with has_aux -> (value, aux).
      argnums: positions of the arguments to differentiate by.
      batch_argnums: positions of the arguments with a batch axis, which is their first. Keyword arguments have one too.
      keep_batch_dim: whether fun receives an example as a batch of size 1.
      microbatch_size, accumulator, num_real_microbatches: as in `microbatch`.
      transform_fn: function of the gradient of one example.
      metrics_fn: function of the gradient of one example, before transform_fn; its results, for each example, should
        be small.
    """
    checks.function("fun", fun)
    checks.function("transform_fn", transform_fn)
    checks.function("metrics_fn", metrics_fn)
    check(accumulator)
    batched = [batch_argnums] if isinstance(batch_argnums, int) else list(batch_argnums)
    grad_fn = jax.value_and_grad(fun, argnums, has_aux=has_aux)

    def of_example(*args: Any, **kwargs: Any) -> tuple[Any, Aux]:
        if keep_batch_dim:
            args = tuple(jax.tree.map(lambda x: x[None], x) if i in batched else x for i, x in enumerate(args))
        out, grads = grad_fn(*args, **kwargs)
        value, aux = out if has_aux else (out, None)
        return transform_fn(grads), Aux(value, metrics_fn(grads), aux)

    @checks.entrance("micro_grad")
    def per_example(*args: Any, **kwargs: Any) -> tuple[Any, Aux]:
        in_axes = [0 if i in batched else None for i in range(len(args))]
        settings = {"microbatch_size": microbatch_size, "num_real_microbatches": num_real_microbatches}
        gradients: tuple[Any, Aux] = micro_vmap(of_example, in_axes, accumulator=(accumulator, CONCAT), **settings)(
            *args, **kwargs
        )
        return gradients

    return per_example

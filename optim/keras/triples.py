"""Triples (init, update, get_params) of `jax.example_libraries.optimizers` as transformations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.example_libraries.optimizers import OptimizerState

from .. import checks, numerics, tree
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.rules import check_updates
from ..types import Array, Params, Tree


def is_triple(x: Any) -> bool:
    """Whether `x` is a tuple of three functions, named or plain."""
    return isinstance(x, tuple) and len(x) == 3 and all(map(callable, x))


def from_triple(
    init_fn: Callable[[Any], Any], update_fn: Callable[..., Any], get_params: Callable[[Any], Any]
) -> GradientTransformationExtraArgs:
    """The transformation that moves the parameters as the triple does.

    State:   shaped like params, with a tuple of the triple's arrays for each parameter. The parameters, which the
             triple's own state contains, are inserted for every update and removed afterwards.
    """

    def packed(opt_state: Any) -> Any:
        if not isinstance(opt_state, OptimizerState):
            checks.fail(
                "optimizer's first function must return an OptimizerState, as those of "
                f"jax.example_libraries.optimizers do, got {checks.shown(opt_state)}",
                TypeError,
            )
        return opt_state

    def init(params: Params) -> Any:
        leaves, structure = tree.flatten(trainable(params))
        with jax.numpy_dtype_promotion("standard"):
            opt_state = packed(init_fn(structure.unflatten(leaves)))
        rows = zip(opt_state.packed_state, _read_through(get_params, opt_state), strict=True)
        return structure.unflatten([None if p is None else _shard_like(p, _without(*next(rows))) for p in leaves])

    def update(updates: Any, state: Any, params: Any = None, *, count: Array, **extra_args: Any) -> Any:
        del extra_args
        gs, old, structure = checked(updates, params)
        rows = _per_leaf(state, structure)
        # The triple needs a gradient for every leaf: pass zeros for an absent one, and discard that leaf's results.
        grads = [
            None if p is None else jnp.zeros_like(p) if tree.absent(g) else numerics.convert(g, p.dtype)
            for g, p in zip(gs, old, strict=True)
        ]
        places = [i for i, p in enumerate(old) if p is not None]
        with jax.numpy_dtype_promotion("standard"):
            template = packed(jax.eval_shape(init_fn, structure.unflatten(old)))
            slots = _read_through(get_params, template)
            full = tuple(_with(rows[i], slot, old[i]) for i, slot in zip(places, slots, strict=True))
            stepped = update_fn(count, structure.unflatten(grads), template._replace(packed_state=full))
            new = jax.tree.leaves(get_params(stepped))
        us, new_rows = list(gs), list(rows)
        for i, slot, p, parts in zip(places, slots, new, stepped.packed_state, strict=True):
            if not tree.absent(gs[i]):
                us[i] = numerics.convert(p - old[i], gs[i].dtype, weak=gs[i].weak_type)
                new_rows[i] = tuple(map(_cast_like, _without(parts, slot), rows[i]))
        return structure.unflatten(us), structure.unflatten(new_rows)

    return GradientTransformationExtraArgs(init, update)


def trainable(params: Params) -> Tree:
    """The floating and complex parameters in at least float32; `None` for all others."""
    wide = tree.widen(params)
    return tree.map(lambda p: p if jnp.issubdtype(p.dtype, jnp.inexact) else None, wide)


def checked(updates: Any, params: Any) -> tuple[list[Any], list[Any], Any]:
    """Gradients and trainable parameters, leaf by leaf and checked, and the structure of the parameters."""
    if params is None:
        if tree.leaves(updates):
            checks.fail("update needs the parameters: call update(updates, state, params)")
        params = updates
    gs = [g if tree.absent(g) else tree.as_array(g) for g in tree.match(updates, params, "updates", "params")]
    check_updates(gs, tree.flatten(params)[0], params)
    leaves, structure = tree.flatten(trainable(params))
    return gs, leaves, structure


def _read_through(get_params: Callable[[Any], Any], opt_state: Any) -> list[int | None]:
    """For each parameter, the index among its arrays of the one that `get_params` returns unchanged, or None."""
    traced = jax.make_jaxpr(get_params)(opt_state).jaxpr
    variables = iter(traced.invars)
    rows = [[next(variables) for _ in parts] for parts in opt_state.packed_state]
    pairs = zip(rows, traced.outvars, strict=True)
    return [next((j for j, x in enumerate(parts) if x is out), None) for parts, out in pairs]


def _per_leaf(state: Any, structure: Any) -> list[Any]:
    try:
        return list(structure.flatten_up_to(state))
    except ValueError as error:
        return checks.fail(f"state.inner_state is not shaped like params: {str(error).splitlines()[0]}")


def _shard_like(p: Array, parts: tuple[Any, ...]) -> tuple[Array, ...]:
    """Copies of the arrays, sharded like their parameter: a select that never picks `p` has its sharding."""
    arrays = [jnp.array(x) for x in parts]
    return tuple(jnp.where(False, p, x) if (x.shape, x.dtype) == (p.shape, p.dtype) else x for x in arrays)


def _without(parts: Any, place: int | None) -> tuple[Any, ...]:
    return tuple(x for j, x in enumerate(parts) if j != place)


def _with(parts: Any, place: int | None, p: Any) -> list[Any]:
    return [*parts] if place is None else [*parts[:place], p, *parts[place:]]


def _cast_like(new: Any, old: Any) -> Any:
    return numerics.convert(tree.as_array(new), old.dtype)

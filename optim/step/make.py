"""Whole training steps, compiled into one program that reuses the buffers of parameters and state."""

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..core.apply import apply_updates
from ..core.eager import data_and_rest
from ..core.transformation import taking_extra_args
from ..tree.places import with_paths
from ..types import OptState, Params, TransformationLike, Updates
from ..wrappers.loss_scale import loss_scale_of, scale_loss

P = TypeVar("P")
S = TypeVar("S")


class ApplyFn(Protocol):
    """`apply(params, state, grads, **extra) -> (params, state)`: what `make_update` returns."""

    def __call__(self, params: P, state: S, grads: Updates, **extra: Any) -> tuple[P, S]:
        """Return the parameters and the state after one update with these gradients."""


class StepFn(Protocol):
    """`step(params, state, *batch) -> (params, state, loss)`: what `make_step` returns."""

    def __call__(self, params: P, state: S, *batch: Any) -> tuple[P, S, Any]:
        """Return the parameters and the state after one step, and the loss, or (loss, aux), before it."""

    def lower(self, params: Any, state: Any, *batch: Any) -> jax.stages.Lowered:
        """Lower the program for these arguments, as `jax.jit(f).lower` does."""


@checks.entrance("make_update")
def make_update(tx: TransformationLike, *, donate: bool = True) -> ApplyFn:
    """Compile update and application: `apply(params, state, grads, **extra) -> (params, state)`.

        updates, state = tx.update(grads, state, params, **extra)
        params         = apply_updates(params, updates)

    Every buffer is read and written once. There is one trace per structure of the arguments.

    Args:
      tx: the transformation.
      donate: whether the results reuse the buffers of params and state, which then become invalid.
    Raises:  TypeError if tx is not a pair (init, update), or for a leaf that is not an array, naming its path;
             errors of the update.
    """
    member = taking_extra_args(tx, "tx")

    def update(static: Any, params: Params, state: OptState, grads: Updates, extra: Any) -> tuple[Params, OptState]:
        return _taken(member, grads, state, params, {**extra, **dict(static)})

    program = jax.jit(update, static_argnums=0, donate_argnums=(1, 2) if donate else ())

    @checks.entrance()
    def apply(params: Any, state: Any, grads: Updates, **extra: Any) -> tuple[Any, Any]:
        data, rest = data_and_rest(extra)
        try:
            moved: tuple[Any, Any] = program(rest, params, state, grads, data)
        except TypeError:
            _refuse_other_leaves("make_update", {"params": params, "state": state, "grads": grads})
            raise
        return moved

    return apply


@checks.entrance("make_step")
def make_step(
    loss_fn: Callable[..., Any],
    tx: TransformationLike,
    *,
    has_aux: bool = False,
    donate: bool = True,
    axis_name: Any = None,
) -> StepFn:
    """Compile a training step: `step(params, state, *batch) -> (params, state, loss)`.

        loss, grads   = value_and_grad(loss_fn)(params, *batch), averaged over axis_name
        params, state = params and state after the update

    Where the state has a scale of `dynamic_loss_scale`, the gradients are those of the scaled loss; the loss returned
    is not scaled. The update receives the loss as `value`, and `grad` and `value_fn` for line searches. Gradients of
    complex parameters are conjugated, as descent requires; integer parameters have none.

    Args:
      loss_fn: function (params, *batch) -> loss, or with has_aux -> (loss, aux).
      tx: the transformation.
      has_aux: whether loss_fn returns (loss, aux); step then returns (loss, aux) in place of the loss.
      donate: whether the results reuse the buffers of params and state, which then become invalid.
      axis_name: the axes of `pmap` or `shard_map` over which loss and gradients are averaged; aux is not averaged.
    Raises:  TypeError if loss_fn is not a function or tx not a pair (init, update), for a leaf that is not an array,
             naming its path, and for a loss that is not a real scalar; errors of the update.
    """
    if not callable(loss_fn):
        checks.fail(f"loss_fn must be a function, got {checks.shown(loss_fn)}", TypeError)
    member = taking_extra_args(tx, "tx")

    def averaged(x: Any) -> Any:
        pmean: Any = jax.lax.pmean  # untyped in jax
        return x if axis_name is None else pmean(x, axis_name)

    def checked_loss(params: Params, *batch: Any) -> Any:
        out = loss_fn(params, *batch)
        with checks.naming("make_step"):
            _refuse_other_losses(out, has_aux)
        return out

    def scaled_grads(state: OptState, params: Params, *batch: Any) -> tuple[Any, Any]:
        """The loss as it is, and the gradients of the scaled one."""

        def scaled(params: Params) -> Any:
            out = checked_loss(params, *batch)
            return scale_loss(state, out[0] if has_aux else out), out

        (_, out), grads = jax.value_and_grad(scaled, has_aux=True, allow_int=True)(params)
        return out, grads

    def step(params: Params, state: OptState, *batch: Any) -> tuple[Params, OptState, Any]:
        def value_fn(params: Params) -> Any:
            out = loss_fn(params, *batch)
            return averaged(out[0] if has_aux else out)

        scale = loss_scale_of(state)
        if scale is None:
            out, grads = jax.value_and_grad(checked_loss, has_aux=has_aux, allow_int=True)(params, *batch)
        else:
            out, grads = scaled_grads(state, params, *batch)
        grads = tree.map(lambda g: averaged(jnp.conj(g) if jnp.iscomplexobj(g) else g), grads)
        loss, aux = out if has_aux else (out, None)
        loss = averaged(loss)
        params, state = _taken(member, grads, state, params, {"value": loss, "grad": grads, "value_fn": value_fn})
        return params, state, (loss, aux) if has_aux else loss

    program = jax.jit(step, donate_argnums=(0, 1) if donate else ())

    @checks.entrance()
    @functools.wraps(program)
    def run(params: Any, state: Any, *batch: Any) -> Any:
        try:
            return program(params, state, *batch)
        except TypeError:
            named = {"params": params, "state": state} | {f"batch[{i}]": x for i, x in enumerate(batch)}
            _refuse_other_leaves("make_step", named)
            raise

    made: Any = run
    for method in ("lower", "trace", "eval_shape", "clear_cache"):
        setattr(made, method, getattr(program, method))
    stepped: StepFn = made
    return stepped


def _taken(member: Any, grads: Updates, state: Any, params: Any, extra: dict[str, Any]) -> tuple[Any, Any]:
    """The parameters and the state after an update."""
    if member.facts.applies is not None:
        member.check_state(state)
        moved: tuple[Any, Any] = member.facts.applies(grads, state, params, extra)
        return moved
    updates, state = member.update(grads, state, params, **extra)
    return apply_updates(params, updates), state


def _refuse_other_leaves(name: str, trees: dict[str, Any]) -> None:
    """Refuse the first leaf that is not an array, as the functions in an Equinox module are not."""
    for what, given in trees.items():
        for leaf, path in zip(*_leaves_and_paths(given), strict=True):
            try:
                jax.typeof(leaf)
            except TypeError:
                hint = "; equinox.partition(model, equinox.is_array) separates the arrays" if callable(leaf) else ""
                with checks.naming(name):
                    checks.fail(f"{what}{path} is {checks.shown(leaf)}, expected an array{hint}", TypeError)


def _leaves_and_paths(given: Any) -> tuple[list[Any], list[str]]:
    found = with_paths(given, lambda x: False)
    return [leaf for _, leaf in found], [jax.tree_util.keystr(path) for path, _ in found]


def _refuse_other_losses(out: Any, has_aux: bool) -> None:
    """Refuse what `loss_fn` returned, where it is not a real scalar, or with has_aux a pair of one and anything."""
    if has_aux and not (isinstance(out, list | tuple) and len(out) == 2):
        checks.fail(f"loss_fn must return (loss, aux), as has_aux=True says, got {checks.shown(out)}", TypeError)
    loss, what = (out[0], "the loss that loss_fn returns") if has_aux else (out, "the result of loss_fn")
    hint = ""
    if checks.is_array(loss) and loss.shape:
        hint = "; take its mean or sum, as in jnp.mean(...)"
    elif isinstance(loss, tuple) and not has_aux:
        hint = "; with has_aux=True it may be (loss, aux)"
    elif checks.is_array(loss) or isinstance(loss, int | float | complex | np.number):
        if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
            checks.fail(f"{what} must be real and floating, got {jnp.result_type(loss)}", TypeError)
        return
    checks.fail(f"{what} must be a scalar, got {checks.shown(loss)}{hint}", TypeError)

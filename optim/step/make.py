"""Whole training steps, compiled into one program that reuses the buffers of parameters and state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..core.apply import apply_updates
from ..core.eager import data_and_rest
from ..core.transformation import taking_extra_args
from ..types import OptState, Params, Updates

Apply = Callable[..., tuple[Params, OptState]]
Step = Callable[..., tuple[Params, OptState, Any]]


def make_update(tx: Any, *, donate: bool = True) -> Apply:
    """Compile update and application: `apply(params, state, grads, **extra) -> (params, state)`.

        updates, state = tx.update(grads, state, params, **extra)
        params         = apply_updates(params, updates)

    Every buffer is read and written once. There is one trace per structure of the arguments.

    Args:
      tx: the transformation.
      donate: whether the results reuse the buffers of params and state, which then become invalid.
    Raises:  TypeError if tx is not a pair (init, update); errors of the update.
    """
    with checks.naming("make_update"):
        member = taking_extra_args(tx, "tx")

    def update(static: Any, params: Params, state: OptState, grads: Updates, extra: Any) -> tuple[Params, OptState]:
        updates, state = member.update(grads, state, params, **extra, **dict(static))
        return apply_updates(params, updates), state

    program = jax.jit(update, static_argnums=0, donate_argnums=(1, 2) if donate else ())

    def apply(params: Params, state: OptState, grads: Updates, **extra: Any) -> tuple[Params, OptState]:
        data, rest = data_and_rest(extra)
        moved: tuple[Params, OptState] = program(rest, params, state, grads, data)
        return moved

    return apply


def make_step(
    loss_fn: Callable[..., Any], tx: Any, *, has_aux: bool = False, donate: bool = True, axis_name: Any = None
) -> Step:
    """Compile a training step: `step(params, state, *batch) -> (params, state, loss)`.

        loss, grads   = value_and_grad(loss_fn)(params, *batch), averaged over axis_name
        params, state = params and state after the update

    The update receives the loss as `value`, and `grad` and `value_fn` for line searches. Gradients of complex
    parameters are conjugated, as descent requires; integer parameters have none.

    Args:
      loss_fn: function (params, *batch) -> loss, or with has_aux -> (loss, aux).
      tx: the transformation.
      has_aux: whether loss_fn returns (loss, aux); step then returns (loss, aux) in place of the loss.
      donate: whether the results reuse the buffers of params and state, which then become invalid.
      axis_name: the axes of `pmap` or `shard_map` over which loss and gradients are averaged; aux is not averaged.
    Raises:  TypeError if loss_fn is not a function or tx not a pair (init, update); errors of the update.
    """
    with checks.naming("make_step"):
        if not callable(loss_fn):
            checks.fail(f"loss_fn must be a function, got {checks.shown(loss_fn)}", TypeError)
        member = taking_extra_args(tx, "tx")

    def averaged(x: Any) -> Any:
        pmean: Any = jax.lax.pmean  # untyped in jax
        return x if axis_name is None else pmean(x, axis_name)

    def step(params: Params, state: OptState, *batch: Any) -> tuple[Params, OptState, Any]:
        def value_fn(params: Params) -> Any:
            out = loss_fn(params, *batch)
            return averaged(out[0] if has_aux else out)

        out, grads = jax.value_and_grad(loss_fn, has_aux=has_aux, allow_int=True)(params, *batch)
        grads = tree.map(lambda g: averaged(jnp.conj(g) if jnp.iscomplexobj(g) else g), grads)
        loss, aux = out if has_aux else (out, None)
        loss = averaged(loss)
        updates, state = member.update(grads, state, params, value=loss, grad=grads, value_fn=value_fn)
        return apply_updates(params, updates), state, (loss, aux) if has_aux else loss

    return jax.jit(step, donate_argnums=(0, 1) if donate else ())

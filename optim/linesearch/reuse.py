"""The loss and the gradient that a line search has left in the state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, numerics, tree
from ..core.eager import data_and_rest
from ..types import Array, OptState, Params, Updates
from .ray import ValueFn


@checks.entrance("value_and_grad_from_state")
def value_and_grad_from_state(value_fn: ValueFn) -> Callable[..., tuple[Array, Updates]]:
    """A `jax.value_and_grad` of `value_fn` that evaluates nothing where a line search has been.

    What it returns is called as value_and_grad(params, *args, state=state, **kwargs). It takes the value and the
    gradient from the state, where the last update has left them, and evaluates value_fn(params, *args, **kwargs) if the
    value there is not finite: before the first update. It is right where value_fn is the function that was searched,
    with the same data. It is compiled once, so make it outside the loop.

    Raises:  TypeError for what is no function; ValueError for a state that holds no value and gradient.
    """
    checks.function("value_fn", value_fn)
    evaluate = jax.value_and_grad(value_fn, allow_int=True)

    def program(static: Any, params: Params, value: Array, grad: Updates, args: Any, kwargs: Any) -> Any:
        def anew() -> tuple[Array, Updates]:
            found, g = evaluate(params, *args, **kwargs, **dict(static))
            return jnp.asarray(found), tree.map(lambda old, new: new, grad, g)

        value_like, grad_like = jax.eval_shape(anew)

        def left() -> tuple[Array, Updates]:
            kept = tree.map(lambda x, y: numerics.convert(x, y.dtype, weak=y.weak_type), grad, grad_like)
            return numerics.convert(value, value_like.dtype, weak=value_like.weak_type), kept

        return lax.cond(jnp.isfinite(value), left, anew)

    compiled = jax.jit(program, static_argnums=0)

    @checks.entrance()
    def value_and_grad(params: Params, *args: Any, state: OptState, **kwargs: Any) -> tuple[Array, Updates]:
        with checks.naming("value_and_grad_from_state"):
            value, grad = tree.get(state, "value"), tree.get(state, "grad")
            if value is None or grad is None:
                checks.fail(
                    "the state holds no value and gradient; those of scale_by_zoom_linesearch and of "
                    "scale_by_backtracking_linesearch with store_grad=True do"
                )
        data, rest = data_and_rest(kwargs)
        found: tuple[Array, Updates] = compiled(rest, params, value, grad, args, data)
        return found

    return value_and_grad

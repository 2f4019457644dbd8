"""Loss and gradient taken from the state of a line search."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..core.eager import data_and_rest
from ..types import Array, OptState, Params, Updates
from .ray import ValueFn


@checks.entrance("value_and_grad_from_state")
def value_and_grad_from_state(value_fn: ValueFn) -> Callable[..., tuple[Array, Updates]]:
    """Make a `jax.value_and_grad` of value_fn that reuses the value and the gradient in the state of a line search.

        value, grad = value_and_grad_from_state(f)(params, *args, state=state, **kwargs)

    value_fn(params, *args, **kwargs) is evaluated only if the stored value is not finite, as before the first update.
    The result is correct if the line search had the same function and the same data. Create it once, outside the loop:
    it is compiled on its first call.

    Args:
      value_fn: the loss, a function (params, *args, **kwargs) -> real scalar; the one that the line search receives.
    Raises:  TypeError if value_fn is not a function; ValueError if the state has no value and gradient.
    """
    checks.function("value_fn", value_fn)
    evaluate = jax.value_and_grad(value_fn, allow_int=True)

    def program(static: Any, params: Params, value: Array, grad: Updates, args: Any, kwargs: Any) -> Any:
        def evaluated() -> tuple[Array, Updates]:
            value_now, g = evaluate(params, *args, **kwargs, **dict(static))
            return jnp.asarray(value_now), tree.map(lambda old, new: new, grad, g)

        value_like, grad_like = jax.eval_shape(evaluated)

        def stored() -> tuple[Array, Updates]:
            g = tree.map(lambda x, y: numerics.convert(x, y.dtype, weak=y.weak_type), grad, grad_like)
            return numerics.convert(value, value_like.dtype, weak=value_like.weak_type), g

        return numerics.branch(jnp.isfinite(value), stored, evaluated)

    compiled = jax.jit(program, static_argnums=0)

    @checks.entrance()
    def value_and_grad(params: Params, *args: Any, state: OptState, **kwargs: Any) -> tuple[Array, Updates]:
        with checks.naming("value_and_grad_from_state"):
            value, grad = tree.get(state, "value"), tree.get(state, "grad")
            if value is None or grad is None:
                checks.fail(
                    "the state has no value and gradient: use scale_by_zoom_linesearch, or "
                    "scale_by_backtracking_linesearch with store_grad=True"
                )
        data, rest = data_and_rest(kwargs)
        result: tuple[Array, Updates] = compiled(rest, params, value, grad, args, data)
        return result

    return value_and_grad

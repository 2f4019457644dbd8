"""Conditions under which `MultiSteps` skips a micro-step."""

from typing import Any

import jax.numpy as jnp

from .. import tree
from ..core.registry import register
from ..types import Array, Count, Params, Scalar, Updates


@register(kind="function")
def skip_not_finite(updates: Updates, gradient_step: Count, params: Params | None) -> tuple[Array, Any]:
    """Skip updates with an infinite or NaN element, for `should_skip_update_fn` of `MultiSteps`.

    Args:
      updates: the gradients of a micro-step.
      gradient_step, params: unused.
    State:   a dict of should_skip and num_not_finite, the number of non-finite elements.
    """
    del gradient_step, params
    counts = [jnp.sum(~jnp.isfinite(tree.as_array(x)), dtype=jnp.int32) for x in tree.leaves(updates)]
    number = jnp.sum(jnp.stack(counts), dtype=jnp.int32) if counts else jnp.zeros((), jnp.int32)
    skip = number > 0
    return skip, {"should_skip": skip, "num_not_finite": number}


@register(kind="function")
def skip_large_updates(
    updates: Updates, gradient_step: Count, params: Params | None, max_squared_norm: Scalar
) -> tuple[Array, Any]:
    """Skip updates whose squared global norm is not below a bound, for `should_skip_update_fn` of `MultiSteps`.

        MultiSteps(tx, 4, should_skip_update_fn=functools.partial(skip_large_updates, max_squared_norm=100.0))

    Args:
      updates: the gradients of a micro-step.
      gradient_step, params: unused.
      max_squared_norm: the bound, in units of g^2; updates with a NaN norm are skipped too.
    State:   a dict of should_skip and norm_squared.
    """
    del gradient_step, params
    norm_squared = tree.sum_sq(updates)
    skip = ~(norm_squared < max_squared_norm)
    return skip, {"should_skip": skip, "norm_squared": norm_squared}

"""What `MultiSteps` may be told to leave out."""

from typing import Any

import jax.numpy as jnp

from .. import tree
from ..core.registry import register
from ..types import Array, Count, Params, Scalar, Updates


@register(kind="function")
def skip_not_finite(updates: Updates, gradient_step: Count, params: Params | None) -> tuple[Array, Any]:
    """Whether to leave out updates because some element is infinite or NaN.

    Args:    updates; gradient_step and params, which it has no use for.
    State:   a dict of should_skip and num_not_finite, the number of such elements.
    """
    del gradient_step, params
    found = [jnp.sum(~jnp.isfinite(tree.as_array(x)), dtype=jnp.int32) for x in tree.leaves(updates)]
    number = jnp.sum(jnp.stack(found), dtype=jnp.int32) if found else jnp.zeros((), jnp.int32)
    skip = number > 0
    return skip, {"should_skip": skip, "num_not_finite": number}


@register(kind="function")
def skip_large_updates(
    updates: Updates, gradient_step: Count, params: Params | None, max_squared_norm: Scalar
) -> tuple[Array, Any]:
    """Whether to leave out updates because their squared global norm is not below a bound.

    Args:    updates; gradient_step and params, which it has no use for; max_squared_norm: the bound. Give it with
             `functools.partial(skip_large_updates, max_squared_norm=...)`. A norm that is NaN is not below it.
    State:   a dict of should_skip and norm_squared.
    """
    del gradient_step, params
    norm_squared = tree.sum_sq(updates)
    skip = ~(norm_squared < max_squared_norm)
    return skip, {"should_skip": skip, "norm_squared": norm_squared}

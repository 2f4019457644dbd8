"""Updates and parameters of a line search, checked leaf by leaf."""

from typing import Any

import jax.numpy as jnp

from .. import checks, tree
from ..lift.rules import check_leaf
from ..types import Params, Tree


def checked(updates: Tree, params: Params) -> tuple[list[Any], Params]:
    """The leaves of `updates` in the order of the parameters' leaves, `None` where absent, and the parameters.

    Raises:  ValueError without parameters, and naming the leaf whose shape or dtype does not fit its parameter.
    """
    if params is None:
        if tree.leaves(updates):
            checks.fail("update needs the parameters: call update(updates, state, params)")
        params = updates
    us = [None if tree.absent(u) else tree.as_array(u) for u in tree.match(updates, params, "updates", "params")]
    for i, (u, p) in enumerate(zip(us, tree.flatten(params)[0], strict=True)):
        if u is not None:
            if not jnp.issubdtype(u.dtype, jnp.inexact):
                checks.fail(f"updates{tree.paths(params)[i]} has dtype {u.dtype}, expected a floating or complex one")
            check_leaf(u, "params", p, params, i)
    return us, params

"""Parts of a state as they were at first."""

from typing import Any, TypeVar

import jax

from .. import checks, tree
from ..core.edit import _fits
from ..core.members import walk
from ..core.transformation import taking_extra_args
from ..types import MaskOrFn, OptState, Params, TransformationLike
from .masked import resolve_mask

S = TypeVar("S", bound=OptState)


@checks.entrance("reset")
def reset(tx: TransformationLike, state: S, params: Params, where: str | None = None, *, mask: MaskOrFn = None) -> S:
    """A state with one of its parts initialised anew: a member's state, or the slots of some parameters.

        state = reset(tx, state, params, "head")                # the group "head" of a partition, its counts too
        state = reset(tx, state, params, mask=is_new_row)       # the moments of some parameters; counts go on

    Args:
      tx: a transformation.
      state: its state.
      params: the parameters, of which the new part is made.
      where: the name of a member, or a path that ends with it, as in `replace`; None is the whole of tx.
      mask: the parameters whose slots start anew, as in `masked`; None is for all, and counts too.
    Raises:  KeyError for an unknown name; ValueError for a name with several matches.
    """
    tx = taking_extra_args(tx, "tx")
    fresh: Any = tx.init(params)
    if mask is not None:
        where is None or checks.fail("give where or mask, not both")
        marks = tree.structure(params).unflatten(resolve_mask(mask, params))
        chosen = tree.map_params(tx, lambda _, m: m, state, marks, transform_non_params=lambda _: False)
        taken: S = jax.tree.map(lambda m, new, old: new if m else old, chosen, fresh, state)
        return taken
    if where is None:
        everything: S = fresh
        return everything
    paths = [path for path, _ in walk(tx, state) if _fits(path, where.split("/"))]
    if not paths:
        names = sorted({name.partition("[")[0] for path, _ in walk(tx, state) for name in path})
        checks.fail(f"there is no {where!r} in {tx}; there are {', '.join(names)}", KeyError)
    if len(paths) > 1:
        checks.fail(f"there are several {where!r}: {', '.join(map('/'.join, paths))}")
    old, new = (next(part.state for path, part in walk(tx, s) if path == paths[0]) for s in (state, fresh))
    found: S = jax.tree.map(lambda x: new if x is old else x, state, is_leaf=lambda x: x is old)
    return found

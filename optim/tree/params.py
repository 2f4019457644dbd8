"""Which leaves of a state belong to a parameter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from .. import checks
from ..types import Tree
from .places import absent, flatten, is_none, paths, structure


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Params:
    """Stands for all parameters: a tree without leaves, which what is mapped over it gives back as it is."""


PARAMS = _Params()


def stands_for_params(tree: Tree) -> bool:
    """Whether `init` is asked where its slots are, and not for slots."""
    return isinstance(tree, _Params)


@checks.entrance("tree.map_params")
def map_params(
    initable: Any,
    f: Callable[..., Any],
    state: Tree,
    /,
    *rest: Tree,
    transform_non_params: Callable[[Any], Any] | None = None,
    is_leaf: Callable[[Any], bool] | None = None,
) -> Tree:
    """`f(leaf, *others)` on every leaf of the state that belongs to a parameter, others being those of `rest`.

    A tree of sharding specs for a state, given one for the parameters:
    `map_params(tx, lambda _, spec: spec, state, specs, transform_non_params=lambda _: PartitionSpec())`.

    Args:    initable: a transformation, or its init. rest: trees like the parameters, whose leaves may be anything.
             transform_non_params: what becomes of all other leaves; None leaves them.
             is_leaf: what counts as a leaf, as in `jax.tree.map`; a `None` stays `None` unless it counts.
    Raises:  TypeError for what has no init; ValueError for a state of another transformation, or a tree of `rest` that
             is not like the parameters, naming the path.
    """
    init = getattr(initable, "init", initable)
    if not callable(init):
        checks.fail(f"initable must be a transformation or its init, got {checks.shown(initable)}", TypeError)
    keep = transform_non_params or (lambda x: x)
    counts = is_leaf or (lambda _: False)

    def leaf(x: Any, *others: Any) -> Any:
        return x if absent(x) and not counts(x) else f(x, *others)

    def slot(tree: Tree) -> Tree:
        leaves, places = flatten(tree, lambda x: x is None or counts(x))
        columns = [_column(tree, places, other, i) for i, other in enumerate(rest)]
        return places.unflatten([leaf(*xs) for xs in zip(leaves, *columns, strict=True)])

    def visit(place: Any, part: Tree) -> Tree:
        if stands_for_params(place):
            return slot(part)
        return jax.tree.map(lambda x: x if absent(x) else keep(x), part, is_leaf=is_none)

    form, layout = flatten(init(PARAMS), lambda x: x is None or stands_for_params(x))
    try:
        parts = layout.flatten_up_to(state)
    except ValueError as error:
        checks.fail(f"state is not one of {checks.shown(initable)}: {str(error).splitlines()[0]}")
    return layout.unflatten([visit(a, b) for a, b in zip(form, parts, strict=True)])


def _column(slot: Tree, places: Any, other: Tree, i: int) -> list[Any]:
    """The leaves of `other` in the places of a slot, which may have several for one parameter."""
    try:
        return list(places.flatten_up_to(other))
    except ValueError:
        pass
    found, wanted = flatten(other)
    try:
        parts = wanted.flatten_up_to(slot)
    except ValueError:
        mine, theirs = paths(other), paths(slot)
        differs = next((p for p in mine if p not in theirs), next((p for p in theirs if p not in mine), ""))
        checks.fail(f"rest[{i}]{differs} has no fellow: rest[{i}] is {structure(other)}, the parameters are {places}")
    return [x for x, part in zip(found, parts, strict=True) for _ in flatten(part)[0]]

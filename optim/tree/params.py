"""Leaves of a state that belong to a parameter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from .. import checks
from ..types import Tree
from .places import absent, as_array, flatten, is_none, paths, structure, trainable


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Params:
    """Placeholder for the parameters. It has no leaves, so `tree.map` returns it unchanged."""


PARAMS = _Params()
FORMS: dict[type, Tree] = {}
"""Classes of states whose `init` gets the parameters in another form, and that form."""


def stands_for_params(tree: Tree) -> bool:
    """Whether `tree` is the placeholder for the parameters, with which `init` shows where its slots are.

    Args:
      tree: the argument of `init`.
    """
    return isinstance(tree, _Params)


def trainable_arrays(params: Tree) -> tuple[list[Any], Any]:
    """The trainable leaves as arrays, `None` in the place of the others, and the structure.

    Args:
      params: a tree of arrays, numbers or shapes; `None` and integers are not trainable.
    Raises:  TypeError for a leaf of another kind, naming its path.
    """
    leaves, structure = flatten(params)
    try:
        return [as_array(p) if trainable(p) else None for p in leaves], structure
    except TypeError:
        for p, path in zip(leaves, paths(params), strict=True):
            if not (p is None or hasattr(p, "dtype") or isinstance(p, bool | int | float | complex)):
                what = f"{path} is {checks.shown(p)}, expected an array, or None where there is none"
                checks.fail(f"params{what}", TypeError)
        raise


def of_arrays(f: Callable[[Tree], Tree], params: Tree) -> Tree:
    """`f(params)`; the shapes of the result where the parameters are only shapes.

    Args:
      f: a function of a tree of arrays.
      params: a tree of arrays, or of shapes.
    """
    shapes_only = any(map(checks.is_shape, jax.tree.leaves(params)))
    return jax.eval_shape(f, params) if shapes_only else f(params)


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
    """Apply `f(leaf, *others)` to every leaf of a state that belongs to a parameter.

        specs = map_params(tx, lambda _, s: s, state, param_specs, transform_non_params=lambda _: PartitionSpec())

    Args:
      initable: a transformation, or its init.
      f: function of a leaf of the state and the corresponding leaves of `rest`.
      state: a state of the transformation.
      rest: trees shaped like the parameters, whose leaves may be anything.
      transform_non_params: function of all other leaves; None leaves them unchanged.
      is_leaf: function that decides what counts as a leaf, as in `jax.tree.map`; a `None` stays `None` unless it
        counts.
    Raises:  TypeError if initable has no init; ValueError for a state of another transformation, or a tree of `rest`
             with another structure, naming the path.
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

    forms = [FORMS[type(x)] for x in jax.tree.leaves(state, is_leaf=lambda x: type(x) in FORMS) if type(x) in FORMS]
    form, layout = flatten(init(forms[0] if forms else PARAMS), lambda x: x is None or stands_for_params(x))
    try:
        parts = layout.flatten_up_to(state)
    except ValueError as error:
        checks.fail(f"state is not one of {checks.shown(initable)}: {str(error).splitlines()[0]}")
    return layout.unflatten([visit(a, b) for a, b in zip(form, parts, strict=True)])


def _column(slot: Tree, places: Any, other: Tree, i: int) -> list[Any]:
    """The leaves of `other` for each leaf of a slot, which may have several per parameter."""
    try:
        return list(places.flatten_up_to(other))
    except ValueError:
        pass
    values, param_structure = flatten(other)
    try:
        parts = param_structure.flatten_up_to(slot)
    except ValueError:
        other_paths, slot_paths = paths(other), paths(slot)
        unpaired = [p for p in other_paths if p not in slot_paths] + [p for p in slot_paths if p not in other_paths]
        path = next(iter(unpaired), "")
        checks.fail(f"rest[{i}]{path} has no counterpart: rest[{i}] is {structure(other)}, the parameters are {places}")
    return [x for x, part in zip(values, parts, strict=True) for _ in jax.tree.leaves(part, is_leaf=is_none)]

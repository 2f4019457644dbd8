"""Optax: its states, live or out of a checkpoint, as states of this library, and transformations as its own."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..core.transformation import taking_extra_args
from ..portable.fit import fitted_leaf
from ..tree.places import children, entry_name
from ..types import OptState, Params, TransformationLike


@checks.entrance("convert_state")
def convert_state(state: Any, tx: TransformationLike, params: Params) -> OptState:
    """The state of an Optax transformation as that of `tx`, the same call in this library, which goes on where it was.

    Both are matched by the names of their fields, the keys of their dicts and the order of their chains. `state` may be
    live, or what a checkpoint gives without its classes: dicts for named tuples, lists or dicts for tuples, nothing for
    what is empty. Optax' `MaskedNode` is nothing here; a mean that is not kept here, as its decay is 0, is left out.

    Args:    state: the Optax state. tx: this library's transformation. params: the parameters of both.
    Raises:  ValueError naming the first place of `state` that does not fit: one that is not there, one that this
             library has no place for, another shape or kind of numbers. TypeError for a tx that is no transformation.
    """
    tx = taking_extra_args(tx, "tx")
    return _converted(state, tx.init(params), "state")


@checks.entrance("as_optax")
def as_optax(tx: TransformationLike) -> Any:
    """`tx` as an object of Optax' own class, for combinations of its own.

    Optax gives extra arguments of an update to members of that class only: a plateau or a line search of this library
    needs this in `optax.chain`. All else goes there as it is, and whatever is Optax' goes into this library's chains.

    Raises:  TypeError for what is no (init, update) pair; ImportError without Optax.
    """
    made: Any = checks.need("optax", "optax").GradientTransformationExtraArgs
    return made(*taking_extra_args(tx, "tx"))


def _converted(theirs: Any, ours: Any, path: str) -> Any:
    mine, others = _children(ours), _entries(theirs)
    if mine is None:
        return _leaf(theirs, ours, path)
    if others is None:
        return (
            _none(theirs, path) if ours is None else checks.fail(f"{path} is {_what(theirs)}, expected {_what(ours)}")
        )
    if type(ours) is tuple and len(mine) != len(others):
        return _chain(theirs, ours, path)
    if type(theirs) in (tuple, list) and hasattr(ours, "_fields") and len(mine) == len(others):
        others = dict(zip(mine, others.values(), strict=True))  # a named tuple that has lost its names
    if "hyperparams_states" in mine and "hyperparams_states" not in others and "count" in others:
        # Older versions of Optax count once for all schedules.
        states = mine["hyperparams_states"]
        others["hyperparams_states"] = jax.tree.map(lambda _: others["count"], states)
    for name in others:
        unknown = name not in mine and jax.tree.leaves(others[name])
        if unknown and not path.endswith("hyperparams"):  # a number that is a Python value here
            there = f"it has {', '.join(mine)}" if mine else "it has nothing"
            checks.fail(f"{path}{_step(theirs, name)} has no place in {_what(ours)}: {there}")
    new = []
    for name, child in mine.items():
        if name in others and path.endswith("hyperparams") and _entries(others[name]) is None:
            child = _leaf(jnp.asarray(others[name], child.dtype), child, path + _step(theirs, name))
        elif name in others and not (child is None and hasattr(ours, "_fields")):
            child = _converted(others[name], child, path + _step(theirs, name))
        elif name not in others and jax.tree.leaves(child):
            there = f"it has {', '.join(others)}" if others else "it has nothing"
            checks.fail(f"{path} has no {name!r}, which {_what(ours)} needs: {there}")
        new.append(child)
    return jax.tree.unflatten(jax.tree.structure(ours, is_leaf=lambda x: x is not ours), new)


def _entries(x: Any) -> dict[str, Any] | None:
    """What is one level down, by name; None for an array."""
    if isinstance(x, Mapping):  # which need be no tree to JAX
        return {str(key): child for key, child in x.items()}
    return _children(x)


def _children(x: Any) -> dict[str, Any] | None:
    """The same in the order that JAX has them in."""
    found = [] if x is None else children(x)
    return None if found is None else {str(entry_name(key)): child for key, child in found}


def _step(x: Any, name: str) -> str:
    """One step of a path, as it is written for `x`."""
    if isinstance(x, Mapping):
        return f"[{name!r}]"
    return f"[{name}]" if type(x) in (tuple, list) else f".{name}"


def _what(x: Any) -> str:
    entries = _entries(x)
    if entries is None:
        return f"an array of shape {np.shape(x)}"
    return "nothing" if x is None else f"a {type(x).__name__} of {len(entries)} entries" if len(entries) else "empty"


def _leaf(theirs: Any, ours: Any, path: str) -> Any:
    if _entries(theirs) is not None:
        checks.fail(f"{path} is {_what(theirs)}, expected {_what(ours)}")
    found = fitted_leaf(theirs, ours)
    return checks.fail(f"{path} {found}") if isinstance(found, str) else found


def _none(theirs: Any, path: str) -> None:
    if jnp.issubdtype(jnp.result_type(theirs), jnp.inexact):
        checks.fail(f"{path} is {_what(theirs)}, which has no place: its parameter is None or masked here")


def _chain(theirs: Any, ours: Any, path: str) -> Any:
    """A chain whose members without a state are others, or are not there."""
    here, there = _links(ours, "chain"), _links(theirs, path)
    if len(here) != len(there):
        checks.fail(f"{path} has {len(there)} states that are not empty, expected {len(here)}")
    new = [_converted(x, y, where) for (_, y), (where, x) in zip(here, there, strict=True)]
    leaves = jax.tree.leaves(new)
    return jax.tree.unflatten(jax.tree.structure(ours), leaves)


def _links(x: Any, path: str) -> list[tuple[str, Any]]:
    digits = isinstance(x, Mapping) and bool(x) and all(str(key).isdigit() for key in x)
    if type(x) in (tuple, list) or digits:
        entries = sorted((_entries(x) or {}).items(), key=lambda entry: int(entry[0]))
        return [link for name, child in entries for link in _links(child, path + _step(x, name))]
    return [(path, x)] if jax.tree.leaves(x) else []

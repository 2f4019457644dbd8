"""Optax: its states, live or from a checkpoint, as states of this library, and transformations as its own."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..core.edit import with_arguments
from ..core.transformation import taking_extra_args
from ..portable.fit import fitted_leaf
from ..tree.places import children, entry_name
from ..types import OptState, Params, TransformationLike

T = TypeVar("T")

# Where Optax departs from the paper, and an argument gives its numbers.
RULES: dict[str, dict[str, Any]] = {
    "centralize": {"output_axis": 0},
    "lars": {"decayed_norm": True},
    "momo": {"decay_step": False},
    "momo_adam": {"decay_step": False},
    "muon": {"bias_correction": True},
    "scale_by_muon": {"bias_correction": True},
    "galore": {"projected_side": "long"},
    "scale_by_galore": {"projected_side": "long"},
}


@checks.entrance("with_optax_rules")
def with_optax_rules(tx: T) -> T:
    """`tx` with Optax's rules where Optax departs from the paper and an argument gives its numbers.

        tx = with_optax_rules(optim.muon(0.02))                  # muon(0.02, bias_correction=True)
        state = convert_state(optax_state, tx, params)

    A run that comes from Optax then continues with the same numbers.

    Args:
      tx: a transformation of this library.
    Raises:  TypeError if tx is not a transformation.
    """
    taking_extra_args(tx, "tx")
    return with_arguments(tx, RULES)


@checks.entrance("convert_state")
def convert_state(state: Any, tx: TransformationLike, params: Params) -> OptState:
    """Convert the state of an Optax transformation to that of `tx`, the same call in this library, to resume training.

        state = convert_state(optax_state, optim.adam(1e-3), params)

    Where the rules of both differ, `with_optax_rules(tx)` is the transformation that continues with Optax's numbers.
    Fields are matched by name, dict entries by key and members of chains by position. The state may come from a
    checkpoint that lost its classes: dicts for named tuples, lists or dicts for tuples, nothing for empty states.
    Optax's `MaskedNode` becomes None; a mean that this library does not store, because its decay is 0, is dropped.

    Args:
      state: the Optax state.
      tx: this library's transformation.
      params: the parameters of both.
    Raises:  ValueError naming the first entry of `state` that is missing, has no counterpart, or has another shape or
             kind of dtype; TypeError if tx is not a transformation.
    """
    tx = taking_extra_args(tx, "tx")
    return _convert(state, tx.init(params), "state")


@checks.entrance("as_optax")
def as_optax(tx: TransformationLike) -> Any:
    """`tx` as an instance of Optax's class, for Optax's own combinators.

        optax.chain(optax.adam(1e-3), as_optax(optim.reduce_on_plateau()))

    Optax passes extra arguments of update only to instances of its class: in `optax.chain` a plateau or a line search
    of this library needs the conversion. Other transformations work there unchanged, and all of Optax's work in this
    library.

    Args:
      tx: a transformation.
    Raises:  TypeError if tx is not a pair (init, update); ImportError without Optax.
    """
    made: Any = checks.need("optax", "optax").GradientTransformationExtraArgs
    return made(*taking_extra_args(tx, "tx"))


def _convert(theirs: Any, ours: Any, path: str) -> Any:
    entries, others = _children(ours), _entries(theirs)
    if entries is None:
        return _leaf(theirs, ours, path)
    if others is None:
        return (
            _none(theirs, path) if ours is None else checks.fail(f"{path} is {_what(theirs)}, expected {_what(ours)}")
        )
    if type(ours) is tuple and len(entries) != len(others):
        return _chain(theirs, ours, path)
    if type(theirs) in (tuple, list) and hasattr(ours, "_fields") and len(entries) == len(others):
        others = dict(zip(entries, others.values(), strict=True))  # a named tuple that lost its field names
    if "hyperparams_states" in entries and "hyperparams_states" not in others and "count" in others:
        # Older versions of Optax have one count for all schedules.
        states = entries["hyperparams_states"]
        others["hyperparams_states"] = jax.tree.map(lambda _: others["count"], states)
    for name in others:
        unknown = name not in entries and jax.tree.leaves(others[name])
        if unknown and not path.endswith("hyperparams"):  # an argument that is a Python value in this library
            listed = f"it has {', '.join(entries)}" if entries else "it has no entries"
            checks.fail(f"{path}{_step(theirs, name)} has no counterpart in {_what(ours)}: {listed}")
    new = []
    for name, child in entries.items():
        if name in others and path.endswith("hyperparams") and _entries(others[name]) is None:
            child = _leaf(jnp.asarray(others[name], child.dtype), child, path + _step(theirs, name))
        elif name in others and not (child is None and hasattr(ours, "_fields")):
            child = _convert(others[name], child, path + _step(theirs, name))
        elif name not in others and jax.tree.leaves(child):
            listed = f"it has {', '.join(others)}" if others else "it has no entries"
            checks.fail(f"{path} has no {name!r}, which {_what(ours)} needs: {listed}")
        new.append(child)
    return jax.tree.unflatten(jax.tree.structure(ours, is_leaf=lambda x: x is not ours), new)


def _entries(x: Any) -> dict[str, Any] | None:
    """The entries one level down, by name; None for an array."""
    if isinstance(x, Mapping):  # JAX may not know its class as a tree
        return {str(key): child for key, child in x.items()}
    return _children(x)


def _children(x: Any) -> dict[str, Any] | None:
    """The entries one level down, by name, in JAX's order; None for an array."""
    pairs = [] if x is None else children(x)
    return None if pairs is None else {str(entry_name(key)): child for key, child in pairs}


def _step(x: Any, name: str) -> str:
    """One step of a path, in the notation for `x`."""
    if isinstance(x, Mapping):
        return f"[{name!r}]"
    return f"[{name}]" if type(x) in (tuple, list) else f".{name}"


def _what(x: Any) -> str:
    entries = _entries(x)
    if entries is None:
        return f"an array of shape {np.shape(x)}"
    if x is None:
        return "None"
    return f"a {type(x).__name__} of {len(entries)} entries" if entries else f"an empty {type(x).__name__}"


def _leaf(theirs: Any, ours: Any, path: str) -> Any:
    if _entries(theirs) is not None:
        checks.fail(f"{path} is {_what(theirs)}, expected {_what(ours)}")
    leaf = fitted_leaf(theirs, ours)
    return checks.fail(f"{path} {leaf}") if isinstance(leaf, str) else leaf


def _none(theirs: Any, path: str) -> None:
    if jnp.issubdtype(jnp.result_type(theirs), jnp.inexact):
        checks.fail(f"{path} is {_what(theirs)}, which has no counterpart: its parameter is None or masked here")


def _chain(theirs: Any, ours: Any, path: str) -> Any:
    """Match two chains by their members with a state; stateless members may differ."""
    own_states, their_states = _links(ours, "chain"), _links(theirs, path)
    if len(own_states) != len(their_states):
        checks.fail(f"{path} has {len(their_states)} states that are not empty, expected {len(own_states)}")
    new = [_convert(x, y, where) for (_, y), (where, x) in zip(own_states, their_states, strict=True)]
    leaves = jax.tree.leaves(new)
    return jax.tree.unflatten(jax.tree.structure(ours), leaves)


def _links(x: Any, path: str) -> list[tuple[str, Any]]:
    digits = isinstance(x, Mapping) and bool(x) and all(str(key).isdigit() for key in x)
    if type(x) in (tuple, list) or digits:
        entries = sorted((_entries(x) or {}).items(), key=lambda entry: int(entry[0]))
        return [link for name, child in entries for link in _links(child, path + _step(x, name))]
    return [(path, x)] if jax.tree.leaves(x) else []

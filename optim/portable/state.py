"""`state_dict` and `load_state_dict`."""

import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from .. import checks
from ..core.transformation import taking_extra_args
from ..types import OptState, TransformationLike
from .load import Load
from .names import listed, members_of

S = TypeVar("S")
VERSION = 1
_VERSION_KEY = "version"


@checks.entrance("state_dict")
def state_dict(tx: TransformationLike, state: OptState) -> dict[str, Any]:
    """A state as a flat dict: `scale_by_adam/mu/dense/kernel` -> array, and `version`.

    A name is that of the member, of the state's field, and of the parameter. Whatever is around the member does not
    matter: alone, in a chain, in `masked`, `MultiSteps` or `inject_hyperparams` it has the same name; wrappers keep
    what is theirs under their own. Where members of one name are in several groups or links with a name, its label is
    behind it, `scale_by_adam@decay/count`; the second in one place is `trace#2`. In a parameter's name a slash is
    written `%2F`, a percent sign `%25`.

    The arrays are the state's own, with their shardings; a PRNG key is the integers it is made of.

    Raises:  TypeError for what is no (init, update) pair; ValueError for a state of another transformation.
    """
    tx = taking_extra_args(tx, "tx")
    leaves = jax.tree.leaves(state)
    named = {
        member.key(tail): jax.random.key_data(leaves[i]) if checks.is_key(leaves[i]) else leaves[i]
        for member in members_of(tx, state)
        for tail, i in member.entries.items()
    }
    return {_VERSION_KEY: np.asarray(VERSION, np.int32), **named}


@checks.entrance("load_state_dict")
def load_state_dict(tx: TransformationLike, state: S, d: Mapping[str, Any], strict: bool = True) -> S:
    """The state that `d` has, as `state_dict` made it, in the structure, the dtypes and the shardings of `state`.

    `tx` need not be what `d` was made with: members are found by their names, wherever they are now, and so are groups
    that were split or joined. A schedule that `d` does not know goes on at the step that the members beside it have
    done, and a schedule's count that `tx` has no use for is left out.

    Args:    state: `tx.init(params)`, or its shapes as `jax.eval_shape` gives them. d: arrays by name, of NumPy or JAX:
             a dict, or what `numpy.load` gives of an npz file. strict: False for taking what fits: all else stays as it
             is in `state`, with one warning that names it.
    Raises:  ValueError naming what is missing, what has no place, and what has another shape or kind of numbers.
    """
    tx = taking_extra_args(tx, "tx")
    if not isinstance(d, Mapping) or _VERSION_KEY not in d:
        checks.fail(f"d must be a mapping as state_dict gives it, with the key 'version', got {checks.shown(d)}")
    if (version := int(np.asarray(d[_VERSION_KEY]))) != VERSION:
        checks.fail(f"d has the version {version}, this library reads {VERSION}")
    keys = [key for key in d if key != _VERSION_KEY]
    load = Load(members_of(tx, state), jax.tree.leaves(state), d, keys)
    told = load.told()
    lost = [load.names[i] for i, x in enumerate(load.new) if isinstance(x, jax.ShapeDtypeStruct)]
    if told and strict:
        hint = "; strict=False loads what fits and leaves the rest as in state"
        checks.fail("; ".join(told) + hint * (load.names_differ and bool(load.filled) and not lost))
    if lost:
        checks.fail(f"{listed(lost)} missing, and state has no value for it, only a shape")
    if told:
        warnings.warn(f"{checks.caller().text}: {'; '.join(told)}: left as in state", stacklevel=3)
    loaded: S = jax.tree.unflatten(jax.tree.structure(state), load.new)
    return loaded

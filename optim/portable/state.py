"""`state_dict` and `load_state_dict`."""

import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from .. import checks
from ..core.transformation import taking_extra_args
from ..tree.coded import is_coded
from ..types import OptState, TransformationLike
from .codes import read, written
from .load import Load
from .names import leaves_of, listed, members_of

S = TypeVar("S")
VERSION = 1
_VERSION_KEY = "version"


@checks.entrance("state_dict")
def state_dict(tx: TransformationLike, state: OptState) -> dict[str, Any]:
    """Convert a state to a flat dict from names such as `scale_by_adam/mu/dense/kernel` to arrays.

        numpy.savez("state.npz", **state_dict(tx, state))

    A name consists of the member, the field of its state and the parameter's path. It does not depend on what is around
    the member: alone, in a chain, in `masked`, `MultiSteps` or `inject_hyperparams` it is the same. Wrappers store
    their own fields under their own names. If a member occurs in several labelled groups or links, its label follows,
    `scale_by_adam@decay/count`; the second one in the same place is `trace#2`. In a parameter's name a slash is written
    `%2F` and a percent sign `%25`. The entry `version` is the version of this form.

    The arrays are the state's own, with their shardings; PRNG keys become integers. A slot that `stored` codes has an
    entry for each array of its code, `scale_by_adam%int8-256-64x300%codes/mu/w`.

    Args:
      tx: the transformation.
      state: its state.
    Raises:  TypeError if tx is not a pair (init, update); ValueError for the state of another transformation.
    """
    tx = taking_extra_args(tx, "tx")
    leaves = leaves_of(state)
    named: dict[str, Any] = {}
    for member in members_of(tx, state):
        for tail, i in member.entries.items():
            named |= written(member.key(tail), leaves[i])
    return {_VERSION_KEY: np.asarray(VERSION, np.int32), **named}


@checks.entrance("load_state_dict")
def load_state_dict(tx: TransformationLike, state: S, d: Mapping[str, Any], strict: bool = True) -> S:
    """Load a dict made by `state_dict` into a state, with the structure, dtypes and shardings of that state.

        state = load_state_dict(tx, tx.init(params), numpy.load("state.npz"))

    `tx` may differ from the transformation that made the dict: members are found by name wherever they are now, as are
    groups that were split or joined. The count of a schedule that is new in `tx` is taken from the members beside it;
    the count of a schedule that `tx` no longer has is dropped. Slots may be stored otherwise than they were: codes of
    the same codec are loaded as they are, all others by the numbers that they stand for.

    Args:
      tx: the transformation to resume.
      state: `tx.init(params)`, or its shapes from `jax.eval_shape`.
      d: a mapping from names to NumPy or JAX arrays, such as an open npz file.
      strict: whether to fail if entries are missing, extra or do not fit; False leaves these as they are in `state`,
        with one warning that names them.
    Raises:  ValueError naming the entries that are missing or extra, and those of another shape or kind of dtype.
    """
    tx = taking_extra_args(tx, "tx")
    if not isinstance(d, Mapping) or _VERSION_KEY not in d:
        checks.fail(f"d must be a mapping as state_dict gives it, with the key 'version', got {checks.shown(d)}")
    if (version := int(np.asarray(d[_VERSION_KEY]))) != VERSION:
        checks.fail(f"d has the version {version}, this library reads {VERSION}")
    d = read({key: d[key] for key in d if key != _VERSION_KEY})
    load = Load(members_of(tx, state), leaves_of(state), d, [*d])
    problems = load.problems()
    lost = [load.names[i] for i, x in enumerate(load.new) if any(map(checks.is_shape, jax.tree.leaves(x)))]
    if problems and strict:
        hint = "; strict=False loads what fits and leaves the rest as in state"
        checks.fail("; ".join(problems) + hint * (load.names_differ and bool(load.filled) and not lost))
    if lost:
        checks.fail(f"{listed(lost)} missing, and state has no value for it, only a shape")
    if problems:
        warnings.warn(f"{checks.caller().text}: {'; '.join(problems)}: left as in state", stacklevel=3)
    loaded: S = jax.tree.unflatten(jax.tree.structure(state, is_leaf=is_coded), load.new)
    return loaded

"""An optimizer's weights in the order of Keras 2.2.4: `iterations` where Keras has it, then slot by slot."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks, numerics, tree
from ..types import Array
from .front import KerasOptimizer
from .tensorflow import NativeOptimizer


@checks.entrance()
def get_weights(tx: KerasOptimizer, state: Any) -> list[np.ndarray[Any, Any]]:
    """The state as Keras' list of weights: NumPy arrays, with parameters in the order of the tree's leaves.

    Args:
      tx: one of `optim.keras`.
      state: its state.
    Raises:  TypeError for any other transformation; NotImplementedError for a `TFOptimizer`, as in Keras.
    """
    return [np.asarray(x) for x in _weights_of(tx, state)]


@checks.entrance()
def set_weights(tx: KerasOptimizer, state: Any, weights: Sequence[Any]) -> Any:
    """The state with the values of Keras' list of weights; other fields (`lr`, Nadam's product) stay as they are.

    As in Keras, the lists of RMSprop, Adagrad and Adadelta have no counter: on a fresh state their decay starts again.

    Args:
      tx: one of `optim.keras`.
      state: its state, which is not modified.
      weights: a list as `get_weights` returns it.
    Raises:  ValueError with Keras' sentences for a list of another length or an array of another shape.
    """
    old = _weights_of(tx, state)
    if len(weights) != len(old):
        raise checks.mistake(
            f"Length of the specified weight list ({len(weights)}) does not match the number of weights of the "
            f"optimizer ({len(old)})"
        )
    for was, new in zip(old, weights, strict=True):
        if np.shape(new) != was.shape:
            raise checks.mistake(
                f"Optimizer weight shape {was.shape} not compatible with provided weight shape {np.shape(new)}"
            )
    rest = iter(weights)
    for field in tx.weights:
        if field == "count":
            state = _with_count(state, jnp.asarray(next(rest), jnp.int32))
            continue
        slot = _slot(state, field)
        if slot is None:
            break
        leaves, structure = tree.flatten(slot)
        filled = [x if x is None else numerics.convert(jnp.array(next(rest)), x.dtype) for x in leaves]
        state = _with_slot(state, field, structure.unflatten(filled))
    return state


def _weights_of(tx: KerasOptimizer, state: Any) -> list[Array]:
    if not isinstance(tx, KerasOptimizer):
        raise checks.mistake(f"optim.keras: the weights of {checks.shown(tx)} have no order in Keras", TypeError)
    if isinstance(tx, NativeOptimizer):
        tx.get_weights()
    weights: list[Array] = []
    for field in tx.weights:
        if field == "count":
            weights.append(np.asarray(state.count, np.int64))  # type: ignore[arg-type]
            continue
        slot = _slot(state, field)
        if slot is None:  # amsgrad is off: Keras lists an array of one zero per parameter
            likes = tree.leaves(_slot(state, "nu"))
            weights += [jnp.zeros((1,), x.dtype) for x in likes]
        else:
            weights += tree.leaves(slot)
    return weights


def _slot(state: Any, field: str) -> Any:
    return next((getattr(s, field) for s in state.inner_state if field in getattr(s, "_fields", ())), None)


def _with_slot(state: Any, field: str, slot: Any) -> Any:
    inner = tuple(s._replace(**{field: slot}) if field in s._fields else s for s in state.inner_state)
    return state._replace(inner_state=inner)


def _with_count(state: Any, count: jax.Array) -> Any:
    """Every counter set to `count`, each in its own buffer."""
    state = state._replace(count=jnp.array(count))
    inner = tuple(s._replace(count=jnp.array(count)) if "count" in s._fields else s for s in state.inner_state)
    return state._replace(inner_state=inner)

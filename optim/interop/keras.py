"""Keras 3: transformations as its optimizers, its optimizers as transformations, weights from files of Keras 2."""

import functools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..core import registry
from ..core.transformation import GradientTransformationExtraArgs
from ..keras import KerasOptimizer, get, get_weights, set_weights
from ..keras.identify import FACTORIES
from ..types import OptState, Params, TransformationLike
from ._keras_files import read


def __getattr__(name: str) -> Any:
    """`Transformation`, the class that `as_keras` returns: created on access, as it derives from a class of Keras."""
    if name != "Transformation":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _keras()
    from ._keras_optimizer import Transformation

    return Transformation


def _keras() -> Any:
    keras = checks.need("keras", "keras")
    if keras.backend.backend() != "jax":
        checks.fail(
            f"Keras runs on {keras.backend.backend()}, expected jax: set KERAS_BACKEND=jax before it is imported",
            RuntimeError,
        )
    return keras


@checks.entrance("as_keras")
def as_keras(tx: TransformationLike | str, name: str | None = None, **options: Any) -> Any:
    """Make an optimizer of Keras 3 from a transformation.

        model.compile(optimizer=as_keras(optim.adamw(1e-3)), loss=...)

    Its variables are the state, so a saved model resumes exactly. The transformation sees the model's parameters as one
    dict from Keras' paths to arrays: `label_by_path([("*/bias", "plain"), ("*", "decayed")])` makes groups of them.
    `learning_rate` can be read, and can be set, also by Keras' callbacks, if the transformation has it as a number. A
    program that loads a saved model must import `Transformation` from `optim.interop.keras`.

    Args:
      tx: a transformation, or the name of one with default arguments: of `optim.keras` first, then of `optim`.
      name: the optimizer's name in Keras; None takes the transformation's.
      options: Keras' options for every optimizer, such as use_ema, gradient_accumulation_steps, loss_scale_factor or
        clipnorm, which Keras applies around the transformation.
    Raises:  ImportError without Keras; RuntimeError if Keras does not run on JAX; TypeError if tx is not a
             transformation.
    """
    optimizer = __getattr__("Transformation")
    if isinstance(tx, str):
        tx = get(tx) if tx.lower() in FACTORIES else registry.get(tx)
    return optimizer(tx, name, **options)


@checks.entrance("from_keras")
def from_keras(optimizer: Any) -> GradientTransformationExtraArgs:
    """Make a transformation of an optimizer of Keras 3, through its stateless functions.

        updates = (parameters after the optimizer's step) - parameters

    The optimizer serves as a template: its own variables do not change, and every state is a fresh one.

    Args:
      optimizer: an optimizer of Keras, its name, or its configuration.
    State:   a dict from names to arrays, the optimizer's variables.
    Raises:  ImportError without Keras; RuntimeError if Keras does not run on JAX; ValueError for an update without
             params.
    """
    keras = _keras()
    template = keras.optimizers.get(optimizer)

    @functools.lru_cache(maxsize=16)
    def built(kinds: tuple[tuple[tuple[int, ...], str], ...]) -> Any:
        with jax.ensure_compile_time_eval():
            fresh = type(template).from_config(template.get_config())
            zeros = [jnp.zeros(shape, dtype) for shape, dtype in kinds]
            fresh.build([keras.Variable(z, dtype=str(z.dtype), name=f"leaf{i}_") for i, z in enumerate(zeros)])
            return fresh, [np.asarray(v.value) for v in fresh.variables]

    def of(params: Any) -> tuple[list[Any], Any]:
        leaves = [tree.as_array(p) for p in tree.leaves(params)]
        return leaves, built(tuple((p.shape, str(p.dtype)) for p in leaves))

    def init(params: Params) -> dict[str, Any]:
        _, (fresh, values) = of(params)
        return {name: jnp.array(x) for name, x in zip(_names(fresh), values, strict=True)}

    @checks.entrance("from_keras")
    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        if params is None:
            checks.fail("update needs the parameters: call update(updates, state, params)")
        gradients = tree.match(updates, params, "updates", "params")
        places = [i for i, p in enumerate(tree.flatten(params)[0]) if not tree.absent(p)]
        leaves, (fresh, _) = of(params)
        gs = [None if tree.absent(gradients[i]) else tree.as_array(gradients[i]) for i in places]
        filled = [jnp.zeros_like(p) if g is None else g.astype(p.dtype) for p, g in zip(leaves, gs, strict=True)]
        names = _names(fresh)
        moved, new = fresh.stateless_apply([state[n] for n in names], filled, leaves)
        steps = [None if g is None else q - p for g, p, q in zip(gs, leaves, moved, strict=True)]
        unmoved = {f"leaf{i}_" for i, g in enumerate(gs) if g is None}
        new_state = {
            name: state[name] if unmoved & set(re.findall(r"leaf\d+_", name)) else x
            for name, x in zip(names, new, strict=True)
        }
        out = list(gradients)
        for i, step in zip(places, steps, strict=True):
            out[i] = step
        return tree.structure(params).unflatten(out), new_state

    return GradientTransformationExtraArgs(init, update)


def _names(optimizer: Any) -> list[str]:
    """The names of the optimizer's variables, without the optimizer's own name, which Keras numbers."""
    names = [str(v.path).partition("/")[2] or str(v.path) for v in optimizer.variables]
    return [n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names)]


@checks.entrance("load_legacy_weights")
def load_legacy_weights(path: str | Path, tx: KerasOptimizer, params: Params) -> OptState:
    """Load the optimizer state that Keras 2 saved in an HDF5 file together with a model.

        state = load_legacy_weights("model.h5", optim.keras.Adam(), params)

    It reads the files of every version of Keras 2, `tf_keras` included. Fields that a file lacks are as `tx.init` makes
    them.

    Args:
      path: the file.
      tx: the optimizer, one of `optim.keras`.
      params: the parameters, with leaves in the order of the model's weights: a list or an OrderedDict, because JAX
        sorts the keys of a dict.
    Raises:  ImportError without h5py; KeyError if the file has no optimizer weights; ValueError for weights of another
             optimizer, another number of weights, or another shape.
    """
    h5py = checks.need("h5py", "keras")
    if not isinstance(tx, KerasOptimizer):
        checks.fail(f"tx must be one of optim.keras, got {checks.shown(tx)}", TypeError)
    state = tx.init(params)
    with h5py.File(path, "r") as file:
        saved = read(path, file, tx, get_weights(tx, state))
    try:
        state = set_weights(tx, state, saved.weights)
    except ValueError as error:
        names = ", ".join(saved.names[:4]) + ", ..." * (len(saved.names) > 4)
        checks.fail(f"{path}, with {names}: {error}")
    return tree.set(state, **saved.beside) if saved.beside else state

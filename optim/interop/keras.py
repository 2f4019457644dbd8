"""Keras 3: a transformation as one of its optimizers, one of its optimizers as a transformation, files of Keras 2."""

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
    """`Transformation`, the class of what `as_keras` makes: it derives from Keras', so it is there when asked for."""
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
    """Make an optimizer of Keras 3 from a transformation: for `model.compile(optimizer=as_keras(tx))`.

    Its variables are the state, so that a saved model goes on where it was. The model's parameters are seen as one
    tree, path -> array, with Keras' paths: `label_by_path([("*/bias", "plain"), ("*", "decayed")])` makes groups.
    `learning_rate` can be read; it can be set, as Keras' callbacks do, where the transformation has it as a number.
    A program that loads a saved model has the line `from optim.interop.keras import Transformation`, for Keras to find.

    Args:    tx: a transformation, or the name of one with default parameters: of `optim.keras` first, then of `optim`.
             name: the optimizer's name in Keras. options: Keras' own for every optimizer, such as use_ema,
             gradient_accumulation_steps, loss_scale_factor or clipnorm, which Keras applies around the transformation.
    Raises:  ImportError without Keras; RuntimeError where Keras does not run on JAX; TypeError for what is no pair.
    """
    optimizer = __getattr__("Transformation")
    if isinstance(tx, str):
        tx = get(tx) if tx.lower() in FACTORIES else registry.get(tx)
    return optimizer(tx, name, **options)


@checks.entrance("from_keras")
def from_keras(optimizer: Any) -> GradientTransformationExtraArgs:
    """Make a transformation of an optimizer of Keras 3, through its stateless functions.

        updates = (parameters after the optimizer's step) - parameters

    The optimizer is only a pattern: its own variables stay as they are, and each state is one of a fresh one.

    Args:    optimizer: an optimizer of Keras, its name, or its configuration.
    State:   a dict, name -> array, of the optimizer's variables.
    Raises:  ImportError without Keras; RuntimeError where Keras does not run on JAX; ValueError for an update without
             params.
    """
    keras = _keras()
    pattern = keras.optimizers.get(optimizer)

    @functools.lru_cache(maxsize=16)
    def built(kinds: tuple[tuple[tuple[int, ...], str], ...]) -> Any:
        with jax.ensure_compile_time_eval():
            fresh = type(pattern).from_config(pattern.get_config())
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
        given = tree.match(updates, params, "updates", "params")
        places = [i for i, p in enumerate(tree.flatten(params)[0]) if not tree.absent(p)]
        leaves, (fresh, _) = of(params)
        gs = [None if tree.absent(given[i]) else tree.as_array(given[i]) for i in places]
        filled = [jnp.zeros_like(p) if g is None else g.astype(p.dtype) for p, g in zip(leaves, gs, strict=True)]
        names = _names(fresh)
        moved, new = fresh.stateless_apply([state[n] for n in names], filled, leaves)
        steps = [None if g is None else q - p for g, p, q in zip(gs, leaves, moved, strict=True)]
        still = {f"leaf{i}_" for i, g in enumerate(gs) if g is None}
        kept = {
            name: state[name] if still & set(re.findall(r"leaf\d+_", name)) else x
            for name, x in zip(names, new, strict=True)
        }
        out = list(given)
        for i, step in zip(places, steps, strict=True):
            out[i] = step
        return tree.structure(params).unflatten(out), kept

    return GradientTransformationExtraArgs(init, update)


def _names(optimizer: Any) -> list[str]:
    """The names of its variables, without that of the optimizer, which Keras counts up."""
    names = [str(v.path).partition("/")[2] or str(v.path) for v in optimizer.variables]
    return [n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names)]


@checks.entrance("load_legacy_weights")
def load_legacy_weights(path: str | Path, tx: KerasOptimizer, params: Params) -> OptState:
    """The state of one of `optim.keras` from an HDF5 file that Keras 2 saved a model with its optimizer in.

    The lists of all of Keras 2, up to those of `tf_keras`, are known; what one does not have stays as `init` makes it.

    Args:    path: the file. tx: the optimizer, as `optim.keras` has it. params: the parameters, whose leaves are in the
             order of the model's weights: a list, or an OrderedDict, as JAX sorts the keys of a dict.
    Raises:  ImportError without h5py; KeyError where the file has no optimizer's weights; ValueError for another
             optimizer's, another number of them, or one of another shape.
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

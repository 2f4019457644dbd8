"""`TFOptimizer`: native TensorFlow optimizers, whose variables are the state and which step on the host.

It also takes optimizers written in JAX, which are traced as usual and run on the device.
"""

import copy
import inspect
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
from jax.example_libraries.optimizers import momentum

from .. import checks, numerics
from ..core.members import around
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..types import Count, Params
from .front import KerasFactory, KerasOptimizer
from .host import Copy, TFVariablesState, Values, canonical, numbered, on_host
from .triples import from_triple, is_triple


class TFOptimizerState(NamedTuple):
    count: Count
    inner_state: Any


class NativeOptimizer(KerasOptimizer):
    """A transformation without Keras' configuration and weights."""

    def get_config(self, state: Any = None) -> dict[str, Any]:
        del state
        _unknown("configuration")

    def get_weights(self) -> NoReturn:
        _unknown("weights")

    def set_weights(self, weights: Any) -> NoReturn:
        del weights
        _unknown("weights")


def _unknown(what: str) -> NoReturn:
    raise NotImplementedError(f"keras.TFOptimizer: a native optimizer has no {what} in Keras; read its state instead")


@KerasFactory
@register(
    example(identity()),
    example(momentum(0.1, 0.9)),
    name="keras.TFOptimizer",
    exceptions={
        "golden": "it is what it wraps",
        "errors": "only the wrapped optimizer checks the updates",
        "init": "the wrapped optimizer makes the state",
        "shapes-1": "the wrapped optimizer makes the state",
    },
)
def TFOptimizer(optimizer: Any) -> KerasOptimizer:
    """Wrap a native TensorFlow optimizer, or one written in JAX.

    TensorFlow's variables are the state. Every update writes them and the parameters into a private copy of the
    optimizer, steps it on the CPU, and reads them back. This is a pure function, which a compiled program calls on the
    host: it works under `jit` and `scan`, not under `vmap`. Clipping and decay are only the optimizer's own.

    Args:
      optimizer: a `tf.compat.v1.train.Optimizer`; a Keras optimizer, if Keras runs on TensorFlow; or, without calls to
        the host, a triple (init, update, get_params) of `jax.example_libraries.optimizers` or a pair (init, update).
    State:   TFOptimizerState(count, inner_state). TensorFlow's inner state is TFVariablesState(slots, others), each
             slot shaped like params under TensorFlow's name; the private copy takes as much memory again on the host.
    Raises:  ImportError without TensorFlow; ValueError for an optimizer that already has variables; NotImplementedError
             under vmap, and for `get_config` and `get_weights`.
    Differs: Keras' `iterations` grew by two per update; count grows by one.
    When:    an optimizer exists in TensorFlow only.
    """
    triple = is_triple(optimizer)
    member = _as_pair(optimizer)

    def init(params: Params) -> TFOptimizerState:
        return TFOptimizerState(jnp.zeros((), jnp.int32), member.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        args = {**extra_args, "count": state.count} if triple else extra_args
        updates, inner_state = member.update(updates, state.inner_state, params, **args)
        return updates, TFOptimizerState(numerics.safe_increment(state.count), inner_state)

    tx = around(member, init, update, inner=lambda state: state.inner_state, state_classes=(TFOptimizerState,))
    return NativeOptimizer(*tx)._rebuilt(*tx, tx.facts)


def _as_pair(optimizer: Any) -> GradientTransformationExtraArgs:
    if is_triple(optimizer):
        return from_triple(*optimizer)
    if isinstance(optimizer, tuple) or inspect.isfunction(optimizer) or hasattr(optimizer, "init"):
        return taking_extra_args(optimizer, "optimizer")
    return on_host(_copies(optimizer))


def _copies(optimizer: Any) -> Callable[[list[Values]], Copy]:
    """Function from the parameters' values to a fresh copy of the optimizer in its present configuration."""
    if is_keras_optimizer(optimizer):
        _refuse_used(optimizer, optimizer.built)
        _refuse_other_backend(optimizer)
        return partial(_keras_copy, type(optimizer), copy.deepcopy(optimizer.get_config()))
    tf = _tensorflow()
    if not isinstance(optimizer, tf.compat.v1.train.Optimizer):
        checks.fail(
            "optimizer must be a tf.compat.v1.train.Optimizer, a Keras optimizer, a triple (init, update, get_params) "
            f"or a transformation (init, update), got {checks.shown(optimizer)}",
            TypeError,
        )
    _refuse_used(optimizer, optimizer.variables())
    return partial(_native_copy, tf, copy.deepcopy(optimizer))


def _refuse_used(optimizer: Any, used: Any) -> None:
    if used:
        checks.fail(f"optimizer has variables of other parameters already; give a new {type(optimizer).__name__}")


def _refuse_other_backend(optimizer: Any) -> None:
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(optimizer, keras.optimizers.Optimizer):
        backend = keras.config.backend()
        if backend != "tensorflow":
            hint = "; optim.interop.keras.from_keras(optimizer) makes a transformation of it" * (backend == "jax")
            checks.fail(f"optimizer is one of Keras on {backend}, expected one of Keras on tensorflow{hint}", TypeError)


def is_native(x: Any) -> bool:
    """Whether `x` is a `tf.compat.v1.train.Optimizer`; does not import TensorFlow."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(x, tf.compat.v1.train.Optimizer)


def is_keras_optimizer(x: Any) -> bool:
    """Whether `x` is an optimizer of the Keras library; does not import Keras."""
    modules = map(sys.modules.get, ("keras", "tf_keras"))
    return any(isinstance(x, keras.optimizers.Optimizer) for keras in modules if keras is not None)


def _tensorflow() -> Any:
    return checks.need("tensorflow", "tensorflow")


# Copies


def _native_copy(tf: Any, optimizer: Any, values: list[Values]) -> Copy:
    _refuse_graphs(tf)
    optimizer, initial, made = copy.deepcopy(optimizer), {}, []

    def create(make: Any, **kwargs: Any) -> Any:
        variable = make(**kwargs)
        initial[id(variable)] = variable.numpy()
        made.append((str(kwargs.get("name")), variable))
        return variable

    def apply(pairs: Any) -> None:
        with tf.device("/CPU:0"):
            optimizer.apply_gradients([(tf.convert_to_tensor(g), p) for g, p in pairs])

    with tf.device("/CPU:0"):
        params = [tf.Variable(x, name=f"p{i}") for i, x in enumerate(values)]
        # The optimizer creates its variables at its first step: take a step of zeros, and record their initial values.
        with tf.variable_creator_scope(create):
            apply([(x * 0, p) for x, p in zip(values, params, strict=True)])
    slots = {name: [optimizer.get_slot(p, name) for p in params] for name in optimizer.get_slot_names()}
    slot_ids = {id(v) for slot in slots.values() for v in slot}
    rest = [(name, v) for name, v in made if id(v) not in slot_ids]
    others = dict(zip(numbered(name for name, _ in rest), (v for _, v in rest), strict=True))
    variables = TFVariablesState(slots, others)
    return Copy(params, variables, jax.tree.map(lambda v: canonical(initial[id(v)]), variables), apply)


def _keras_copy(kind: Any, config: dict[str, Any], values: list[Values]) -> Copy:
    tf, keras = _tensorflow(), checks.need("keras", "keras")
    _refuse_graphs(tf)
    optimizer = kind.from_config(copy.deepcopy(config))
    variable = keras.Variable if isinstance(optimizer, keras.optimizers.Optimizer) else tf.Variable

    def apply(pairs: Any) -> None:
        with tf.device("/CPU:0"):
            optimizer.apply_gradients([(tf.convert_to_tensor(g), p) for g, p in pairs])

    with tf.device("/CPU:0"):
        params = [variable(x, dtype=str(x.dtype), name=f"p{i}") for i, x in enumerate(values)]
        optimizer.build(params)
    slots: dict[str, list[Any]] = {}
    rest = []
    for v in optimizer.variables:
        if own := re.fullmatch(r"p(\d+)_(?:\d+_)?(.+)", v.name):
            slots.setdefault(own[2], [None] * len(params))[int(own[1])] = v
        else:
            rest.append(v)
    # Keras numbers its automatic names across the whole process: drop the numbers.
    names = [re.sub(r"^variable_\d+$", "variable", v.name.partition(":")[0]) for v in rest]
    others = dict(zip(numbered(names), rest, strict=True))
    variables = TFVariablesState(slots, others)
    return Copy(params, variables, jax.tree.map(lambda v: canonical(v.numpy()), variables), apply)


def _refuse_graphs(tf: Any) -> None:
    if not tf.executing_eagerly():
        checks.fail("optimizer can step only where TensorFlow runs eagerly: outside a tf.Graph", RuntimeError)

"""The JAX libraries behind one interface: each makes sessions, and a session takes one step at a time."""

import gc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .libraries import PLAIN, REFERENCE
from .optimizers import MissingError, Optimizer, find, load_module
from .trees import Tree

COMPILATIONS: list[str] = []
"""JAX's events of tracing, lowering and compiling so far."""


def _record(event: str, duration: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
        COMPILATIONS.append(event)


jax.monitoring.register_event_duration_secs_listener(_record)


class Form:
    """One way to use a JAX library. Other forms override the methods that differ.

    enter, leave: convert parameters from the model's tree to the form's representation, and back.
    rule: the optimizer; start: its initial state; step: one update; program: the compiled step.
    """

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module

    def library(self) -> Any:
        return load_module(self.module)

    def rule(self, optimizer: Optimizer, rate: float) -> Any:
        return optimizer.optax(self.library(), rate)

    def enter(self, tree: Tree, leaves: list[Any]) -> Any:
        return tree.unflatten(leaves)

    def leave(self, tree: Tree, params: Any) -> Any:
        return params

    def start(self, rule: Any, params: Any) -> tuple[Any, Any]:
        return params, rule.init(params)

    def step(self, rule: Any, params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = rule.update(grads, state, params)
        return self.library().apply_updates(params, updates), state

    def program(self, rule: Any, step: Callable[..., Any], loss: Callable[..., Any] | None) -> Any:
        """Compile `step`: (params, state, grads or batch) -> (params, state, loss); loss is None without a model."""
        return jax.jit(step, donate_argnums=(0, 1))

    def eager(self, rule: Any, params: Any, state: Any, grads: Any) -> Any:
        return rule.update(grads, state, params)

    def session(self, optimizer: Optimizer, tree: Tree, rate: float, *, train: bool, platform: str) -> "JaxSession":
        return JaxSession(self, optimizer, tree, rate, train)


class Made(Form):
    """This library's own compiled steps, `make_update` and `make_step`."""

    def program(self, rule: Any, step: Callable[..., Any], loss: Callable[..., Any] | None) -> Any:
        library = self.library()
        if loss is not None:
            return find(library, "make_step")(loss, rule)
        update = find(library, "make_update")(rule)
        return lambda params, state, grads: (*update(params, state, grads), None)


class Packed(Form):
    """This library with the slots of small leaves in one buffer."""

    def rule(self, optimizer: Optimizer, rate: float) -> Any:
        rule = super().rule(optimizer, rate)
        try:
            return find(self.library(), "packed")(rule)
        except ValueError as error:
            raise MissingError(str(error)) from error


class PackedParams(Packed):
    """This library with parameters, gradients and slots of small leaves in one buffer each."""

    def rule(self, optimizer: Optimizer, rate: float) -> Any:
        super().rule(optimizer, rate)  # raises MissingError for rules that cannot be packed
        return Form.rule(self, optimizer, rate)

    def enter(self, tree: Tree, leaves: list[Any]) -> Any:
        return self.library().pack(super().enter(tree, leaves))

    def leave(self, tree: Tree, params: Any) -> Any:
        return params.tree


class Keras(Form):
    """Keras on JAX with its stateless API: lists of arrays for parameters and for the optimizer's variables."""

    def library(self) -> Any:
        keras = load_module(self.module)
        if keras.backend.backend() != "jax":
            raise MissingError(f"keras runs on {keras.backend.backend()}: set KERAS_BACKEND=jax")
        return keras

    def rule(self, optimizer: Optimizer, rate: float) -> Any:
        keras, make = self.library(), optimizer.keras
        if make is None:
            raise MissingError(f"keras has no {optimizer.name}")
        return _KerasRule(lambda: make(keras, rate))

    def enter(self, tree: Tree, leaves: list[Any]) -> Any:
        return leaves

    def leave(self, tree: Tree, params: Any) -> Any:
        return tree.unflatten(params)

    def start(self, rule: Any, params: Any) -> tuple[Any, Any]:
        keras = self.library()
        fresh = rule.fresh()
        variables = [keras.Variable(p, name=f"kernel{i}") for i, p in enumerate(params)]
        fresh.build(variables)
        return [v.value for v in variables], [v.value for v in fresh.variables]

    def step(self, rule: Any, params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        return rule.optimizer.stateless_apply(state, grads, params)


class _KerasRule:
    """Makes a new Keras optimizer for every start, because it owns its variables; the first one runs the steps."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make, self.optimizer = make, None

    def fresh(self) -> Any:
        new = self.make()
        self.optimizer = self.optimizer or new
        return new


class JaxSession:
    """A jitted step with donated parameters and state, as in a training loop."""

    moved: int | None = None

    def __init__(self, form: Form, optimizer: Optimizer, tree: Tree, rate: float, train: bool) -> None:
        self.form, self.tree, self.train = form, tree, train
        self.rule = form.rule(optimizer, rate)
        self.compiled = form.program(self.rule, self._step, self._loss if train else None)
        self.carry: Any = None
        self.avals: Any = None
        self.data: Any = None
        self.loss: Any = None

    def _step(self, params: Any, state: Any, data: Any) -> Any:
        if not self.train:
            return *self.form.step(self.rule, params, state, data), None
        loss, grads = jax.value_and_grad(self._loss)(params, data)
        return *self.form.step(self.rule, params, state, grads), loss

    def _loss(self, params: Any, batch: Any) -> Any:
        return self.tree.loss(self.form.leave(self.tree, params), batch, jnp.tanh)

    def load(self) -> None:
        leaves = [jnp.array(x, copy=True) for x in self.tree.params()]
        self.carry = self.form.start(self.rule, self.form.enter(self.tree, leaves))
        if self.train:
            self.data = jax.device_put(self.tree.batch())
        else:
            self.data = self.form.enter(self.tree, [jnp.array(x, copy=True) for x in self.tree.grads()])
        jax.block_until_ready((self.carry, self.data))
        self.avals = jax.tree.map(_shape, (*self.carry, self.data))

    def unload(self) -> None:
        self.carry = self.data = self.loss = None

    def step(self) -> None:
        *self.carry, self.loss = self.compiled(*self.carry, self.data)

    def wait(self) -> None:
        jax.block_until_ready((self.carry, self.loss))

    def parameters(self) -> list[np.ndarray]:
        return [np.asarray(x) for x in jax.tree.leaves(self.form.leave(self.tree, self.carry[0]))]

    def buffers(self) -> list[Any]:
        return jax.tree.leaves(tuple(self.carry))

    def reused(self, before: list[Any]) -> bool:
        # An array of one element may be a constant of the program.
        data = jax.tree.leaves(self.data)
        return all(x.is_deleted() for x in before if x.size > 1) and not any(x.is_deleted() for x in data)

    def compilations(self) -> int:
        return len(COMPILATIONS)

    def eager(self) -> None:
        """The update outside jit; the session does not advance."""
        params, state = self.carry
        jax.block_until_ready(self.form.eager(self.rule, params, state, self.data))

    def lower(self) -> Any:
        """Trace and lower the step again, without JAX's cache of traces."""

        def step(*arguments: Any) -> Any:
            return self._step(*arguments)

        return jax.jit(step, donate_argnums=(0, 1)).lower(*self.avals)

    def forget(self) -> None:
        """Empty JAX's caches."""
        jax.clear_caches()
        gc.collect()


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type)


ADAPTERS: dict[str, Form] = {
    a.name: a
    for a in (
        Form(PLAIN, "optim"),
        Made("optim make_update", "optim"),
        Packed("optim packed", "optim"),
        PackedParams("optim pack", "optim"),
        Form(REFERENCE, "optax"),
        Keras("keras", "keras"),
    )
}

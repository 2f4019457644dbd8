"""The libraries behind one interface: each makes sessions, and a session takes one step at a time."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .optimizers import MissingError, Optimizer, find, load_module
from .pytorch import Torch
from .trees import Tree

PLAIN = "optim"
REFERENCE = "optax"


class Form:
    """One way to use a JAX library. Other forms override the methods that differ.

    enter, leave: convert parameters from the model's tree to the form's representation, and back.
    rule: the optimizer; start: its initial state; step: one update; program: the compiled step.
    separate_update: whether the form has an update without its application.
    lowerable: whether the step's program can be lowered before it runs.
    """

    separate_update = True
    lowerable = True

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module

    def library(self) -> Any:
        return load_module(self.module)

    def rule(self, optimizer: Optimizer, rate: float) -> Any:
        return optimizer.optax(self.library(), rate)

    def enter(self, tree: Tree, leaves: list[Any]) -> Any:
        return tree.structure.unflatten(leaves)

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

    def session(self, optimizer: Optimizer, tree: Tree, rate: float, *, train: bool = False) -> "JaxSession":
        return JaxSession(self, optimizer, tree, rate, train)


class Made(Form):
    """This library's own compiled steps, `make_update` and `make_step`."""

    separate_update = False
    lowerable = False

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

    separate_update = False

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
        return tree.structure.unflatten(params)

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
            self.data = self.form.enter(self.tree, _gradients(self.tree))
        jax.block_until_ready((self.carry, self.data))

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

    def eager(self) -> Any:
        """The update outside jit; the session does not advance."""
        params, state = self.carry
        return self.form.eager(self.rule, params, state, self.data)

    def lower(self) -> Any:
        """Trace and lower the step again, without JAX's cache of traces."""
        return jax.jit(lambda *arguments: self._step(*arguments), donate_argnums=(0, 1)).lower(*self.shapes())

    def shapes(self) -> Any:
        """Shapes and dtypes of the step's arguments; available after the first load."""
        if self.carry is not None:
            self.avals = jax.tree.map(_shape, (*self.carry, self.data))
        return self.avals


@functools.lru_cache(maxsize=1)
def _gradients(tree: Tree) -> list[jax.Array]:
    """The gradients of a tree; they are never donated, so all its sessions share them."""
    return [jnp.array(x, copy=True) for x in tree.grads()]


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type)


ADAPTERS: dict[str, Form | Torch] = {
    a.name: a
    for a in (
        Form(PLAIN, "optim"),
        Made("optim make_update", "optim"),
        Packed("optim packed", "optim"),
        PackedParams("optim pack", "optim"),
        Form(REFERENCE, "optax"),
        Keras("keras", "keras"),
        Torch("torch fused", fused=True),
        Torch("torch foreach", foreach=True),
    )
}

"""The libraries as the measures see them: each makes sessions, and a session does one step at a time."""

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
    """One way to use a JAX library. A form that differs from the usual one overrides what differs.

    enter and leave: the parameters as the form keeps them, and back to the model's tree.
    rule: what makes updates; start: the state it starts with; step: one update; program: the step as it is called.
    apart: whether there is an update apart from the step that applies it; lowered: whether the step's program can be
    had before it runs.
    """

    apart = True
    lowered = True

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
        """(params, state, grads or batch) -> (params, state, loss): `step` compiled; loss where there is a model."""
        return jax.jit(step, donate_argnums=(0, 1))

    def eager(self, rule: Any, params: Any, state: Any, grads: Any) -> Any:
        return rule.update(grads, state, params)

    def session(self, optimizer: Optimizer, tree: Tree, rate: float, *, train: bool = False) -> "JaxSession":
        return JaxSession(self, optimizer, tree, rate, train)


class Made(Form):
    """This library's own compiled steps. Before it runs, its program is that of the plain form."""

    apart = False
    lowered = False

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
        super().rule(optimizer, rate)  # what it refuses is refused here
        return Form.rule(self, optimizer, rate)

    def enter(self, tree: Tree, leaves: list[Any]) -> Any:
        return self.library().pack(super().enter(tree, leaves))

    def leave(self, tree: Tree, params: Any) -> Any:
        return params.tree


class Keras(Form):
    """Keras on JAX by its stateless calls: lists of arrays for parameters and for the optimizer's variables."""

    apart = False

    def library(self) -> Any:
        keras = load_module(self.module)
        if keras.backend.backend() != "jax":
            raise MissingError(f"keras runs on {keras.backend.backend()}: set KERAS_BACKEND=jax")
        return keras

    def rule(self, optimizer: Optimizer, rate: float) -> Any:
        keras, make = self.library(), optimizer.keras
        if make is None:
            raise MissingError(f"keras has no {optimizer.name}")
        return _Rebuilt(lambda: make(keras, rate))

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


class _Rebuilt:
    """A Keras optimizer owns its variables: every start makes a new one, and the first goes on being called."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make, self.optimizer = make, None

    def fresh(self) -> Any:
        new = self.make()
        self.optimizer = self.optimizer or new
        return new


class JaxSession:
    """A jitted step that is given its parameters and its state to overwrite, as a training loop calls it."""

    moved: int | None = None

    def __init__(self, form: Form, optimizer: Optimizer, tree: Tree, rate: float, train: bool) -> None:
        self.form, self.tree, self.train = form, tree, train
        self.rule = form.rule(optimizer, rate)
        self.compiled = form.program(self.rule, self._step, self._loss if train else None)
        self.carry: Any = None
        self.known: Any = None
        self.given: Any = None
        self.loss: Any = None

    def _step(self, params: Any, state: Any, given: Any) -> Any:
        if not self.train:
            return *self.form.step(self.rule, params, state, given), None
        loss, grads = jax.value_and_grad(self._loss)(params, given)
        return *self.form.step(self.rule, params, state, grads), loss

    def _loss(self, params: Any, batch: Any) -> Any:
        return self.tree.loss(self.form.leave(self.tree, params), batch, jnp.tanh)

    def load(self) -> None:
        leaves = [jnp.array(x, copy=True) for x in self.tree.params()]
        self.carry = self.form.start(self.rule, self.form.enter(self.tree, leaves))
        if self.train:
            self.given = jax.device_put(self.tree.batch())
        else:
            self.given = self.form.enter(self.tree, _gradients(self.tree))
        jax.block_until_ready((self.carry, self.given))

    def unload(self) -> None:
        self.carry = self.given = self.loss = None

    def step(self) -> None:
        *self.carry, self.loss = self.compiled(*self.carry, self.given)

    def wait(self) -> None:
        jax.block_until_ready((self.carry, self.loss))

    def parameters(self) -> list[np.ndarray]:
        return [np.asarray(x) for x in jax.tree.leaves(self.form.leave(self.tree, self.carry[0]))]

    def buffers(self) -> list[Any]:
        return jax.tree.leaves(tuple(self.carry))

    def reused(self, before: list[Any]) -> bool:
        # A placeholder of one element may be a constant of the program.
        given = jax.tree.leaves(self.given)
        return all(x.is_deleted() for x in before if x.size > 1) and not any(x.is_deleted() for x in given)

    def eager(self) -> Any:
        """The update outside jit; nothing is advanced."""
        params, state = self.carry
        return self.form.eager(self.rule, params, state, self.given)

    def lower(self) -> Any:
        """The step traced and lowered anew, whatever was traced before."""
        return jax.jit(lambda *arguments: self._step(*arguments), donate_argnums=(0, 1)).lower(*self.shapes())

    def shapes(self) -> Any:
        """What the step is given, without its numbers; known from the first load on."""
        if self.carry is not None:
            self.known = jax.tree.map(_shape, (*self.carry, self.given))
        return self.known


@functools.lru_cache(maxsize=1)
def _gradients(tree: Tree) -> list[jax.Array]:
    """Nobody overwrites them, so all sessions of a tree share them."""
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

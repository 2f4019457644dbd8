"""What a call costs: programs with the arguments of an AdamW step that compute little or nothing.

On a tree with hardly an element a step takes as long as its call. A call of `jax.jit` flattens its arguments, checks
each array, takes over the donated buffers, and makes an array of each result. A step of PyTorch overwrites its arrays
and makes none.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .adapters import Form
from .libraries import CALLS, PLAIN
from .trees import Tree


class Identity(Form):
    """Return parameters and state as they are. Donated, they are arguments and results of the program all the same."""

    def step(self, rule: Any, params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        return params, state


class AddOne(Form):
    """Add one to every array of parameters and state: each is read and written."""

    def step(self, rule: Any, params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        return jax.tree.map(lambda x: x + 1, (params, state))


class OneArray(Form):
    """Add one to a single array of a few elements, without a state: the least that a call of `jax.jit` costs."""

    def enter(self, tree: Tree, leaves: list[Any]) -> Any:
        return jnp.zeros(8)

    def start(self, rule: Any, params: Any) -> tuple[Any, Any]:
        return params, ()

    def step(self, rule: Any, params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        return params + 1, ()


class Ahead(Form):
    """The AdamW step compiled ahead of time: `jit(step).lower(...).compile()`."""

    def program(self, rule: Any, step: Callable[..., Any], loss: Callable[..., Any] | None) -> Any:
        jitted, compiled = super().program(rule, step, loss), None

        def call(*arguments: Any) -> Any:
            nonlocal compiled
            compiled = compiled or jitted.lower(*arguments).compile()
            return compiled(*arguments)

        return call


class Flat(Form):
    """The AdamW step on tuples of arrays in place of trees."""

    def enter(self, tree: Tree, leaves: list[Any]) -> Any:
        return tuple(leaves)

    def leave(self, tree: Tree, params: Any) -> Any:
        return tree.unflatten(list(params))

    def start(self, rule: Any, params: Any) -> tuple[Any, Any]:
        leaves, self.structure = jax.tree.flatten(rule.init(params))
        return params, tuple(leaves)

    def step(self, rule: Any, params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        params, state = super().step(rule, params, self.structure.unflatten(state), grads)
        return params, tuple(jax.tree.leaves(state))


ADAPTERS = {
    name: form(name, PLAIN) for name, form in zip(CALLS, (OneArray, Identity, AddOne, Ahead, Flat), strict=True)
}

"""The loss along a direction, as the line searches evaluate it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..core.apply import apply_updates
from ..tree.params import trainable_arrays
from ..types import Array, Params, Tree, Updates
from .places import checked

ValueFn = Callable[..., Any]

# Columns of the tests' sweep that do not apply to line searches, with the reason
NO_DERIVATIVE = dict.fromkeys(("derivative", "inject"), "its search is a while loop: it has no derivative in reverse")
NOT_ALONE = {
    "extra": "value and grad are arguments of its update",
    "none": "it stores the gradient of every parameter, also of those that the direction does not move",
}
SEARCH_ARGS = ("value", "grad", "value_fn")


class Point(NamedTuple):
    """A step length along the ray, with the loss and the slope there."""

    step: Array
    value: Array
    slope: Array


class Ray:
    """The ray params + step * direction, with the loss at its start and, on demand, at other steps.

    `value` and `grad` at the start are computed unless they are among the extra arguments.
    """

    def __init__(self, updates: Updates, params: Params, extra_args: Mapping[str, Any]) -> None:
        us, params = checked(updates, params)
        value_fn = extra_args.get("value_fn")
        if not callable(value_fn):
            got = "" if value_fn is None else f"; got {checks.shown(value_fn)}"
            checks.fail(
                f"update needs value_fn: call update(updates, state, params, value=..., grad=..., value_fn=...){got}",
                TypeError,
            )
        self.params, self.direction = params, tree.structure(params).unflatten(us)
        self.value_fn = with_own_arguments(value_fn, extra_args)
        value, grad = extra_args.get("value"), extra_args.get("grad")
        if value is None or grad is None:
            start_value, raw = self.value_and_grad(params)
            value, grad = start_value if value is None else value, tree.conj(raw) if grad is None else grad
        elif tree.structure(grad) != tree.structure(params):
            grad = tree.structure(params).unflatten(tree.match(grad, params, "grad", "params"))
        self.grad = grad
        self.start = Point(scalar(0.0), scalar(value), self._slope(grad))

    def value_and_grad(self, params: Params) -> tuple[Array, Tree]:
        """The loss, and the gradient as `jax.grad` returns it: conjugated for a complex parameter."""
        value, grad = jax.value_and_grad(self.value_fn, allow_int=True)(params)
        return scalar(value), tree.map(lambda p, g: g if tree.trainable(p) else None, params, grad)

    def value_and_pullback(self, step: Array) -> tuple[Array, Callable[[], Tree]]:
        """The loss at a step, and a function that returns its gradient."""
        at = tree.map(tree.as_array, self.at(step))
        moved = tree.map(lambda p: p if tree.trainable(p) else None, at)

        def value_fn(moved: Tree) -> Any:
            return self.value_fn(tree.map(lambda p, m: p if m is None else m, at, moved))

        value, pullback = jax.vjp(value_fn, moved)
        return scalar(value), lambda: pullback(jnp.ones_like(value))[0]

    def at(self, step: Array) -> Params:
        return apply_updates(self.params, self.times(step))

    def times(self, step: Array) -> Updates:
        """step * direction."""

        def scaled(u: Array) -> Array:
            wide = numerics.convert(u, numerics.wide_dtype(u.dtype))
            return numerics.convert(numerics.scaled(wide, step), u.dtype, weak=u.weak_type)

        return tree.map(scaled, self.direction)

    def point(self, step: Array) -> tuple[Point, Tree]:
        """The point at a step, and the gradient there as `jax.grad` returns it."""
        value, grad = self.value_and_grad(self.at(step))
        return Point(step, value, self._slope(tree.conj(grad))), grad

    def _slope(self, grad: Tree) -> Array:
        """<grad, direction>, real."""
        return tree.total(lambda u, g: None if g is None else u * g, self.direction, grad)


def scalar(x: Any) -> Array:
    """A number of the search: float64 where JAX has it enabled, else float32."""
    x = jnp.asarray(x)
    if x.shape != () or jnp.issubdtype(x.dtype, jnp.complexfloating):
        checks.fail(f"the loss must be a real scalar, got {checks.shown(x)}", TypeError)
    return numerics.convert(x, numerics.scalar_dtype())


def with_own_arguments(value_fn: ValueFn, extra_args: Mapping[str, Any]) -> ValueFn:
    """`value_fn` as a function of the parameters alone; it receives the extra arguments that it has names for."""
    rest = {k: v for k, v in extra_args.items() if k not in SEARCH_ARGS}
    try:
        parameters = list(inspect.signature(value_fn).parameters.values())[1:]
    except ValueError:
        parameters = []
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        rest = {k: v for k, v in rest.items() if k in names}
    return lambda params: value_fn(params, **rest)


def fresh_grad(params: Params) -> Tree:
    """Zeros for storing a gradient: shape, dtype and sharding of the parameters."""

    arrays, structure = trainable_arrays(params)
    return structure.unflatten([None if p is None else numerics.full_like(p, 0, p.dtype) for p in arrays])


def stored_grad(grad: Tree, old: Tree) -> Tree:
    """A gradient as the state stores it, with the structure and dtypes of `old`."""
    return tree.map(lambda o, g: numerics.convert(tree.as_array(g), o.dtype), old, grad)


T = TypeVar("T")


def choose(which: Array, new: T, old: T) -> T:
    """All of `new` if `which`, else all of `old`."""
    chosen: T = jax.tree.map(lambda n, o: jnp.where(which, n, o), new, old)
    return chosen


def half_square(params: Params) -> Array:
    """|params|^2 / 2: a loss for examples."""
    return 0.5 * tree.total(jnp.square, tree.map(lambda p: p if tree.trainable(p) else None, params))

"""Optimizers that keep variables and step on the host, as transformations whose state is those variables."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from .. import checks, numerics, tree
from ..core.transformation import GradientTransformationExtraArgs
from ..types import Array, Params, Updates
from .triples import checked, trainable

Values = np.ndarray[Any, Any]


class TFVariablesState(NamedTuple):
    """Variables of a TensorFlow optimizer by name: slots, one array per parameter, and others, single arrays."""

    slots: dict[str, Updates]
    others: dict[str, Any]


@dataclass
class Copy:
    """A private copy of an optimizer: its parameters, its variables in the form of the state, its step.

    All variables are overwritten before every step, so that nothing is carried over from one step to the next.
    """

    params: list[Any]
    variables: TFVariablesState
    initial: TFVariablesState
    """Initial values of the variables, or their shapes."""
    apply: Callable[[list[tuple[Values, Any]]], Any]

    def step(
        self, gs: Sequence[Any], ps: Sequence[Any], values: TFVariablesState
    ) -> tuple[list[Any], TFVariablesState]:
        old = [np.asarray(p) for p in ps]
        variables = [*self.params, *jax.tree.leaves(self.variables)]
        for variable, x in zip(variables, old + jax.tree.leaves(values), strict=True):
            # Copy: the variable may adopt the array's memory and update it in place.
            variable.assign(np.array(x, variable.numpy().dtype))
        self.apply([(np.asarray(g), p) for g, p in zip(gs, self.params, strict=True) if g is not None])
        moves = [None if g is None else np.asarray(v.numpy() - p) for g, v, p in zip(gs, self.params, old, strict=True)]
        return moves, jax.tree.map(lambda v: canonical(v.numpy()), self.variables)


def canonical(x: Any) -> Values:
    """A copy in JAX's canonical dtype."""
    return np.array(x, jax.dtypes.canonicalize_dtype(np.asarray(x).dtype))


def numbered(names: Iterable[str]) -> list[str]:
    """The names; a repeated name gets a number."""
    repeats: Counter[str] = Counter()
    out: list[str] = []
    for name in names:
        new = name
        while new in out:
            repeats[name] += 1
            new = f"{name}_{repeats[name]}"
        out.append(new)
    return out


def on_host(make: Callable[[list[Values]], Copy]) -> GradientTransformationExtraArgs:
    """The transformation of an optimizer that `make` copies: parameter values -> a copy with its own variables."""
    copies: dict[Any, Copy] = {}
    lock = threading.Lock()

    def shared(ps: Sequence[Any]) -> Copy:
        """The copy for parameters of these shapes and dtypes; call it under `lock`."""
        key = tuple((p.shape, str(p.dtype)) for p in ps)
        if key not in copies:
            made = make([np.zeros(p.shape, p.dtype) for p in ps])
            copies[key] = replace(made, initial=jax.eval_shape(lambda: made.initial))
        return copies[key]

    def begin(ps: Sequence[Any]) -> TFVariablesState:
        with lock:
            return make([np.array(p) for p in ps]).initial

    def step(gs: Sequence[Any], ps: Sequence[Any], values: TFVariablesState) -> Any:
        with lock:
            return shared(ps).step(gs, ps, values)

    def init(params: Params) -> TFVariablesState:
        leaves, structure = tree.flatten(trainable(params))
        ps = [p for p in leaves if p is not None]
        if not ps:
            return TFVariablesState({}, {})
        with lock:
            like = shared(ps).initial
        slots = {
            name: [None if x is None else _like_parameter(x, p) for x, p in zip(slot, ps, strict=True)]
            for name, slot in like.slots.items()
        }
        others = {name: jnp.zeros(x.shape, x.dtype) for name, x in like.others.items()}
        return _to_trees(structure, leaves, _call(begin, TFVariablesState(slots, others), ps))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        gs, leaves, structure = checked(updates, params)
        places = [i for i, p in enumerate(leaves) if p is not None]
        moving = {i for i in places if not tree.absent(gs[i])}
        if not moving:
            return updates, state
        ps = [leaves[i] for i in places]
        wide = [numerics.convert(gs[i], leaves[i].dtype) if i in moving else None for i in places]
        with lock:
            like = shared(ps).initial
        values = _to_lists(state, places, structure, like)
        moves = [None if g is None else p for g, p in zip(wide, ps, strict=True)]
        steps, new = _call(step, (moves, values), wide, ps, values)
        us = list(gs)
        for i, u in zip(places, steps, strict=True):
            us[i] = us[i] if u is None else numerics.convert(u, gs[i].dtype, weak=gs[i].weak_type)
        for name, slot in new.slots.items():
            old_slot = values.slots[name]
            new.slots[name] = [x if i in moving else o for i, x, o in zip(places, slot, old_slot, strict=True)]
        return structure.unflatten(us), _to_trees(structure, leaves, new)

    def exposes(state: TFVariablesState) -> dict[str, Array]:
        return {name: x for name, x in state.others.items() if x.shape == ()}

    return GradientTransformationExtraArgs(init, update).declaring(exposes=exposes)


def _to_trees(structure: Any, leaves: list[Any], listed: TFVariablesState) -> TFVariablesState:
    """Slots given as lists over the trainable parameters, as trees shaped like all parameters."""
    slots = {}
    for name, slot in listed.slots.items():
        rest = iter(slot)
        slots[name] = structure.unflatten([None if p is None else next(rest) for p in leaves])
    return TFVariablesState(slots, listed.others)


def _to_lists(state: Any, places: list[int], structure: Any, like: TFVariablesState) -> TFVariablesState:
    """Inverse of `_to_trees`; fails for a state of another optimizer."""
    fields = ("slots", "others")
    if getattr(state, "_fields", None) != fields:
        checks.fail(f"state must be a TFVariablesState, got {checks.shown(state)}", TypeError)
    for field in fields:
        names, expected = sorted(getattr(state, field)), sorted(getattr(like, field))
        if names != expected:
            checks.fail(f"state.{field} has {names}, the optimizer has {expected}")
    indices = structure.unflatten(range(structure.num_leaves))
    slots = {}
    for name, expected in like.slots.items():
        leaves = tree.match(state.slots[name], indices, f"state.slots[{name!r}]", "params")
        slots[name] = [leaves[i] for i in places]
        for i, x, y in zip(places, slots[name], expected, strict=True):
            _check(x, y, f"state.slots[{name!r}]{tree.paths(indices)[i]}")
    for name, y in like.others.items():
        _check(state.others[name], y, f"state.others[{name!r}]")
    return TFVariablesState(slots, dict(state.others))


def _check(x: Any, y: Any, where: str) -> None:
    got, expected = (None if v is None else (v.shape, np.dtype(v.dtype)) for v in (x, y))
    if got != expected:
        shown = ["None" if v is None else f"{v[1]}{list(v[0])}" for v in (got, expected)]
        checks.fail(f"{where} is {shown[0]}, the optimizer has {shown[1]} there")


def _like_parameter(x: Any, p: Array) -> Array:
    """Array that determines a slot's placement: its parameter if shape and dtype agree, else zeros."""
    return p if (x.shape, x.dtype) == (p.shape, p.dtype) else jnp.zeros(x.shape, x.dtype)


def _call(f: Callable[..., Any], like: Any, *args: Any) -> Any:
    """`f` on NumPy arrays, on the host; the results have the structure, shapes and placement of `beside`."""
    if not any(map(checks.is_traced, jax.tree.leaves((like, args)))):
        return jax.tree.map(numerics.placed, f(*jax.tree.map(np.asarray, args)), like)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), like)  # type: ignore[no-untyped-call]

    @custom_vmap
    def call(like: Any, *args: Any) -> Any:
        result = jax.pure_callback(f, shapes, *args)
        # The callback's result lives on one device; a select that never picks `old` gives it the sharding of `old`.
        return jax.tree.map(lambda x, old: jnp.where(False, old, x), result, like)

    @call.def_vmap
    def refuse(axis_size: int, in_batched: Any, *args: Any) -> Any:
        del axis_size, in_batched, args
        with checks.naming("keras.TFOptimizer"):
            checks.fail(
                "vmap would need one TensorFlow optimizer for each entry of the axis; map over the entries with "
                "jax.lax.map, or use the optimizer of that name in optim",
                NotImplementedError,
            )

    return call(like, *args)

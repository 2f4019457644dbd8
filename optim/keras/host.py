"""Steps taken on the host by an optimizer that keeps variables, as a pair whose state those variables are."""

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
from .triples import meeting, trainable

Values = np.ndarray[Any, Any]


class TFVariablesState(NamedTuple):
    """The variables of a TensorFlow optimizer: name -> one for each parameter, and name -> one for all."""

    slots: dict[str, Updates]
    others: dict[str, Any]


@dataclass
class Copy:
    """A private copy of an optimizer: its parameters, its variables as the state has them, its step.

    Everything it holds is written before it steps, so that it remembers nothing from one step to the next.
    """

    params: list[Any]
    variables: TFVariablesState
    began: TFVariablesState
    """What the variables held before any step, or the shapes of that."""
    apply: Callable[[list[tuple[Values, Any]]], Any]

    def step(self, gs: Sequence[Any], ps: Sequence[Any], held: TFVariablesState) -> tuple[list[Any], TFVariablesState]:
        old = [np.asarray(p) for p in ps]
        mine = [*self.params, *jax.tree.leaves(self.variables)]
        for variable, x in zip(mine, old + jax.tree.leaves(held), strict=True):
            # A copy: the variable may take the array's memory for its own, and step in it.
            variable.assign(np.array(x, variable.numpy().dtype))
        self.apply([(np.asarray(g), p) for g, p in zip(gs, self.params, strict=True) if g is not None])
        moves = [None if g is None else np.asarray(v.numpy() - p) for g, v, p in zip(gs, self.params, old, strict=True)]
        return moves, jax.tree.map(lambda v: canonical(v.numpy()), self.variables)


def canonical(x: Any) -> Values:
    """A copy in the dtype that JAX has for it."""
    return np.array(x, jax.dtypes.canonicalize_dtype(np.asarray(x).dtype))


def numbered(names: Iterable[str]) -> list[str]:
    """The names, those that come again with the number of times that they came before."""
    seen: Counter[str] = Counter()
    out: list[str] = []
    for name in names:
        new = name
        while new in out:
            seen[name] += 1
            new = f"{name}_{seen[name]}"
        out.append(new)
    return out


def on_host(make: Callable[[list[Values]], Copy]) -> GradientTransformationExtraArgs:
    """The pair of the optimizer that `make` copies, given the parameters' values, into variables of its own."""
    copies: dict[Any, Copy] = {}
    turn = threading.Lock()

    def shared(ps: Sequence[Any]) -> Copy:
        """The copy for parameters of these shapes and dtypes; where `turn` is held."""
        key = tuple((p.shape, str(p.dtype)) for p in ps)
        if key not in copies:
            made = make([np.zeros(p.shape, p.dtype) for p in ps])
            copies[key] = replace(made, began=jax.eval_shape(lambda: made.began))
        return copies[key]

    def begin(ps: Sequence[Any]) -> TFVariablesState:
        with turn:
            return make([np.array(p) for p in ps]).began

    def step(gs: Sequence[Any], ps: Sequence[Any], held: TFVariablesState) -> Any:
        with turn:
            return shared(ps).step(gs, ps, held)

    def init(params: Params) -> TFVariablesState:
        leaves, structure = tree.flatten(trainable(params))
        ps = [p for p in leaves if p is not None]
        if not ps:
            return TFVariablesState({}, {})
        with turn:
            like = shared(ps).began
        slots = {
            name: [None if x is None else _beginning(x, p) for x, p in zip(slot, ps, strict=True)]
            for name, slot in like.slots.items()
        }
        others = {name: jnp.zeros(x.shape, x.dtype) for name, x in like.others.items()}
        return _over(structure, leaves, _call(begin, TFVariablesState(slots, others), ps))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        gs, leaves, structure = meeting(updates, params)
        here = [i for i, p in enumerate(leaves) if p is not None]
        moving = {i for i in here if not tree.absent(gs[i])}
        if not moving:
            return updates, state
        ps = [leaves[i] for i in here]
        wide = [numerics.convert(gs[i], leaves[i].dtype) if i in moving else None for i in here]
        with turn:
            like = shared(ps).began
        held = _listed(state, here, structure, like)
        moves = [None if g is None else p for g, p in zip(wide, ps, strict=True)]
        steps, new = _call(step, (moves, held), wide, ps, held)
        us = list(gs)
        for i, u in zip(here, steps, strict=True):
            us[i] = us[i] if u is None else numerics.convert(u, gs[i].dtype, weak=gs[i].weak_type)
        for name, slot in new.slots.items():
            kept = held.slots[name]
            new.slots[name] = [x if i in moving else o for i, x, o in zip(here, slot, kept, strict=True)]
        return structure.unflatten(us), _over(structure, leaves, new)

    def exposes(state: TFVariablesState) -> dict[str, Array]:
        return {name: x for name, x in state.others.items() if x.shape == ()}

    return GradientTransformationExtraArgs(init, update).declaring(exposes=exposes)


def _over(structure: Any, leaves: list[Any], listed: TFVariablesState) -> TFVariablesState:
    """Slots that list the trainable parameters as trees like all parameters."""
    slots = {}
    for name, slot in listed.slots.items():
        rest = iter(slot)
        slots[name] = structure.unflatten([None if p is None else next(rest) for p in leaves])
    return TFVariablesState(slots, listed.others)


def _listed(state: Any, here: list[int], structure: Any, like: TFVariablesState) -> TFVariablesState:
    """What `_over` was given; an error where the state is another optimizer's."""
    fields = ("slots", "others")
    if getattr(state, "_fields", None) != fields:
        checks.fail(f"state must be a TFVariablesState, got {checks.shown(state)}", TypeError)
    for field in fields:
        found, wanted = sorted(getattr(state, field)), sorted(getattr(like, field))
        if found != wanted:
            checks.fail(f"state.{field} has {found}, the optimizer has {wanted}")
    home = structure.unflatten(range(structure.num_leaves))
    slots = {}
    for name, wanted in like.slots.items():
        leaves = tree.match(state.slots[name], home, f"state.slots[{name!r}]", "params")
        slots[name] = [leaves[i] for i in here]
        for i, x, y in zip(here, slots[name], wanted, strict=True):
            _check(x, y, f"state.slots[{name!r}]{tree.paths(home)[i]}")
    for name, y in like.others.items():
        _check(state.others[name], y, f"state.others[{name!r}]")
    return TFVariablesState(slots, dict(state.others))


def _check(x: Any, y: Any, where: str) -> None:
    mine, wanted = (None if v is None else (v.shape, np.dtype(v.dtype)) for v in (x, y))
    if mine != wanted:
        told = ["None" if v is None else f"{v[1]}{list(v[0])}" for v in (mine, wanted)]
        checks.fail(f"{where} is {told[0]}, the optimizer has {told[1]} there")


def _beginning(x: Any, p: Array) -> Array:
    """What the first value of a slot is put beside: its parameter, where it is of one kind with that."""
    return p if (x.shape, x.dtype) == (p.shape, p.dtype) else jnp.zeros(x.shape, x.dtype)


def _call(f: Callable[..., Any], beside: Any, *args: Any) -> Any:
    """`f` on NumPy arrays, on the host; what comes back is array by array like `beside`, and put where that is."""
    if not any(map(checks.is_traced, jax.tree.leaves((beside, args)))):
        return jax.tree.map(numerics.placed, f(*jax.tree.map(np.asarray, args)), beside)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), beside)  # type: ignore[no-untyped-call]

    @custom_vmap
    def call(beside: Any, *args: Any) -> Any:
        found = jax.pure_callback(f, shapes, *args)
        # It comes from one device; a select that never picks the other brings it to where that one is.
        return jax.tree.map(lambda x, old: jnp.where(False, old, x), found, beside)

    @call.def_vmap
    def refuse(axis_size: int, in_batched: Any, *args: Any) -> Any:
        del axis_size, in_batched, args
        with checks.naming("keras.TFOptimizer"):
            checks.fail(
                "vmap would need one TensorFlow optimizer for each entry of the axis; map over the entries with "
                "jax.lax.map, or take the optimizer of that name in optim",
                NotImplementedError,
            )

    return call(beside, *args)

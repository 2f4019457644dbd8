"""A rule on one array with what it declares: how it starts, what it asks for, how it meets one leaf."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from . import checks, numerics, tree
from .numerics import as_complex, as_pairs, is_complex
from .packing import check_whole
from .slots import Scalar, Slot
from .types import Array, Grain, Params, Tree

Rule = Callable[..., Any]
Scalars = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class LeafRule:
    """A rule, the state it declares, and the tree-wide scalars it derives. See `optim.lift` for what each may be."""

    grain: Grain
    rule: Rule
    state_class: Any
    derive: Scalars | None
    declared: Mapping[str, Slot | Scalar]

    def __post_init__(self) -> None:
        # A state class or a rule that speaks of something else is found out here, and not in a trace.
        name, fields = self.state_class.__name__, [f for f in self.state_class._fields if f != self.counter]
        if sorted(fields) != sorted(self.declared):
            checks.fail(f"{name} has the fields {fields}, declared are {list(self.declared)}", TypeError)
        offered = {"g", "p", "t", *self.seen, *self.kept}
        for word in self.wants:
            if word not in offered and self.derive is None:
                checks.fail(f"the rule asks for {word!r}; there are {', '.join(sorted(offered))}", TypeError)
        if "t" in self.wants and not self.counter:
            checks.fail(f"the rule asks for 't', but {name} has no count", TypeError)

    @cached_property
    def slots(self) -> dict[str, Slot]:
        return {k: v for k, v in self.declared.items() if isinstance(v, Slot)}

    @cached_property
    def seen(self) -> dict[str, Slot]:
        """The slots as the rule names them: what is kept as `g` is not the gradient."""
        return {"last_g" if name == "g" else name: slot for name, slot in self.slots.items()}

    @cached_property
    def kept(self) -> dict[str, Scalar]:
        return {k: v for k, v in self.declared.items() if isinstance(v, Scalar)}

    @cached_property
    def counter(self) -> str | None:
        """The field that counts the updates."""
        return next((f for f in ("count", "t") if f in self.state_class._fields and f not in self.declared), None)

    @cached_property
    def wants(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.rule).parameters)

    @cached_property
    def derive_wants(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.derive).parameters) if self.derive else ()

    @cached_property
    def home(self) -> str | None:
        """The first slot that has the parameters' structure."""
        return next((name for name, slot in self.slots.items() if slot.stored and not slot.free), None)

    @property
    def reads_params(self) -> bool:
        return "p" in self.wants or "params" in self.derive_wants

    @property
    def as_reals(self) -> bool:
        """Whether it sees a complex leaf as two real ones."""
        return self.grain != "leafwise"

    def init(self, params: Params) -> Any:
        if self.grain == "leafwise":
            check_whole(params)
        leaves, structure = tree.flatten(params)
        try:
            arrays = [tree.as_array(p) if tree.trainable(p) else None for p in leaves]
        except TypeError:
            _not_arrays(leaves, params)
        fields: dict[str, Any] = dict.fromkeys(self.slots)
        for name, slot in self.slots.items():
            if slot.stored:
                made = [None if p is None else slot.make(p, paired=self.as_reals) for p in arrays]
                fields[name] = structure.unflatten(made)
        fields |= {name: scalar.make(structure.unflatten(arrays)) for name, scalar in self.kept.items()}
        if self.counter:
            fields[self.counter] = jnp.zeros((), jnp.int32)
        return self.state_class(**fields)

    def held(self, state: Any, home: Tree, home_name: str) -> list[list[Any]]:
        """What each slot holds for each place of `home`."""
        places = tree.structure(home)
        columns = []
        for name, slot in self.slots.items():
            if not slot.stored:
                columns.append([None] * places.num_leaves)
            elif slot.free:
                columns.append(list(places.flatten_up_to(getattr(state, name))))
            else:
                columns.append(tree.match(getattr(state, name), home, f"state.{name}", home_name))
        return columns

    def known(self, state: Any, trees: Mapping[str, Tree], extra_args: Mapping[str, Any]) -> dict[str, Any]:
        """The count, the state scalars and the derived ones, by name."""
        known: dict[str, Any] = {name: getattr(state, name) for name in self.kept}
        if self.counter:
            known["t"] = numerics.safe_increment(getattr(state, self.counter))
        if self.derive:
            trees = {name: getattr(state, name) for name in self.slots} | dict(trees)
            offered = {**extra_args, **known, **trees}
            for name in self.derive_wants:
                if name not in offered:
                    checks.fail(f"update needs {name}: call update(updates, state, params, {name}=...)", TypeError)
            known |= self.derive(**{n: tree.widen(offered[n]) if n in trees else offered[n] for n in self.derive_wants})
        for name in self.wants:
            if name not in known and name not in self.seen and name not in ("g", "p"):
                checks.fail(f"the rule asks for {name!r}, which scalars did not return", TypeError)
        return known

    def new_state(self, state: Any, known: Mapping[str, Any], columns: Mapping[str, Tree]) -> Any:
        """The state after an update: slots from `columns`, scalars from what is known."""
        fields = {name: columns[name] if slot.stored else None for name, slot in self.slots.items()}
        for name in self.kept:
            new, old = known[name], getattr(state, name)
            fields[name] = new if new.dtype == old.dtype else numerics.convert(new, old.dtype)
        if self.counter:
            fields[self.counter] = known["t"]
        return self.state_class(**fields)

    def apply(self, g: Array, p: Any, held: list[Any], known: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """The rule on one leaf: widen what goes in, narrow what comes out."""
        inputs = {"g": g, **{n: x for n, x in zip(self.seen, held, strict=True) if self.seen[n].stored}}
        if "p" in self.wants:
            inputs["p"] = tree.as_array(p)
        floats = [numerics.real_dtype(x.dtype) for x in jax.tree.leaves(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)]
        dtype = numerics.common_dtype(jnp.float32, *floats)
        reals = self.as_reals and is_complex(g)
        wide = {name: jax.tree.map(lambda x: _widened(x, dtype, reals), x) for name, x in inputs.items()}
        for name, slot in self.seen.items():
            if not slot.stored:
                wide[name] = jnp.zeros(wide["g"].shape, numerics.real_dtype(dtype) if slot.real else wide["g"].dtype)
        # The lift has made the precisions one; real numbers that meet complex ones are all that is left to promote.
        mixed = any(is_complex(x) for x in jax.tree.leaves(wide))
        with jax.numpy_dtype_promotion("standard") if mixed else contextlib.nullcontext():
            out = self.rule(**{n: wide[n] if n in wide else known[n] for n in self.wants})
        u, new = _parts(out, wide["g"], {name: wide[name] for name in self.seen})
        back = [
            jax.tree.map(lambda n, o: _narrowed(n, o, reals), x, old) if slot.stored else None
            for x, old, slot in zip(new, held, self.slots.values(), strict=True)
        ]
        return _narrowed(u, g, reals, weak=g.weak_type), back

    def check(self, g: Any, held: list[Any], home: Tree, i: int) -> None:
        """A gradient against the first slot of its parameter."""
        if self.home and not self.slots[self.home].per_leaf:
            x = held[list(self.slots).index(self.home)]
            pairs = self.as_reals and self.slots[self.home].real and is_complex(g) and x is not None
            check_leaf(g, f"state.{self.home}", x[..., 0] if pairs else x, home, i)


def _narrowed(x: Array, old: Array, as_reals: bool, *, weak: bool = False) -> Array:
    x = as_complex(x) if as_reals and is_complex(old) else x
    return numerics.convert(x, old.dtype, weak=weak)


def _parts(out: Any, g: Array, held: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """The update and the new slots in what a rule returned, if it returned them, each in its shape."""
    u: Any = out
    new: Any = []
    if held:
        if not (isinstance(out, tuple) and len(out) == 2):
            checks.fail(f"the rule must return the update and its slots {', '.join(held)}, got {checks.shown(out)}")
        u, new = out[0], [out[1]] if len(held) == 1 else out[1]
        if not isinstance(new, list | tuple) or len(new) != len(held):
            checks.fail(f"the rule must return the slots ({', '.join(held)}), got {checks.shown(new)}")
    for name, x, old in zip(("update", *held), (u, *new), (g, *held.values()), strict=True):
        expected = jax.tree.map(jnp.shape, old)
        if jax.tree.map(jnp.shape, x) != expected:
            checks.fail(f"the rule's {name} has shape {jax.tree.map(jnp.shape, x)}, expected {expected}")
    return tree.as_array(u), [jax.tree.map(tree.as_array, x) for x in new]


def _widened(x: Array, dtype: np.dtype[Any], as_reals: bool) -> Array:
    if is_complex(x):
        wide = numerics.convert(x, numerics.common_dtype(dtype, jnp.complex64))
        return as_pairs(wide) if as_reals else wide
    return numerics.convert(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def check_updates(gs: Sequence[Any], ps: Sequence[Any], home: Tree) -> None:
    """Gradients against the parameters of `home`, before anything is done with them."""
    for i, (g, p) in enumerate(zip(gs, ps, strict=True)):
        if not tree.absent(g):
            check_inexact(g, home, i)
            check_leaf(g, "params", p, home, i)


def check_inexact(g: Any, home: Tree, i: int) -> None:
    if not jnp.issubdtype(jnp.result_type(g), jnp.inexact):
        checks.fail(f"updates{tree.paths(home)[i]} has dtype {g.dtype}, expected a floating or complex one")


def _not_arrays(leaves: list[Any], params: Params) -> NoReturn:
    for p, path in zip(leaves, tree.paths(params), strict=True):
        if not (p is None or checks.is_array(p) or isinstance(p, bool | int | float | complex | np.generic)):
            checks.fail(f"params{path} is {checks.shown(p)}, expected an array, or None where there is none", TypeError)
    checks.fail("params must be a tree of arrays", TypeError)


def check_leaf(g: Array, name: str, other: Any, home: Tree, i: int) -> None:
    """A gradient against its parameter or slot: presence, shape, kind of number."""
    dtype, shape = g.dtype, g.shape
    if isinstance(other, jax.Array) and other.shape == shape and (name != "params" or other.dtype == dtype):
        return
    if other is not None and jnp.shape(other) == shape and (name != "params" or is_complex(other) == is_complex(g)):
        return
    path = tree.paths(home)[i]
    if other is None:
        why = "" if name == "params" else ": its parameter was None or integer when init was called"
        checks.fail(f"updates{path} is an array, {name}{path} is None{why}")
    if jnp.shape(other) != shape:
        checks.fail(f"updates{path} has shape {shape}, {name}{path} has {jnp.shape(other)}")
    checks.fail(f"updates{path} is {dtype}, {name}{path} is {jnp.result_type(other)}")

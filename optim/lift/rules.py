"""A rule on one array with what it declares: its state, the scalars it derives, and how it is applied to one leaf."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks, numerics, tree
from ..numerics import as_complex, as_pairs, is_complex
from ..tree.coded import decoded, is_coded
from ..tree.packing import check_whole
from ..tree.params import trainable_arrays
from ..types import Array, Grain, Params, Tree
from .codecs import chosen
from .slots import Slot, StateScalar

Rule = Callable[..., Any]
Scalars = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class LeafRule:
    """A rule, the state it declares, and the tree-wide scalars it derives; `lift.grains` describes each.

    `passes` is the word for what the rule transforms: `g`, or in a wrapper `u`, beside which the rule may read `g`.
    """

    grain: Grain
    rule: Rule
    state_class: Any
    derive: Scalars | None
    declared: Mapping[str, Slot | StateScalar]
    passes: str = "g"

    def __post_init__(self) -> None:
        # A state class or a rule with another vocabulary is an error here, and not in a trace.
        name, fields = self.state_class.__name__, [f for f in self.state_class._fields if f != self.counter]
        if sorted(fields) != sorted(self.declared):
            checks.fail(f"{name} has the fields {fields}, declared are {list(self.declared)}", TypeError)
        offered = {"g", "p", "t", self.passes, *self.slot_words, *self.state_scalars}
        for word in self.wants:
            if word not in offered and self.derive is None:
                checks.fail(f"the rule asks for {word!r}; there are {', '.join(sorted(offered))}", TypeError)
        if "t" in self.wants and not self.counter:
            checks.fail(f"the rule asks for 't', but {name} has no count", TypeError)

    def __repr__(self) -> str:
        return f"{self.grain}({checks.function_name(self.rule)})"

    @cached_property
    def slots(self) -> dict[str, Slot]:
        return {k: v for k, v in self.declared.items() if isinstance(v, Slot)}

    @cached_property
    def slot_words(self) -> dict[str, Slot]:
        """The slots by the words that the rule has for them: a slot called `g` is `last_g`."""
        return {"last_g" if name == "g" else name: slot for name, slot in self.slots.items()}

    @cached_property
    def state_scalars(self) -> dict[str, StateScalar]:
        return {k: v for k, v in self.declared.items() if isinstance(v, StateScalar)}

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
    def anchor(self) -> str | None:
        """The first slot that has the parameters' structure."""
        return next((name for name, slot in self.slots.items() if slot.stored and not slot.free), None)

    @property
    def reads_params(self) -> bool:
        return "p" in self.wants or "params" in self.derive_wants

    @property
    def as_reals(self) -> bool:
        """Whether the rule sees a complex leaf as two real ones."""
        return self.grain != "leafwise"

    def init(self, params: Params) -> Any:
        if self.grain == "leafwise":
            check_whole(params)
        arrays, structure = trainable_arrays(params)
        fields: dict[str, Any] = dict.fromkeys(self.slots)
        for name, slot in self.slots.items():
            if slot.stored:
                fields[name] = structure.unflatten(self._made(name, slot, arrays))
        fields |= {name: scalar.make(structure.unflatten(arrays)) for name, scalar in self.state_scalars.items()}
        if self.counter:
            fields[self.counter] = numerics.zero_count()
        return self.state_class(**fields)

    def _made(self, name: str, slot: Slot, arrays: list[Any]) -> list[Any]:
        choice = None if slot.free or slot.per_leaf else chosen(name, slot)
        if choice is None:
            return [None if p is None else slot.make(p, paired=self.as_reals) for p in arrays]
        return [None if p is None else choice.made(name, slot, p, i, self.as_reals) for i, p in enumerate(arrays)]

    def slot_values(self, state: Any, places: Tree, places_name: str) -> list[list[Any]]:
        """The values of each slot, in the places of the tree `places`."""
        structure = tree.structure(places)
        columns = []
        for name, slot in self.slots.items():
            if not slot.stored:
                columns.append([None] * structure.num_leaves)
            elif slot.free:
                columns.append(list(structure.flatten_up_to(getattr(state, name))))
            else:
                columns.append(tree.match(getattr(state, name), places, f"state.{name}", places_name))
        return columns

    def scalar_values(self, state: Any, trees: Mapping[str, Tree], extra_args: Mapping[str, Any]) -> dict[str, Any]:
        """The count, the state scalars and the derived scalars, by name."""
        values: dict[str, Any] = {name: getattr(state, name) for name in self.state_scalars}
        if self.counter:
            values["t"] = numerics.safe_increment(getattr(state, self.counter))
        if self.derive:
            trees = {name: decoded(getattr(state, name)) for name in self.slots} | dict(trees)
            offered = {**extra_args, **values, **trees}
            for name in self.derive_wants:
                if name not in offered:
                    checks.fail(f"update needs {name}: call update(updates, state, params, {name}=...)", TypeError)
            arguments = {n: tree.widen(offered[n]) if n in trees else offered[n] for n in self.derive_wants}
            values |= self.derive(**arguments)
        for name in self.wants:
            if name not in values and name not in self.slot_words and name not in ("g", "p", self.passes):
                checks.fail(f"the rule asks for {name!r}, which scalars did not return", TypeError)
        return values

    def new_state(self, state: Any, scalars: Mapping[str, Any], columns: Mapping[str, Tree]) -> Any:
        """The state after an update, from its slots and the scalars' values."""
        fields = {name: columns[name] if slot.stored else None for name, slot in self.slots.items()}
        for name in self.state_scalars:
            new, old = scalars[name], getattr(state, name)
            fields[name] = new if new.dtype == old.dtype else numerics.convert(new, old.dtype)
        if self.counter:
            fields[self.counter] = scalars["t"]
        return self.state_class(**fields)

    def apply(
        self, u: Array, p: Any, slots: list[Any], scalars: Mapping[str, Any], beside: Mapping[str, Array] = {}
    ) -> tuple[Array, list[Any]]:
        """The rule on one leaf: widen what goes in, narrow what comes out.

        `u` is what the rule transforms, under its own word; `beside` has further arrays of the leaf, by their words.
        """
        inputs = {self.passes: u, **beside}
        arrays = [x.decoded() if is_coded(x) else x for x in slots]
        inputs |= {word: x for word, x in zip(self.slot_words, arrays, strict=True) if self.slot_words[word].stored}
        if "p" in self.wants:
            inputs["p"] = tree.as_array(p)
        floats = {numerics.real_dtype(x.dtype) for x in jax.tree.leaves(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)}
        dtype = numerics.common_dtype(jnp.float32, *floats)
        reals = self.as_reals and is_complex(u)
        wide = {name: jax.tree.map(lambda x: _widened(x, dtype, reals), x) for name, x in inputs.items()}
        for word, slot in self.slot_words.items():
            if not slot.stored:
                like = wide[self.passes]
                wide[word] = jnp.zeros(like.shape, numerics.real_dtype(dtype) if slot.real else like.dtype)
        # Real numbers that meet complex ones are all that is left to promote: the precisions are one by now.
        mixed = any(is_complex(x) for x in jax.tree.leaves(wide))
        with jax.numpy_dtype_promotion("standard") if mixed else contextlib.nullcontext():
            out = self.rule(**{n: wide[n] if n in wide else scalars[n] for n in self.wants})
        new_u, new = _parts(out, wide[self.passes], {word: wide[word] for word in self.slot_words})
        back = [
            _stored(x, old, reals) if slot.stored else None
            for x, old, slot in zip(new, slots, self.slots.values(), strict=True)
        ]
        return _narrowed(new_u, u, reals, weak=u.weak_type), back

    def evaluated(self, rule: Rule, leaf: Mapping[str, Any], scalars: Mapping[str, Any]) -> Any:
        """The parameter that `rule` makes of a parameter and its slots; the parameter itself where it has none."""
        p = leaf["p"]
        if tree.absent(p) or any(leaf[name] is None for name, slot in self.slots.items() if slot.stored):
            return p
        p = tree.as_array(p)
        arrays = {"p": p, **{word: decoded(leaf[n]) for word, n in zip(self.slot_words, self.slots, strict=True)}}
        dtype = numerics.common_dtype(jnp.float32, *(numerics.real_dtype(x.dtype) for x in arrays.values()))
        reals = self.as_reals and is_complex(p)
        offered = {**scalars, **{word: _widened(x, dtype, reals) for word, x in arrays.items()}}
        new = rule(**{word: offered[word] for word in inspect.signature(rule).parameters})
        return _narrowed(new, p, reals, weak=p.weak_type)

    def check(self, g: Any, slots: list[Any], places: Tree, i: int) -> None:
        """Refuse a gradient that does not fit the first slot of its parameter."""
        if self.anchor and not self.slots[self.anchor].per_leaf:
            x = slots[list(self.slots).index(self.anchor)]
            pairs = self.as_reals and self.slots[self.anchor].real and is_complex(g) and x is not None
            check_leaf(g, f"state.{self.anchor}", x[..., 0] if pairs else x, places, i)


def _stored(x: Any, old: Any, as_reals: bool) -> Any:
    """A slot that a rule returned, in the form of the old one."""
    if is_coded(old):
        return old.encoded(x)
    return jax.tree.map(lambda n, o: _narrowed(n, o, as_reals), x, old)


def _narrowed(x: Array, old: Array, as_reals: bool, *, weak: bool = False) -> Array:
    x = as_complex(x) if as_reals and is_complex(old) else x
    return numerics.convert(x, old.dtype, weak=weak)


def _parts(out: Any, u: Array, slots: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """The update and the new slots that a rule returned, each checked against its shape."""
    new_u: Any = out
    new: Any = []
    if slots:
        if not (isinstance(out, tuple) and len(out) == 2):
            checks.fail(f"the rule must return the update and its slots {', '.join(slots)}, got {checks.shown(out)}")
        new_u, new = out[0], [out[1]] if len(slots) == 1 else out[1]
        if not isinstance(new, list | tuple) or len(new) != len(slots):
            checks.fail(f"the rule must return the slots ({', '.join(slots)}), got {checks.shown(new)}")
    for name, x, old in zip(("update", *slots), (new_u, *new), (u, *slots.values()), strict=True):
        expected = jax.tree.map(jnp.shape, old)
        if jax.tree.map(jnp.shape, x) != expected:
            checks.fail(f"the rule's {name} has shape {jax.tree.map(jnp.shape, x)}, expected {expected}")
    return tree.as_array(new_u), [jax.tree.map(tree.as_array, x) for x in new]


def _widened(x: Array, dtype: np.dtype[Any], as_reals: bool) -> Array:
    if is_complex(x):
        wide = numerics.convert(x, numerics.common_dtype(dtype, jnp.complex64))
        return as_pairs(wide) if as_reals else wide
    return numerics.convert(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def check_updates(gs: Sequence[Any], ps: Sequence[Any], places: Tree) -> None:
    """Refuse gradients that do not fit the parameters of `places`."""
    for i, (g, p) in enumerate(zip(gs, ps, strict=True)):
        if not tree.absent(g):
            check_inexact(g, places, i)
            check_leaf(g, "params", p, places, i)


def check_inexact(g: Any, places: Tree, i: int) -> None:
    if not jnp.issubdtype(jnp.result_type(g), jnp.inexact):
        checks.fail(f"updates{tree.paths(places)[i]} has dtype {g.dtype}, expected a floating or complex one")


def check_leaf(g: Array, name: str, other: Any, places: Tree, i: int) -> None:
    """Refuse a gradient that does not fit its parameter or slot: presence, shape, real or complex."""
    dtype, shape = g.dtype, g.shape
    if is_coded(other):
        other = other.like
    if isinstance(other, jax.Array) and other.shape == shape and (name != "params" or other.dtype == dtype):
        return
    if other is not None and jnp.shape(other) == shape and (name != "params" or is_complex(other) == is_complex(g)):
        return
    path = tree.paths(places)[i]
    if other is None:
        why = "" if name == "params" else ": its parameter was None or integer when init was called"
        checks.fail(f"updates{path} is an array, {name}{path} is None{why}")
    if jnp.shape(other) != shape:
        checks.fail(f"updates{path} has shape {shape}, {name}{path} has {jnp.shape(other)}")
    checks.fail(f"updates{path} is {dtype}, {name}{path} is {jnp.result_type(other)}")

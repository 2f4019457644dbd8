"""From a rule on one array to a transformation of trees.

A rule is the paper's formula on ONE array: a function whose parameters are named for what it needs, and which returns
the update, or the update and its new slots in the order they were declared.

    g        the gradient, or whatever comes in, in at least float32
    p        the parameter, in the same precision
    t        the number of this update, 1 on the first: an int32 scalar
    NAME     the slot, the state scalar or the derived scalar of that name
    key      a PRNG key of this leaf's own, where `scalars` returns one for the tree

`Slot` declares one state array per parameter, `Scalar` one state scalar. Tree-wide scalars (a clip factor, a momentum
schedule) are derived by one function, `scalars`, whose parameters are named likewise, with `updates` and `params` for
whole trees and any extra argument of `update` by its name; what it returns under the name of a `Scalar` is stored.

The lift carries what is the same for every rule: `None`, dtypes, shapes and their errors, the count, fresh buffers,
shardings. The grain says what an element of the update may depend on, and so what may be done with the rule: see
`elementwise`, `treewise`, `leafwise`.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from . import checks, numerics, tree
from .base import EmptyState, GradientTransformationExtraArgs
from .types import Array, DType, Grain, Params, Tree

Rule = Callable[..., Any]
Scalars = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Slot:
    """One state array per parameter, of the parameter's shape and sharding.

    Args:
      init: the value it starts with, or a function of the parameter (widened) that gives it.
      dtype: its dtype by the user's choice; None means the policy: the parameter's, but at least float32 for
        what is real, and for what moves slower than `decay` 0.99.
      real: whether it is real for complex parameters (second moments, norms).
      decay: how much of itself it keeps. Only a Python number can be known to be fast.
      per_leaf: one scalar for the whole parameter in place of an array of its shape.
    """

    init: float | Array | Callable[[Array], Array] = 0.0
    dtype: DType = None
    real: bool = False
    decay: Any = 0.0
    per_leaf: bool = False

    def make(self, p: Array) -> Array:
        """The slot of one parameter, in a buffer of its own."""
        dtype = self.dtype_for(p)
        if self.per_leaf:
            return jnp.asarray(self.init, dtype)
        if callable(self.init) and not checks.is_array(self.init):
            value = self.init(numerics.convert(p, numerics.wide_dtype(p.dtype)))
            return numerics.full_like(p, 0, dtype) + numerics.convert(value, dtype)
        return numerics.full_like(p, cast(float, self.init), dtype)

    def dtype_for(self, p: Array) -> DType:
        if self.dtype is not None:
            dtype = jnp.dtype(self.dtype)
            complex_too = _complex(p) and not self.real and jnp.issubdtype(dtype, jnp.floating)
            return numerics.common_dtype(dtype, jnp.complex64) if complex_too else dtype
        fast = checks.is_number(self.decay) and self.decay <= 0.99
        dtype = p.dtype if fast and not self.real else numerics.wide_dtype(p.dtype)
        return numerics.real_dtype(dtype) if self.real else dtype


@dataclass(frozen=True)
class Scalar:
    """One state scalar for the whole tree: a number, or a PRNG key."""

    init: float | Array = 0.0
    dtype: DType = None

    def make(self) -> Array:
        """The scalar in a buffer of its own."""
        if isinstance(self.init, jax.Array):
            return jnp.copy(self.init)
        return jnp.asarray(self.init, self.dtype or numerics.scalar_dtype())


def elementwise(
    rule: Rule,
    state: Any = EmptyState,
    *,
    scalars: Scalars | None = None,
    **slots: Slot | Scalar,
) -> GradientTransformationExtraArgs:
    """Lift a rule whose every element depends on the same element of g, p and the slots, and on scalars.

    It may be packed, chunked, and its slots quantised block by block.
    """
    return _lift("elementwise", rule, state, scalars, slots)


def treewise(
    rule: Rule, state: Any = EmptyState, *, scalars: Scalars, **slots: Slot | Scalar
) -> GradientTransformationExtraArgs:
    """Lift a rule that is elementwise but for `scalars`, which are sums over the whole tree.

    It may be packed: a sum over the tree does not see where one leaf ends.
    """
    return _lift("treewise", rule, state, scalars, slots)


def leafwise(
    rule: Rule,
    state: Any = EmptyState,
    *,
    scalars: Scalars | None = None,
    **slots: Slot | Scalar,
) -> GradientTransformationExtraArgs:
    """Lift a rule whose elements depend on their whole leaf. It is never packed across leaves."""
    return _lift("leafwise", rule, state, scalars, slots)


def _names(f: Callable[..., Any] | None) -> tuple[str, ...]:
    return tuple(inspect.signature(f).parameters) if f else ()


def _lift(
    grain: Grain,
    rule: Rule,
    state_class: Any,
    scalars: Scalars | None,
    declared: Mapping[str, Slot | Scalar],
) -> GradientTransformationExtraArgs:
    slots = {k: v for k, v in declared.items() if isinstance(v, Slot)}
    kept = {k: v for k, v in declared.items() if isinstance(v, Scalar)}
    wants, scalars_want = _names(rule), _names(scalars)
    counted = "count" in state_class._fields
    reads_params = "p" in wants or "params" in scalars_want
    _check_declared(state_class, declared, wants, scalars)

    def init(params: Params) -> Any:
        leaves, structure = tree.flatten(params)
        arrays = [tree.as_array(p) if _trainable(p) else None for p in leaves]
        fields: dict[str, Any] = {
            name: structure.unflatten([None if p is None else slot.make(p) for p in arrays])
            for name, slot in slots.items()
        }
        fields |= {name: scalar.make() for name, scalar in kept.items()}
        if counted:
            fields["count"] = jnp.zeros((), jnp.int32)
        return state_class(**fields)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        if not isinstance(state, tuple) or getattr(state, "_fields", None) != state_class._fields:
            checks.fail(f"state must be a {state_class.__name__}, got {checks.shown(state)}", TypeError)
        # Slots know every parameter's place; without them the parameters do, and without these the updates.
        first = next(iter(slots), None)
        home = getattr(state, first) if first else updates if params is None else params
        shaped = first is not None and not slots[first].per_leaf
        home_name = f"state.{first}" if first else "updates" if params is None else "params"
        gs = tree.match(updates, home, "updates", home_name)
        if params is None and reads_params and not all(map(tree.absent, gs)):
            checks.fail("update needs the parameters: call update(updates, state, params)")
        ps = tree.match(params, home, "params", home_name) if params is not None else [None] * len(gs)
        held = [tree.match(getattr(state, name), home, f"state.{name}", home_name) for name in slots]
        for i, (g, p, *ss) in enumerate(zip(gs, ps, *held, strict=True)):
            if not tree.absent(g):
                others = {"params": p} if params is not None else {}
                _check_leaf(g, others | ({f"state.{first}": ss[0]} if shaped else {}), home, i)

        known: dict[str, Any] = {name: getattr(state, name) for name in kept}
        if counted:
            known["t"] = numerics.safe_increment(state.count)
        if scalars:
            known |= scalars(**_wanted(scalars_want, updates, params, known, extra_args))

        shared = {n: known[n] for n in wants if n in known}
        for name in wants:
            if name not in shared and name not in slots and name not in ("g", "p"):
                checks.fail(f"the rule asks for {name!r}, which scalars did not return", TypeError)
        keys = jax.random.split(shared["key"], len(gs)) if "key" in shared and gs else None
        us, news = [], []
        for i, (g, p, *ss) in enumerate(zip(gs, ps, *held, strict=True)):
            if tree.absent(g):
                us.append(g)
                news.append(ss)
                continue
            if keys is not None:
                shared["key"] = keys[i]
            u, new = _apply(rule, wants, slots, g, p, ss, shared)
            us.append(u)
            news.append(new)

        structure = tree.structure(home)
        columns = zip(*news, strict=True) if news else [() for _ in slots]
        fields = {name: structure.unflatten(list(c)) for name, c in zip(slots, columns, strict=True)}
        fields |= {name: _stored(known[name], getattr(state, name)) for name in kept}
        if counted:
            fields["count"] = known["t"]
        return structure.unflatten(us), state_class(**fields)

    return GradientTransformationExtraArgs(init, update).knowing(grain=grain)


def _stored(x: Array, old: Array) -> Array:
    return x if x.dtype == old.dtype else numerics.convert(x, old.dtype)


def _apply(
    rule: Rule,
    wants: tuple[str, ...],
    slots: Mapping[str, Slot],
    g: Any,
    p: Any,
    held: list[Any],
    known: dict[str, Any],
) -> tuple[Array, list[Array]]:
    """The rule on one leaf: widen what goes in, narrow what comes out."""
    g = tree.as_array(g)
    inputs = {"g": g, **dict(zip(slots, held, strict=True))}
    if "p" in wants:
        inputs["p"] = tree.as_array(p)
    floats = [numerics.real_dtype(x.dtype) for x in inputs.values() if jnp.issubdtype(x.dtype, jnp.inexact)]
    dtype = numerics.common_dtype(jnp.float32, *floats)
    wide = {name: _widened(x, dtype) for name, x in inputs.items()}
    # The lift has made the precisions one; real numbers that meet complex ones are all that is left to promote.
    mixed = any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in wide.values())
    with jax.numpy_dtype_promotion("standard") if mixed else contextlib.nullcontext():
        out = rule(**{n: wide[n] if n in wide else known[n] for n in wants})
    u, new = _parts(out, g, tuple(slots), held)
    narrow = [numerics.convert(x, old.dtype) for x, old in zip(new, held, strict=True)]
    return numerics.convert(u, g.dtype, weak=g.weak_type), narrow


def _parts(out: Any, g: Array, names: tuple[str, ...], held: list[Any]) -> tuple[Any, list[Any]]:
    """The update and the new slots in what a rule returned, if it returned them, each in its shape."""
    u: Any = out
    new: Any = []
    if names:
        if not (isinstance(out, tuple) and len(out) == 2):
            checks.fail(f"the rule must return the update and its slots {', '.join(names)}, got {checks.shown(out)}")
        u, new = out[0], [out[1]] if len(names) == 1 else out[1]
        if not isinstance(new, list | tuple) or len(new) != len(names):
            checks.fail(f"the rule must return the slots ({', '.join(names)}), got {checks.shown(new)}")
    for name, x, old in zip(("update", *names), (u, *new), (g, *held), strict=True):
        if jnp.shape(x) != jnp.shape(old):
            checks.fail(f"the rule's {name} has shape {jnp.shape(x)}, expected {jnp.shape(old)}")
    return tree.as_array(u), [tree.as_array(x) for x in new]


def _check_declared(
    state_class: Any, declared: Mapping[str, Any], wants: tuple[str, ...], scalars: Scalars | None
) -> None:
    """A state class and a rule that speak of what is declared, found out when the rule is lifted and not in a trace."""
    fields = [f for f in state_class._fields if f != "count"]
    if sorted(fields) != sorted(declared):
        checks.fail(f"{state_class.__name__} has the fields {fields}, declared are {list(declared)}", TypeError)
    offered = {"g", "p", "t", *declared}
    for name in wants:
        if name not in offered and scalars is None:
            checks.fail(f"the rule asks for {name!r}; there are {', '.join(sorted(offered))}", TypeError)
    if "t" in wants and "count" not in state_class._fields:
        checks.fail(f"the rule asks for 't', but {state_class.__name__} has no count", TypeError)


def _widened(x: Array, dtype: np.dtype[Any]) -> Array:
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return numerics.convert(x, numerics.common_dtype(dtype, jnp.complex64))
    return numerics.convert(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _wanted(
    wants: tuple[str, ...],
    updates: Tree,
    params: Tree,
    known: Mapping[str, Any],
    extra_args: Mapping[str, Any],
) -> dict[str, Any]:
    offered = {**extra_args, **known, "updates": updates, "params": params}
    for name in wants:
        if name not in offered:
            checks.fail(f"update needs {name}: call update(updates, state, params, {name}=...)", TypeError)
    return {name: tree.widen(offered[name]) if name in ("updates", "params") else offered[name] for name in wants}


def _trainable(p: Any) -> bool:
    """Whether a gradient can move `p`: integers and booleans are carried along and have no slots."""
    return p is not None and jnp.issubdtype(jnp.result_type(p), jnp.inexact)


def _check_leaf(g: Any, others: Mapping[str, Any], home: Tree, i: int) -> None:
    """A gradient against its parameter and its first slot: presence, shape, kind of number."""
    dtype, shape = jnp.result_type(g), jnp.shape(g)
    if not jnp.issubdtype(dtype, jnp.inexact):
        checks.fail(f"updates{tree.paths(home)[i]} has dtype {dtype}, expected a floating or complex one")
    for name, other in others.items():
        if other is not None and jnp.shape(other) == shape and (_complex(other) == _complex(g) or name != "params"):
            continue
        path = tree.paths(home)[i]
        if other is None:
            why = "" if name == "params" else ": its parameter was None or integer when init was called"
            checks.fail(f"updates{path} is an array, {name}{path} is None{why}")
        if jnp.shape(other) != shape:
            checks.fail(f"updates{path} has shape {shape}, {name}{path} has {jnp.shape(other)}")
        checks.fail(f"updates{path} is {dtype}, {name}{path} is {jnp.result_type(other)}")


def _complex(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.complexfloating)

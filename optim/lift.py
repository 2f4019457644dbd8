"""From a rule on one array to a transformation of trees.

A rule is the paper's formula on ONE array: a function whose parameters are named for what it needs, and which returns
the update, or the update and its new slots in the order they were declared.

    g        the gradient, or whatever comes in, in at least float32
    p        the parameter, in the same precision
    t        the number of this update, 1 on the first: an int32 scalar
    NAME     the slot, the state scalar or the derived scalar of that name
    last_g   the slot, where its name is g
    key      a PRNG key of this leaf's own, where `scalars` returns one for the tree

`Slot` declares one state array per parameter, `Scalar` one state scalar. Tree-wide scalars (a clip factor, a momentum
schedule) are derived by one function, `scalars`, whose parameters are named likewise, with `updates`, `params` and a
slot's name for whole trees, and any extra argument of `update` by its name; what it returns under the name of a
`Scalar` is stored.

A complex leaf is two real ones where the grain allows it: elementwise and treewise rules see real arrays only, with
real and imaginary parts along a last axis of two. A leafwise rule sees the complex array.

The lift carries what is the same for every rule: `None`, dtypes, shapes and their errors, the count, fresh buffers,
shardings. The grain says what an element of the update may depend on, and so what may be done with the rule: see
`elementwise`, `treewise`, `leafwise`.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import checks, numerics, tree
from .base import EmptyState, GradientTransformationExtraArgs
from .slots import Scalar as Scalar, Slot as Slot, as_complex, as_pairs, is_complex
from .types import Array, Grain, Params, Tree

Rule = Callable[..., Any]
Scalars = Callable[..., Mapping[str, Any]]


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


def _seen(slot: str) -> str:
    """What a rule calls a slot: a last gradient kept as `g` is not the gradient."""
    return f"last_{slot}" if slot == "g" else slot


def _lift(
    grain: Grain,
    rule: Rule,
    state_class: Any,
    scalars: Scalars | None,
    declared: Mapping[str, Slot | Scalar],
) -> GradientTransformationExtraArgs:
    slots = {k: v for k, v in declared.items() if isinstance(v, Slot)}
    seen = {_seen(k): v for k, v in slots.items()}
    kept = {k: v for k, v in declared.items() if isinstance(v, Scalar)}
    wants, scalars_want = _names(rule), _names(scalars)
    counter = next((f for f in ("count", "t") if f in state_class._fields and f not in declared), None)
    reads_params = "p" in wants or "params" in scalars_want
    paired = grain != "leafwise"
    _check_declared(state_class, declared, counter, wants, scalars)
    # Slots know every parameter's place; without them the parameters do, and without these the updates.
    first = next((name for name, slot in slots.items() if slot.stored and not slot.free), None)
    shaped = first is not None and not slots[first].per_leaf

    def init(params: Params) -> Any:
        leaves, structure = tree.flatten(params)
        arrays = [tree.as_array(p) if _trainable(p) else None for p in leaves]
        fields: dict[str, Any] = {
            name: structure.unflatten([None if p is None else slot.make(p, paired=paired) for p in arrays])
            if slot.stored
            else None
            for name, slot in slots.items()
        }
        fields |= {name: scalar.make() for name, scalar in kept.items()}
        if counter:
            fields[counter] = jnp.zeros((), jnp.int32)
        return state_class(**fields)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        if not isinstance(state, tuple) or getattr(state, "_fields", None) != state_class._fields:
            checks.fail(f"state must be a {state_class.__name__}, got {checks.shown(state)}", TypeError)
        home = getattr(state, first) if first else updates if params is None else params
        home_name = f"state.{first}" if first else "updates" if params is None else "params"
        gs = tree.match(updates, home, "updates", home_name)
        if params is None and reads_params and not all(map(tree.absent, gs)):
            checks.fail("update needs the parameters: call update(updates, state, params)")
        ps = tree.match(params, home, "params", home_name) if params is not None else [None] * len(gs)
        held = [_held(slot, getattr(state, name), home, f"state.{name}", home_name) for name, slot in slots.items()]
        for i, (g, p, *ss) in enumerate(zip(gs, ps, *held, strict=True)):
            if not tree.absent(g):
                others = {"params": p} if params is not None else {}
                if first and shaped:
                    kept_here = ss[list(slots).index(first)]
                    others[f"state.{first}"] = _home_of(kept_here, paired and slots[first].real and is_complex(g))
                _check_leaf(g, others, home, i)

        known: dict[str, Any] = {name: getattr(state, name) for name in kept}
        if counter:
            known["t"] = numerics.safe_increment(getattr(state, counter))
        if scalars:
            trees = {name: getattr(state, name) for name in slots} | {"updates": updates, "params": params}
            known |= scalars(**_wanted(scalars_want, trees, known, extra_args))

        shared = {n: known[n] for n in wants if n in known}
        for name in wants:
            if name not in shared and name not in seen and name not in ("g", "p"):
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
            u, new = _apply(rule, wants, seen, paired, g, p, ss, shared)
            us.append(u)
            news.append(new)

        structure = tree.structure(home)
        columns = zip(*news, strict=True) if news else [() for _ in slots]
        fields = {
            name: structure.unflatten(list(c)) if slot.stored else None
            for (name, slot), c in zip(slots.items(), columns, strict=True)
        }
        fields |= {name: _stored(known[name], getattr(state, name)) for name in kept}
        if counter:
            fields[counter] = known["t"]
        return structure.unflatten(us), state_class(**fields)

    return GradientTransformationExtraArgs(init, update).knowing(grain=grain, slots=tuple(slots))


def _held(slot: Slot, held: Tree, home: Tree, name: str, home_name: str) -> list[Any]:
    """What a slot holds for each place of `home`."""
    places = tree.structure(home)
    if not slot.stored:
        return [None] * places.num_leaves
    return list(places.flatten_up_to(held)) if slot.free else tree.match(held, home, name, home_name)


def _home_of(held: Array | None, pairs: bool) -> Any:
    """A slot in the shape of the parameter it belongs to."""
    return held if held is None or not pairs else held[..., 0]


def _stored(x: Array, old: Array) -> Array:
    return x if x.dtype == old.dtype else numerics.convert(x, old.dtype)


def _apply(
    rule: Rule,
    wants: tuple[str, ...],
    slots: Mapping[str, Slot],
    paired: bool,
    g: Any,
    p: Any,
    held: list[Any],
    known: dict[str, Any],
) -> tuple[Array, list[Any]]:
    """The rule on one leaf: widen what goes in, narrow what comes out."""
    g = tree.as_array(g)
    inputs = {"g": g, **{n: x for n, x in zip(slots, held, strict=True) if slots[n].stored}}
    if "p" in wants:
        inputs["p"] = tree.as_array(p)
    floats = [numerics.real_dtype(x.dtype) for x in jax.tree.leaves(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)]
    dtype = numerics.common_dtype(jnp.float32, *floats)
    as_reals = paired and is_complex(g)
    wide = {name: jax.tree.map(lambda x: _widened(x, dtype, as_reals), x) for name, x in inputs.items()}
    for name, slot in slots.items():
        if not slot.stored:
            wide[name] = jnp.zeros(wide["g"].shape, numerics.real_dtype(dtype) if slot.real else wide["g"].dtype)
    # The lift has made the precisions one; real numbers that meet complex ones are all that is left to promote.
    mixed = any(is_complex(x) for x in jax.tree.leaves(wide))
    with jax.numpy_dtype_promotion("standard") if mixed else contextlib.nullcontext():
        out = rule(**{n: wide[n] if n in wide else known[n] for n in wants})
    u, new = _parts(out, wide["g"], {name: wide[name] for name in slots})
    back = [
        jax.tree.map(lambda n, o: _narrowed(n, o, as_reals), x, old) if slot.stored else None
        for x, old, slot in zip(new, held, slots.values(), strict=True)
    ]
    return _narrowed(u, g, as_reals, weak=g.weak_type), back


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


def _check_declared(
    state_class: Any,
    declared: Mapping[str, Any],
    counter: str | None,
    wants: tuple[str, ...],
    scalars: Scalars | None,
) -> None:
    """A state class and a rule that speak of what is declared, found out when the rule is lifted and not in a trace."""
    fields = [f for f in state_class._fields if f != counter]
    if sorted(fields) != sorted(declared):
        checks.fail(f"{state_class.__name__} has the fields {fields}, declared are {list(declared)}", TypeError)
    offered = {"g", "p", "t", *map(_seen, declared)}
    for name in wants:
        if name not in offered and scalars is None:
            checks.fail(f"the rule asks for {name!r}; there are {', '.join(sorted(offered))}", TypeError)
    if "t" in wants and not counter:
        checks.fail(f"the rule asks for 't', but {state_class.__name__} has no count", TypeError)


def _widened(x: Array, dtype: np.dtype[Any], as_reals: bool) -> Array:
    if is_complex(x):
        wide = numerics.convert(x, numerics.common_dtype(dtype, jnp.complex64))
        return as_pairs(wide) if as_reals else wide
    return numerics.convert(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _wanted(
    wants: tuple[str, ...], trees: Mapping[str, Tree], known: Mapping[str, Any], extra_args: Mapping[str, Any]
) -> dict[str, Any]:
    offered = {**extra_args, **known, **trees}
    for name in wants:
        if name not in offered:
            checks.fail(f"update needs {name}: call update(updates, state, params, {name}=...)", TypeError)
    return {name: tree.widen(offered[name]) if name in trees else offered[name] for name in wants}


def _trainable(p: Any) -> bool:
    """Whether a gradient can move `p`: integers and booleans are carried along and have no slots."""
    return p is not None and jnp.issubdtype(jnp.result_type(p), jnp.inexact)


def _check_leaf(g: Any, others: Mapping[str, Any], home: Tree, i: int) -> None:
    """A gradient against its parameter and its first slot: presence, shape, kind of number."""
    dtype, shape = jnp.result_type(g), jnp.shape(g)
    if not jnp.issubdtype(dtype, jnp.inexact):
        checks.fail(f"updates{tree.paths(home)[i]} has dtype {dtype}, expected a floating or complex one")
    for name, other in others.items():
        if other is not None and jnp.shape(other) == shape and (is_complex(other) == is_complex(g) or name != "params"):
            continue
        path = tree.paths(home)[i]
        if other is None:
            why = "" if name == "params" else ": its parameter was None or integer when init was called"
            checks.fail(f"updates{path} is an array, {name}{path} is None{why}")
        if jnp.shape(other) != shape:
            checks.fail(f"updates{path} has shape {shape}, {name}{path} has {jnp.shape(other)}")
        checks.fail(f"updates{path} is {dtype}, {name}{path} is {jnp.result_type(other)}")

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

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from . import checks, tree
from .base import EmptyState, GradientTransformationExtraArgs
from .rules import LeafRule, Rule, Scalars, check_inexact, check_leaf
from .slots import Scalar as Scalar, Slot as Slot
from .types import Array, Grain, Tree


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


def _lift(
    grain: Grain, rule: Rule, state: Any, scalars: Scalars | None, declared: Mapping[str, Slot | Scalar]
) -> GradientTransformationExtraArgs:
    lifted = LeafRule(grain, rule, state, scalars, declared)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        updates, (state,) = run([lifted], updates, [state], params, extra_args)
        return updates, state

    tx = GradientTransformationExtraArgs(lifted.init, update)
    return tx.knowing(grain=grain, state_classes=(lifted.state_class,), slots=tuple(lifted.slots), lifted=lifted)


# What one leaf brings to a pass: its gradient and its parameter, what each rule holds for it, and its keys.
_Leaf = tuple[Any, Any, list[list[Any]], list[Any]]


def run(
    rules: Sequence[LeafRule], updates: Tree, states: Sequence[Any], params: Any, extra_args: Mapping[str, Any]
) -> tuple[Tree, list[Any]]:
    """Apply rules one after the other, as few passes over the leaves as their tree-wide scalars allow.

    A rule whose scalars look at the updates needs those of the rules before it; all others join the pass.
    """
    for rule, state in zip(rules, states, strict=True):
        checks.state(state, rule.state_class)
    home, home_name = _home(rules, states, updates, params)
    gs = [g if tree.absent(g) else tree.as_array(g) for g in tree.match(updates, home, "updates", home_name)]
    if params is None and any(r.reads_params for r in rules) and not all(map(tree.absent, gs)):
        checks.fail("update needs the parameters: call update(updates, state, params)")
    ps = tree.match(params, home, "params", home_name) if params is not None else [None] * len(gs)
    held = [_rows(r.held(s, home, home_name), len(gs)) for r, s in zip(rules, states, strict=True)]
    for i, (g, p) in enumerate(zip(gs, ps, strict=True)):
        if not tree.absent(g):
            check_inexact(g, home, i)
            if params is not None:
                check_leaf(g, "params", p, home, i)
            for rule, rows in zip(rules, held, strict=True):
                rule.check(g, rows[i], home, i)

    structure = tree.structure(home)
    known: list[dict[str, Any]] = []
    done = 0
    for j, (rule, state) in enumerate(zip(rules, states, strict=True)):
        if done < j and "updates" in rule.derive_wants:
            gs = _pass(rules[done:j], gs, ps, held[done:j], known[done:j])
            done = j
        now = updates if done == 0 else structure.unflatten(gs)
        known.append(rule.known(state, {"updates": now, "params": params}, extra_args))
    gs = _pass(rules[done:], gs, ps, held[done:], known[done:])
    new = []
    for rule, state, rows, names in zip(rules, states, held, known, strict=True):
        columns = [structure.unflatten(list(c)) for c in zip(*rows, strict=True)] if rows else []
        columns = columns or [structure.unflatten([]) for _ in rule.slots]
        new.append(rule.new_state(state, names, dict(zip(rule.slots, columns, strict=True))))
    return structure.unflatten(gs), new


def _home(rules: Sequence[LeafRule], states: Sequence[Any], updates: Tree, params: Any) -> tuple[Tree, str]:
    """A tree in which every parameter has its place: slots know it, then the parameters do, then the updates."""
    for rule, state in zip(rules, states, strict=True):
        if rule.home:
            return getattr(state, rule.home), f"state.{rule.home}"
    return (updates, "updates") if params is None else (params, "params")


def _rows(columns: list[list[Any]], n: int) -> list[list[Any]]:
    return [[column[i] for column in columns] for i in range(n)]


def _pass(
    rules: Sequence[LeafRule], gs: list[Any], ps: list[Any], held: list[list[list[Any]]], known: list[dict[str, Any]]
) -> list[Any]:
    """All the rules on each leaf in turn; what they hold is replaced in `held`."""
    wanted = [{n: x for n, x in names.items() if n in r.wants} for r, names in zip(rules, known, strict=True)]
    numbers = [{n: x for n, x in names.items() if not isinstance(x, jax.Array)} for names in wanted]
    arrays = [{n: x for n, x in names.items() if isinstance(x, jax.Array) and n != "key"} for names in wanted]
    keys = [jax.random.split(names["key"], len(gs)) if "key" in names and gs else None for names in wanted]
    reads_params = any("p" in rule.wants for rule in rules)

    def leaf(g: Array, p: Any, mine: list[list[Any]], own: list[Any], arrays: list[dict[str, Any]]) -> Any:
        new = []
        for rule, slots, key, fixed, shared in zip(rules, mine, own, numbers, arrays, strict=True):
            g, slots = rule.apply(g, p, slots, {**fixed, **shared, "key": key})
            new.append(slots)
        return g, new

    leaves: list[_Leaf | None] = []
    for i, (g, p) in enumerate(zip(gs, ps, strict=True)):
        own = [None if k is None else k[i] for k in keys]
        leaf_in = (g, p if reads_params else None, [rows[i] for rows in held], own)
        leaves.append(None if tree.absent(g) else leaf_in)
    kinds = Counter(_kind(x) for x in leaves if x is not None)
    once = jax.jit(leaf)
    out = list(gs)
    for i, x in enumerate(leaves):
        if x is not None:
            # Leaves of one kind share one trace, and one function in the compiled program.
            repeated = kinds[_kind(x)] > 1 and _staged(x[0])
            out[i], new = (once if repeated else leaf)(*x, arrays)
            for rows, slots in zip(held, new, strict=True):
                rows[i] = slots
    return out


def _kind(x: _Leaf) -> Any:
    g, p, _, _ = x
    return g.shape, g.dtype, None if p is None else jnp.result_type(p)


def _staged(x: Any) -> bool:
    """Whether `x` is being traced into a program, and not worked on one operation at a time."""
    return type(x).__name__ in ("JitTracer", "DynamicJaxprTracer")

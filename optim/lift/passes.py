"""Rules applied one after the other to every leaf, in as few passes as their tree-wide scalars allow."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..types import Array, Tree
from .rules import LeafRule, check_inexact, check_leaf


def run(
    rules: Sequence[LeafRule],
    updates: Tree,
    states: Sequence[Any],
    params: Any,
    extra_args: Mapping[str, Any],
    *,
    names: Sequence[checks.Name | None] = (),
    beside: Mapping[str, Tree] = {},
    trees: Mapping[str, Tree] = {},
) -> tuple[Tree, list[Any]]:
    """Apply rules one after the other, as few passes over the leaves as their tree-wide scalars allow.

    A rule whose scalars look at the updates needs those of the rules before it; all others join the pass. Errors begin
    with the name of the rule's transformation in `names`. `beside` has further trees that rules read leaf by leaf, and
    `trees` has trees that scalars read whole, by their words.
    """
    names = names or [checks.caller()] * len(rules)
    for rule, state, name in zip(rules, states, names, strict=True):
        with checks.speaking_of(name):
            checks.state(state, rule.state_class)
    places, places_name = _places(rules, states, updates, params)
    gs = [g if tree.absent(g) else tree.as_array(g) for g in tree.match(updates, places, "updates", places_name)]
    more = {word: tree.match(other, places, word, places_name) for word, other in beside.items()}
    if params is None and not all(map(tree.absent, gs)):
        for rule, name in zip(rules, names, strict=True):
            if rule.reads_params:
                with checks.speaking_of(name):
                    checks.fail("update needs the parameters: call update(updates, state, params)")
    ps = tree.match(params, places, "params", places_name) if params is not None else [None] * len(gs)
    slots = []
    for rule, state, name in zip(rules, states, names, strict=True):
        with checks.speaking_of(name):
            slots.append(_rows(rule.slot_values(state, places, places_name), len(gs)))
    _check(rules, names, gs, ps if params is not None else None, slots, places)

    structure = tree.structure(places)
    scalars: list[dict[str, Any]] = []
    done = 0
    for j, (rule, state, name) in enumerate(zip(rules, states, names, strict=True)):
        if done < j and "updates" in rule.derive_wants:
            gs = _apply(rules[done:j], gs, ps, slots[done:j], scalars[done:j], more)
            done = j
        now = updates if done == 0 else structure.unflatten(gs)
        with checks.speaking_of(name):
            scalars.append(rule.scalar_values(state, {"updates": now, "params": params, **trees}, extra_args))
    gs = _apply(rules[done:], gs, ps, slots[done:], scalars[done:], more)
    new = [
        _new_state(rule, state, rows, values, structure)
        for rule, state, rows, values in zip(rules, states, slots, scalars, strict=True)
    ]
    return structure.unflatten(gs), new


def _check(
    rules: Sequence[LeafRule],
    names: Sequence[checks.Name | None],
    gs: list[Any],
    ps: list[Any] | None,
    slots: list[list[list[Any]]],
    places: Tree,
) -> None:
    """Refuse gradients that do not fit. The first rule that reads parameters or slots is the one to complain."""
    first = next((i for i, rule in enumerate(rules) if rule.reads_params or rule.slots), 0)
    for j, (rule, rows) in enumerate(zip(rules, slots, strict=True)):
        if j != first and not rule.anchor:
            continue
        with checks.speaking_of(names[j]):
            for i, g in enumerate(gs):
                if tree.absent(g):
                    continue
                if j == first:
                    check_inexact(g, places, i)
                    if ps is not None:
                        check_leaf(g, "params", ps[i], places, i)
                rule.check(g, rows[i], places, i)


def _places(rules: Sequence[LeafRule], states: Sequence[Any], updates: Tree, params: Any) -> tuple[Tree, str]:
    """A tree in which every parameter has its place: a slot's, else the parameters', else the updates'."""
    for rule, state in zip(rules, states, strict=True):
        if rule.anchor:
            return getattr(state, rule.anchor), f"state.{rule.anchor}"
    return (updates, "updates") if params is None else (params, "params")


def _rows(columns: list[list[Any]], n: int) -> list[list[Any]]:
    return [[column[i] for column in columns] for i in range(n)]


def _new_state(rule: LeafRule, state: Any, rows: list[list[Any]], scalars: Mapping[str, Any], structure: Any) -> Any:
    """The state after an update: `rows` has the slots of each leaf."""
    if not rule.state_class._fields:
        return state
    columns = [structure.unflatten(list(c)) for c in zip(*rows, strict=True)] if rows else []
    columns = columns or [structure.unflatten([]) for _ in rule.slots]
    return rule.new_state(state, scalars, dict(zip(rule.slots, columns, strict=True)))


def _apply(
    rules: Sequence[LeafRule],
    us: list[Any],
    ps: list[Any],
    slots: list[list[list[Any]]],
    scalars: list[dict[str, Any]],
    beside: Mapping[str, list[Any]],
) -> list[Any]:
    """All the rules on each leaf in turn: the updates. New slots replace the old ones in `slots`.

    `beside` has further arrays of each leaf, by the rules' words for them.
    """
    wanted = [{n: x for n, x in values.items() if n in r.wants} for r, values in zip(rules, scalars, strict=True)]
    numbers = [{n: x for n, x in values.items() if not isinstance(x, jax.Array)} for values in wanted]
    arrays = [{n: x for n, x in values.items() if isinstance(x, jax.Array) and n != "key"} for values in wanted]
    keys = [jax.random.split(values["key"], len(us)) if "key" in values and us else None for values in wanted]
    reads_params = any("p" in rule.wants for rule in rules)

    def leaf(u: Array, p: Any, rows: list[list[Any]], own_keys: list[Any], more: Any, shared: list[Any]) -> Any:
        new = []
        for rule, row, key, fixed, values in zip(rules, rows, own_keys, numbers, shared, strict=True):
            u, row = rule.apply(u, p, row, {**fixed, **values, "key": key}, more)
            new.append(row)
        return u, new

    leaves: list[Any] = []
    for i, (u, p) in enumerate(zip(us, ps, strict=True)):
        own_keys = [None if k is None else k[i] for k in keys]
        more = {word: column[i] for word, column in beside.items()}
        leaf_in = (u, p if reads_params else None, [rows[i] for rows in slots], own_keys, more)
        leaves.append(None if tree.absent(u) else leaf_in)
    kinds = Counter(_kind(x) for x in leaves if x is not None)
    once = jax.jit(leaf)
    out = list(us)
    for i, x in enumerate(leaves):
        if x is not None:
            # Leaves of one kind share one trace, and one function in the compiled program.
            repeated = kinds[_kind(x)] > 1 and numerics.staged(x[0])
            call: Any = once if repeated else leaf
            out[i], new = call(*x, arrays)
            for rows, row in zip(slots, new, strict=True):
                rows[i] = row
    return out


def _kind(x: Any) -> Any:
    u, p, *_ = x
    return u.shape, u.dtype, None if p is None else jnp.result_type(p)


def narrowed(wide: Tree, updates: Tree) -> Tree:
    """`wide` in the dtypes of `updates`, where `None` may have been spread over a branch."""
    likes = tree.match(updates, wide, "updates", "the result")
    return tree.cast_like(wide, tree.structure(wide).unflatten(likes))

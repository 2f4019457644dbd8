"""Combining transformations: one after the other, on a part of the tree, by group."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import checks, tree
from .base import GradientTransformationExtraArgs, Part, identity, taking_extra_args
from .lift import run
from .packing import labelled
from .registry import example, register
from .types import Grain, MaskOrFn, Params, Tree

_GRAINS: tuple[Grain, ...] = ("elementwise", "treewise", "leafwise")


def coarsest(members: tuple[GradientTransformationExtraArgs, ...]) -> Grain | None:
    """The grain of a combination: that of its coarsest member, unknown if one is unknown."""
    grains = [m.grain for m in members]
    if None in grains:
        return None
    return max((g for g in grains if g), key=_GRAINS.index, default="elementwise")


@register(
    example(),
    example(identity(), identity()),
    exceptions={
        "golden": "it combines others and has no formula of its own",
        "errors": "only its members look at updates",
    },
    errors=[
        (
            example(identity(), identity),
            "got the function identity; did you mean identity(...)?",
        )
    ],
)
def chain(*args: Any) -> GradientTransformationExtraArgs:
    """Apply transformations one after the other, each to what the one before returned.

    Updates are widened to at least float32 at the entry and cast back to their own dtypes at the exit, so nothing is
    rounded between members. Extra arguments of update go to every member that takes them.

    State:   a tuple, one entry per member.
    Raises:  TypeError for a member that is no (init, update) pair.
    """
    members = tuple(taking_extra_args(tx, f"argument {i}") for i, tx in enumerate(args))

    def init(params: Params) -> Any:
        return tuple(m.init(params) for m in members)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        check(state)
        return _in_turn(members, updates, state, params, extra_args)

    def check(state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != len(members):
            got = f"{len(state)} entries" if isinstance(state, tuple) else checks.shown(state)
            checks.fail(f"state must be a tuple of {len(members)} entries, one per member, got {got}")

    def parts(state: Any, params: Any) -> list[Part]:
        check(state)
        return [Part(_title(m, str(i)), m, s, params) for i, (m, s) in enumerate(zip(members, state, strict=True))]

    return GradientTransformationExtraArgs(init, update).knowing(
        grain=coarsest(members), members=members, links=members, parts=parts
    )


def _title(tx: GradientTransformationExtraArgs, otherwise: str) -> str:
    return str(tx.call.name) if tx.call else otherwise


def _in_turn(members: Any, updates: Any, states: Any, params: Any, extra_args: Any) -> Any:
    links = [link for member, state in zip(members, states, strict=True) for link in _links(member, state)]
    wide, new, i = tree.widen(updates), [], 0
    while i < len(links):
        tx, state = links[i]
        j = next((k for k in range(i, len(links)) if links[k][0].lifted is None), len(links))
        if i < j:
            rules, old = [link.lifted for link, _ in links[i:j]], [s for _, s in links[i:j]]
            wide, states_now = run(rules, wide, old, params, extra_args)
            new += states_now
            i = j
        else:
            checks.state(state, *tx.state_classes)
            wide, state = tx.update(wide, state, params, **extra_args)
            new.append(state)
            i += 1
    rest = iter(new)
    return _narrowed(wide, updates), tuple(_regrouped(m, s, rest) for m, s in zip(members, states, strict=True))


def _links(tx: GradientTransformationExtraArgs, state: Any) -> list[tuple[GradientTransformationExtraArgs, Any]]:
    """A member, or those of the chain that it is, each with its state."""
    if not _linked(tx, state):
        return [(tx, state)]
    return [link for member, s in zip(tx.links or (), state, strict=True) for link in _links(member, s)]


def _linked(tx: GradientTransformationExtraArgs, state: Any) -> bool:
    # A state that does not fit is for the chain's own update to tell.
    return tx.links is not None and type(state) is tuple and len(state) == len(tx.links)


def _regrouped(tx: GradientTransformationExtraArgs, state: Any, new: Iterator[Any]) -> Any:
    if not _linked(tx, state):
        return next(new)
    return tuple(_regrouped(member, s, new) for member, s in zip(tx.links or (), state, strict=True))


def _narrowed(wide: Tree, updates: Tree) -> Tree:
    """`wide` in the dtypes of `updates`, where `None` may have been spread over a branch."""
    likes = tree.match(updates, wide, "updates", "the result")
    return tree.cast_like(wide, tree.structure(wide).unflatten(likes))


@register(
    example(("first", identity()), ("second", identity())),
    exceptions={
        "golden": "it combines others and has no formula of its own",
        "errors": "only its members look at updates",
    },
    errors=[
        (example(("a", 1)), "member 'a' must be a transformation (init, update), got 1"),
        (example(identity()), "argument 0 must be (name, transformation), got identity()"),
        (example(("a", identity()), ("a", identity())), "the name 'a' comes 2 times"),
    ],
)
def named_chain(*args: tuple[str, Any]) -> GradientTransformationExtraArgs:
    """Apply (name, transformation) pairs one after the other, as `chain` does.

    State:   a dict, name -> the member's state.
    Raises:  ValueError for a name that comes twice; TypeError for what is no pair of a name and a transformation.
    """
    for i, arg in enumerate(args):
        if not (isinstance(arg, tuple) and len(arg) == 2 and isinstance(arg[0], str)):
            checks.fail(f"argument {i} must be (name, transformation), got {checks.shown(arg)}", TypeError)
    names = [name for name, _ in args]
    for name in names:
        if names.count(name) > 1:
            checks.fail(f"the name {name!r} comes {names.count(name)} times")
    members = tuple(taking_extra_args(tx, f"member {name!r}") for name, tx in args)

    def init(params: Params) -> Any:
        return {name: m.init(params) for name, m in zip(names, members, strict=True)}

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        if not isinstance(state, Mapping) or sorted(state) != sorted(names):
            got = sorted(state) if isinstance(state, Mapping) else checks.shown(state)
            checks.fail(f"state must be a dict with the keys {names}, got {got}")
        states = [state[name] for name in names]
        updates, new = _in_turn(members, updates, states, params, extra_args)
        return updates, dict(zip(names, new, strict=True))

    def parts(state: Any, params: Any) -> list[Part]:
        return [Part(name, m, state[name], params) for name, m in zip(names, members, strict=True)]

    return GradientTransformationExtraArgs(init, update).knowing(grain=coarsest(members), members=members, parts=parts)


# Parts of the tree


class MaskedNode(NamedTuple):
    """A place where there is nothing, in trees of other libraries; here that is `None`."""


class MaskedState(NamedTuple):
    """The state of the inner transformation, which sees `None` wherever the mask is False."""

    inner_state: Any


def resolve_mask(mask: MaskOrFn, over: Tree) -> list[bool]:
    """One bool per leaf of `over`, from a bool, a tree of bools that is a prefix of it, or a function giving one."""
    if tree.stands_for_params(over):
        return []
    places = zip(labelled(mask, over, "mask"), tree.flatten(over)[0], strict=True)
    return [p is not None and _as_bool(x) for x, p in places]


def _as_bool(x: Any) -> bool:
    if checks.is_traced(x):
        checks.fail("mask must be concrete bools, got one being traced", checks.TracedError)
    if isinstance(x, bool | np.bool_) or (checks.is_array(x) and x.shape == () and x.dtype == bool):
        return bool(x)
    return checks.fail(f"mask must be True or False at every leaf, got {checks.shown(x)}", TypeError)


def keep_where(mask: list[bool], tree_: Tree) -> Tree:
    """`tree_` with `None` wherever the mask is False."""
    leaves, structure = tree.flatten(tree_)
    return structure.unflatten([x if m else None for x, m in zip(leaves, mask, strict=True)])


def _every_other(params: Params) -> Any:
    leaves, structure = tree.flatten(params)
    return structure.unflatten([i % 2 == 0 for i in range(len(leaves))])


@register(
    example(identity(), True),
    example(identity(), _every_other),
    exceptions={
        "golden": "it combines others and has no formula of its own",
        "errors": "only its inner transformation looks at updates",
    },
    errors=[(example(1, True), "inner must be a transformation (init, update), got 1")],
)
def masked(inner: Any, mask: MaskOrFn, *, mask_compatible_extra_args: bool = False) -> GradientTransformationExtraArgs:
    """Apply `inner` where the mask is True; elsewhere updates pass as they are, and there are no slots.

    Args:    mask: a bool, a tree of bools that is a prefix of the parameters, or a function params -> such a tree.
             mask_compatible_extra_args: whether extra arguments shaped like params are masked too. Functions of the
             parameters, as line searches take, are given all of them.
    State:   MaskedState(inner_state).
    Raises:  TypeError for a mask that is not made of bools; ValueError for one of another structure.
    """
    member = taking_extra_args(inner, "inner")

    def init(params: Params) -> MaskedState:
        return MaskedState(member.init(keep_where(resolve_mask(mask, params), params)))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        over = updates if params is None else params
        keep = resolve_mask(mask, over)
        leaves = tree.match(updates, over, "updates", "params")
        structure = tree.structure(over)

        def alike(value: Any) -> bool:
            return bool(tree.structure(value) == structure)

        def inward(value: Any) -> Any:
            return keep_where(keep, value) if mask_compatible_extra_args and alike(value) else value

        def outward(value: Any) -> Any:
            """What a function of the parameters is given: those that the mask hides are as they were."""
            if params is None or not alike(value):
                return value
            both = zip(tree.flatten(value)[0], tree.flatten(params)[0], keep, strict=True)
            return structure.unflatten([x if m else p for x, p, m in both])

        extra_args = translated(extra_args, inward, outward)
        inside, inner_state = member.update(
            structure.unflatten([x if m else None for x, m in zip(leaves, keep, strict=True)]),
            state.inner_state,
            None if params is None else keep_where(keep, params),
            **extra_args,
        )
        new = tree.match(inside, over, "updates", "params")
        merged = [n if m else x for x, n, m in zip(leaves, new, keep, strict=True)]
        return structure.unflatten(merged), MaskedState(inner_state)

    def seen(params: Any) -> Any:
        return keep_where(resolve_mask(mask, params), params)

    return around(member, init, update, inner=lambda state: state.inner_state, seen=seen, state_classes=(MaskedState,))


def translated(
    extra_args: Mapping[str, Any], inward: Callable[[Any], Any], outward: Callable[[Any], Any]
) -> dict[str, Any]:
    """Extra arguments as a member that sees other trees takes them: trees go `inward`, and what a function of trees is
    given, `outward`."""

    def met(value: Any) -> Any:
        if not tree.is_function(value):
            return inward(value)

        @functools.wraps(value)
        def outside(*args: Any, **kwargs: Any) -> Any:
            return value(*map(outward, args), **{k: outward(v) for k, v in kwargs.items()})

        return outside

    return {k: met(v) for k, v in extra_args.items()}


def around(
    member: GradientTransformationExtraArgs,
    init: Any,
    update: Any,
    *,
    inner: Callable[[Any], Any],
    seen: Callable[[Any], Any] = lambda params: params,
    **facts: Any,
) -> GradientTransformationExtraArgs:
    """The pair of a wrapper around `member`: where in its state that one's is, what it sees."""

    def parts(state: Any, params: Any) -> list[Part]:
        return [Part(_title(member, "inner"), member, inner(state), None if params is None else seen(params))]

    known = {"grain": member.grain, "members": (member,), "parts": parts, **facts}
    return GradientTransformationExtraArgs(init, update).knowing(**known)


class PartitionState(NamedTuple):
    """label -> the state of that label's transformation, as `masked` keeps it."""

    inner_states: Any


@register(
    example({"all": identity()}, "all"),
    example({True: identity(), False: identity()}, _every_other),
    exceptions={
        "golden": "it combines others and has no formula of its own",
        "errors": "only its members look at updates",
    },
    errors=[(example({"a": 1}, "a"), "transforms['a'] must be a transformation (init, update), got 1")],
)
def partition(
    transforms: Mapping[Any, Any],
    param_labels: Any | Callable[[Params], Any],
    *,
    mask_compatible_extra_args: bool = False,
) -> GradientTransformationExtraArgs:
    """Apply to each group of parameters the transformation of its label.

    Args:    transforms: label -> transformation.
             param_labels: a tree of labels that is a prefix of the parameters, or a function params -> such a tree.
             mask_compatible_extra_args: as in `masked`.
    State:   PartitionState(inner_states), a dict label -> MaskedState.
    Raises:  ValueError for a label that has no transformation, naming the leaf.
    """
    if not isinstance(transforms, Mapping):
        checks.fail(f"transforms must be a dict label -> transformation, got {checks.shown(transforms)}", TypeError)
    if len({isinstance(k, str) for k in transforms}) > 1 or None in transforms:
        checks.fail(f"labels are the keys of the state, which JAX sorts: words or numbers, got {list(transforms)}")
    members = {k: taking_extra_args(tx, f"transforms[{k!r}]") for k, tx in transforms.items()}

    def groups(over: Tree) -> dict[Any, list[bool]]:
        """label -> one bool per leaf."""
        if tree.stands_for_params(over):
            return {k: [] for k in members}
        flat = labelled(param_labels, over, "param_labels")
        for i, label in enumerate(flat):
            if checks.is_array(label) or label not in members:
                got = "an array" if checks.is_array(label) else repr(label)
                checks.fail(f"params{tree.paths(over)[i]} has the label {got}, transforms has {list(members)}")
        return {k: [label == k for label in flat] for k in members}

    def each(over: Tree) -> dict[Any, GradientTransformationExtraArgs]:
        places = tree.structure(over)
        return {
            k: masked(members[k], places.unflatten(mask), mask_compatible_extra_args=mask_compatible_extra_args)
            for k, mask in groups(over).items()
        }

    def init(params: Params) -> PartitionState:
        return PartitionState({k: tx.init(params) for k, tx in each(params).items()})

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        new = {}
        for k, tx in each(updates if params is None else params).items():
            updates, new[k] = tx.update(updates, state.inner_states[k], params, **extra_args)
        return updates, PartitionState(new)

    def parts(state: Any, params: Any) -> list[Part]:
        found = [(str(k), m, state.inner_states[k].inner_state) for k, m in members.items()]
        masks = {} if params is None else groups(params)
        return [
            Part(*part, keep_where(masks[k], params) if masks else None) for k, part in zip(members, found, strict=True)
        ]

    return GradientTransformationExtraArgs(init, update).knowing(
        grain=coarsest(tuple(members.values())),
        state_classes=(PartitionState,),
        members=tuple(members.values()),
        parts=parts,
    )

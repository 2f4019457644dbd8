"""Transformations one after the other."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .. import checks, tree
from ..core.facts import Member
from ..core.members import coarsest, title
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformation, GradientTransformationExtraArgs, taking_extra_args
from ..lift.passes import narrowed, run
from ..types import Params, TransformationLike


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
def chain(*args: TransformationLike) -> GradientTransformationExtraArgs:
    """Apply transformations one after the other, each to what the one before returned.

    Updates are widened to at least float32 at the entry and cast back to their own dtypes at the exit, so nothing is
    rounded between members. Extra arguments of update go to every member that takes them.

    State:   a tuple, one entry per member.
    Raises:  TypeError for a member that is not an (init, update) pair.
    """
    members = tuple(taking_extra_args(tx, f"argument {i}") for i, tx in enumerate(args))

    def init(params: Params) -> Any:
        return tuple(m.init(params) for m in members)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        check(state)
        return _in_turn(members, range(len(members)), updates, state, params, extra_args)

    def check(state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != len(members):
            got = f"{len(state)} entries" if isinstance(state, tuple) else checks.shown(state)
            checks.fail(f"state must be a tuple of {len(members)} entries, one per member, got {got}")

    inside = tuple(Member(title(m, str(i)), m, _entry(i)) for i, m in enumerate(members))
    pair = GradientTransformationExtraArgs(init, update)
    facts = {"grain": coarsest(*(m.grain for m in members)), "members": inside, "exact": _exact(members)}
    return pair.declaring(sequential=True, check=check, **facts)


def _entry(key: Any) -> Callable[[Any], Any]:
    return lambda state: state[key]


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
def named_chain(*args: tuple[str, TransformationLike]) -> GradientTransformationExtraArgs:
    """Apply (name, transformation) pairs one after the other, as `chain` does.

    State:   a dict, name -> the member's state.
    Raises:  ValueError for a name that comes twice; TypeError for an argument that is not a pair of a name and a
             transformation.
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
        check(state)
        states = [state[name] for name in names]
        updates, new = _in_turn(members, names, updates, states, params, extra_args)
        return updates, dict(zip(names, new, strict=True))

    def check(state: Any) -> None:
        if not isinstance(state, Mapping) or sorted(state) != sorted(names):
            got = sorted(state) if isinstance(state, Mapping) else checks.shown(state)
            checks.fail(f"state must be a dict with the keys {names}, got {got}")

    inside = tuple(Member(name, m, _entry(name)) for name, m in zip(names, members, strict=True))
    pair = GradientTransformationExtraArgs(init, update)
    facts = {"grain": coarsest(*(m.grain for m in members)), "members": inside, "exact": _exact(members)}
    return pair.declaring(check=check, **facts)


def _exact(members: Any) -> bool:
    """Whether the last member rounds the parameters; an error where another one does."""
    for member in members[:-1]:
        if member.facts.exact:
            checks.fail(f"{title(member, 'a member')} rounds the parameters and must come last")
    return bool(members) and members[-1].facts.exact


class _Link(NamedTuple):
    """A transformation that is not a chain, its state, and the name that errors give it."""

    tx: GradientTransformation
    state: Any
    name: checks.Name


def _in_turn(members: Any, labels: Any, updates: Any, states: Any, params: Any, extra_args: Any) -> Any:
    links = list(_links(members, labels, states, checks.caller()))
    wide, new, i = tree.widen(updates), [], 0
    while i < len(links):
        # Rules that come one after the other share their passes over the leaves.
        j = next((k for k in range(i, len(links)) if links[k].tx.facts.rule is None), len(links))
        if i < j:
            rules, old = [link.tx.facts.rule for link in links[i:j]], [link.state for link in links[i:j]]
            names = [link.name for link in links[i:j]]
            wide, states_now = run(rules, wide, old, params, extra_args, names=names)
            new += states_now
            i = j
        else:
            tx, state, name = links[i]
            with checks.speaking_of(name):
                tx.check_state(state)
                wide, state = tx.update(wide, state, params, **extra_args)
            new.append(state)
            i += 1
    rest = iter(new)
    # What rounds the parameters returns their exact differences, in float32.
    out = wide if links and links[-1].tx.facts.exact else narrowed(wide, updates)
    return out, tuple(_regrouped(m, s, rest) for m, s in zip(members, states, strict=True))


def _links(members: Any, labels: Any, states: Any, name: checks.Name) -> Iterator[_Link]:
    """The members, those of chains among them in place of these."""
    for member, label, state in zip(members, labels, states, strict=True):
        listed = member.facts.sequential and member.body is None
        own = name.member(repr(label), title(member, ""), listed)
        if _is_open(member, state):
            yield from _links(member.members, range(len(state)), state, own)
        else:
            yield _Link(member, state, own)


def _is_open(tx: GradientTransformation, state: Any) -> bool:
    # A state that does not fit is refused by the chain's own update.
    return tx.facts.sequential and type(state) is tuple and len(state) == len(tx.facts.members)


def _regrouped(tx: GradientTransformation, state: Any, new: Iterator[Any]) -> Any:
    if not _is_open(tx, state):
        return next(new)
    return tuple(_regrouped(member, s, new) for member, s in zip(tx.members, state, strict=True))

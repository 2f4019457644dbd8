"""Names of the entries of a state: member, field, parameter."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax

from .. import checks
from ..core.members import parts
from ..core.record import Call
from ..core.transformation import GradientTransformation
from ..tree.coded import is_coded
from ..tree.places import children, in_words, with_paths


@dataclass
class Entry:
    """The leaves that one member of a combination stores, without the leaves of its own members."""

    name: str
    labels: tuple[str, ...]
    place: tuple[int, ...]
    """Its path through the nested parts."""
    entries: dict[tuple[str, ...], int]
    """Name of a leaf -> its index among the leaves of the state."""
    slots: frozenset[tuple[str, ...]]
    """Leaves that belong to a parameter."""
    steps: frozenset[tuple[str, ...]]
    """Leaves that count updates."""
    alone: frozenset[tuple[str, ...]]
    """Leaves that are the only field, `count`, of their state: schedule counters."""
    number: int = 1
    shown: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        words = [_escaped(word, "%/@#") for word in (self.name, *self.shown)]
        return "@".join(words) + (f"#{self.number}" if self.number > 1 else "")

    def key(self, tail: tuple[str, ...]) -> str:
        return "/".join([self.title, *(_escaped(word, "%/") for word in tail)])


def _escaped(word: str, special: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in special else c for c in word)


def members_of(tx: GradientTransformation, state: Any) -> list[Entry]:
    """All members that store something, with labels if a name occurs under several of them.

    The leaves are numbered in the order of `leaves_of`.
    """
    structure: Any = jax.tree.structure(state, is_leaf=is_coded)
    numbered = jax.tree.unflatten(structure, range(structure.num_leaves))
    try:
        found = [m for m in _entries(tx, state, numbered, (), ()) if m.entries]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        problem = str(error).removeprefix(f"{checks.caller().text}: ").splitlines()[0]
        checks.fail(f"state is not one of {checks.shown(tx)}: {problem}")
    used = defaultdict(set)
    uses_so_far: Counter[Any] = Counter()
    for member in found:
        used[member.name].add(member.labels)
        uses_so_far[member.name, member.labels] += 1
        member.number = uses_so_far[member.name, member.labels]
    for member in found:
        member.shown = member.labels if len(used[member.name]) > 1 else ()
    return found


def leaves_of(state: Any) -> list[Any]:
    """The leaves of a state; a coded slot of a parameter is one."""
    return jax.tree.leaves(state, is_leaf=is_coded)


def _entries(
    tx: GradientTransformation | None, state: Any, numbered: Any, labels: tuple[str, ...], place: tuple[int, ...]
) -> Iterator[Entry]:
    members = [] if tx is None else parts(tx, state)
    if (tx is None or tx.call is None) and not members and type(state) in (tuple, list):
        for i, (one, numbers) in enumerate(zip(state, numbered, strict=True)):  # a chain from another library
            yield from _entries(None, one, numbers, labels, (*place, i))
        return
    inside = [] if tx is None else parts(tx, numbered)
    inner = {i for part in inside for i in jax.tree.leaves(part.state)}
    leaves = [(path, i) for path, i in with_paths(numbered, lambda x: False) if i not in inner]
    yield _member(tx, state, numbered, leaves, labels, place)
    alone = len(members) == 1 and members[0].name in (_written(members[0].tx), "inner")
    labelled = tx is not None and not tx.facts.sequential and not alone
    for n, (part, numbers) in enumerate(zip(members, inside, strict=True)):
        below = (*labels, part.name) if labelled else labels
        yield from _entries(part.tx, part.state, numbers.state, below, (*place, n))


def _member(
    tx: GradientTransformation | None, state: Any, numbered: Any, leaves: list[tuple[Any, int]], labels: Any, place: Any
) -> Entry:
    fields: tuple[str, ...] = getattr(state, "_fields", ())
    slots = tx.facts.slots if tx is not None else ()
    rule = tx.facts.rule if tx is not None else None
    counter = rule.counter if rule is not None else "count" if "count" in fields else None
    alone = set(_counts_alone(numbered))
    named = dict(zip(in_words([path for path, _ in leaves]), (i for _, i in leaves), strict=True))
    if len(named) < len(leaves):
        checks.fail(f"leaves of {_name(tx, state)} have one name: {listed(map('/'.join, named))}")
    return Entry(
        _name(tx, state),
        labels,
        place,
        named,
        frozenset(tail for tail in named if tail and tail[0] in slots),
        frozenset(tail for tail in named if tail == (counter,)),
        frozenset(tail for tail, i in named.items() if i in alone),
    )


def _counts_alone(numbered: Any) -> Iterator[int]:
    """The leaves that are the field `count` of a named tuple without other fields."""
    if getattr(numbered, "_fields", None) == ("count",):
        yield from jax.tree.leaves(numbered)
        return
    for _, child in children(numbered) or ():
        yield from _counts_alone(child)


def _name(tx: GradientTransformation | None, state: Any) -> str:
    """A member's name: the primitive factory behind any aliases, or the state's class if there is none."""
    while isinstance(tx, GradientTransformation) and tx.body is not None:
        tx = tx.body
    if tx is not None and tx.call is not None:
        return _written(tx)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(state).__name__.removesuffix("State"))
    return words.lower() if hasattr(state, "_fields") else "state"


def _written(tx: GradientTransformation) -> str:
    """The name of a factory; for an injected factory, the name of the injection."""
    call: Any = tx.call
    while isinstance(call, Call):
        call = call.name
    return str(call)


def listed(names: Any, most: int = 4) -> str:
    names = sorted(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + rest

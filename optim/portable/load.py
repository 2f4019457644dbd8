"""Filling a state from a dict, possibly of another transformation."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from .fit import fitted_leaf
from .names import Entry, listed


class Load:
    """The leaves of a state, filled from the entries of a dict.

    Args:
      members: the members of the state.
      leaves: its leaves.
      d: the dict.
      keys: its keys, without the version.
    """

    def __init__(self, members: list[Entry], leaves: list[Any], d: Mapping[str, Any], keys: list[str]) -> None:
        self.members, self.old, self.new, self.d, self.keys = members, leaves, list(leaves), d, keys
        self.names = {i: m.key(tail) for m in members for tail, i in m.entries.items()}
        self.used: set[str] = set()
        self.filled: set[int] = set()
        self.missing: list[str] = []
        self.wrong: list[str] = []
        titles = {key.partition("/")[0] for key in keys}
        exact = {m.title for m in self.members} & titles
        spare: dict[tuple[str, str], list[str]] = defaultdict(list)
        for title in titles - exact:
            spare[_apart(title)].append(title)
        for member in self.members:
            here = [member.title] if member.title in exact else spare[_apart(member.title)]
            self._fill(member, sorted(here))
        self._go_on()

    def _fill(self, member: Entry, titles: list[str]) -> None:
        """Fill a member from entries with its name; its scalars come from the titles that provide its slots."""
        givers: set[str] = set()
        for tail, i in sorted(member.entries.items(), key=lambda entry: entry[0] not in member.slots):
            rest = member.key(tail).removeprefix(member.title)
            has = [t for t in titles if t + rest in self.d]
            if tail in member.slots:
                givers |= {*has}
            elif member.slots:
                has = [t for t in has if t in givers or member.title == t]
            values = [self.d[t + rest] for t in has]
            if not values or not all(_agree(values[0], value) for value in values[1:]):
                self.missing.append(self.names[i])
                continue
            self.used |= {t + rest for t in has}
            self._put(i, has[0] + rest, values[0])

    def _put(self, i: int, key: str, value: Any) -> None:
        found = fitted_leaf(value, self.old[i])
        if isinstance(found, str):
            self.wrong.append(f"{key!r} {found}")
            return
        self.new[i] = found
        self.filled.add(i)

    def _go_on(self) -> None:
        """Fill counts of new schedules with the steps of the nearest members; accept counts of removed schedules."""
        steps = [(m.place, i) for m in self.members for t, i in m.entries.items() if t in m.steps and i in self.filled]
        for member in self.members:
            for tail in member.alone:
                i = member.entries[tail]
                if self.names[i] in self.missing and steps:
                    _, nearest = max(steps, key=lambda s: (_shared(s[0], member.place), int(self.new[s[1]])))
                    self._put(i, self.names[i], np.asarray(self.new[nearest]))
                    self.missing.remove(self.names[i])
        done = {int(self.new[i]) for _, i in steps}
        nodes = Counter(key.rpartition("/")[0] for key in self.keys)
        for key in self.keys:
            node, _, last = key.rpartition("/")
            if key not in self.used and last == "count" and nodes[node] == 1 and np.shape(self.d[key]) == ():
                self.used |= {key} if int(self.d[key]) in done else set()

    @property
    def names_differ(self) -> bool:
        """Whether a name is missing, or left over."""
        return bool(self.missing) or any(key not in self.used for key in self.keys)

    def problems(self) -> list[str]:
        """One sentence each for missing, extra and misfit entries."""
        extra = [key for key in self.keys if key not in self.used]
        problems = [f"d has no {listed(self.missing)}"] if self.missing else []
        problems += [f"the state has no place for {listed(extra)}"] if extra else []
        more = f"; and {len(self.wrong) - 4} more" if len(self.wrong) > 4 else ""
        return problems + (["; ".join(sorted(self.wrong)[:4]) + more] if self.wrong else [])


def _apart(title: str) -> tuple[str, str]:
    """The name and the number in a member's title, without its labels."""
    front, _, number = title.partition("#")
    return front.partition("@")[0], number


def _shared(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _agree(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) == () and bool(np.asarray(a) == np.asarray(b))

"""Groups of parameters by the paths of their leaves."""

import fnmatch
from collections.abc import Sequence
from typing import Any, Self

from .. import checks, tree
from ..core.record import Call, Recorded
from ..core.registry import example, register
from ..types import Params


class LabelByPath(Recorded):
    """A function params -> tree of labels; `label_by_path` makes it."""

    def __init__(self, rules: tuple[tuple[str, Any], ...], allow_unmatched: bool, allow_unused: bool) -> None:
        self.rules, self.allow_unmatched, self.allow_unused = rules, allow_unmatched, allow_unused

    def _recorded(self, call: Call) -> Self:
        new = type(self)(self.rules, self.allow_unmatched, self.allow_unused)
        new.call = call
        return new

    def __repr__(self) -> str:
        return repr(self.call)

    def __eq__(self, other: object) -> bool:
        return self.call == other.call if isinstance(other, LabelByPath) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.call)

    @checks.entrance("label_by_path")
    def __call__(self, params: Params) -> Any:
        leaves, structure = tree.flatten(params)
        names = tree.names(params)
        matches = [self._match(name) for name in names]
        for name, leaf, i in zip(names, leaves, matches, strict=True):
            if i is None and leaf is not None and not self.allow_unmatched:
                checks.fail(
                    f"no pattern matches {name!r}; add a last rule ('*', label) for the rest, or pass "
                    "allow_unmatched=True"
                )
        # Inside a group of `partition` the parameters of other groups are `None`; their patterns are not unused.
        used = set(matches)
        for i, (pattern, _) in enumerate(self.rules):
            if i not in used and not self.allow_unused:
                taken = any(_fits(name, pattern) for name in names)
                why = "earlier patterns match all of its paths" if taken else f"there are {_listed(names)}"
                checks.fail(
                    f"pattern {pattern!r} labels no parameter: {why}; for a pattern that may label none, "
                    "pass allow_unused=True"
                )
        return structure.unflatten([None if i is None else self.rules[i][1] for i in matches])

    def _match(self, name: str) -> int | None:
        return next((i for i, (pattern, _) in enumerate(self.rules) if _fits(name, pattern)), None)


def _listed(names: list[str]) -> str:
    """The first of the names, and how many more there are."""
    shown = ", ".join(map(repr, names[:6]))
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown or "no parameters"


def _fits(name: str, pattern: str) -> bool:
    # Also with a leading slash, so that '*/bias' matches a bias at the top level.
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(f"/{name}", pattern)


@register(
    example([("*/bias", "no_decay"), ("*", "decay")]),
    kind="factory",
    errors=[
        (example([]), "rules must be one or more pairs (pattern, label), got []"),
        (example(["*"]), "rules must be one or more pairs (pattern, label), got ['*']"),
        (example([("*", 1), ("*", 2)]), "the pattern '*' comes 2 times"),
    ],
)
def label_by_path(
    rules: Sequence[tuple[str, Any]], *, allow_unmatched: bool = False, allow_unused: bool = False
) -> LabelByPath:
    """Make a function params -> tree of labels from patterns of paths, for `partition` or `masked`.

        labels = label_by_path([("*/bias", "no_decay"), ("*", "decay")])
        tx = partition({"decay": adamw(1e-3), "no_decay": adam(1e-3)}, labels)

    A path joins the keys, attributes and indices of a leaf by slashes: `encoder/layers/0/bias`. The first pattern that
    matches gives the label: `*` matches any characters, slashes included, `?` one character, `[ab]` one of these;
    `*/bias` matches a bias at any depth.

    Args:
      rules: pairs (pattern, label), the most specific first; labels are those of `partition`, or bools for a mask.
      allow_unmatched: whether a leaf may match no pattern; its label is then None.
      allow_unused: whether a pattern may label no leaf.
    Raises:  ValueError naming a path that matches no pattern, or a pattern that labels no parameter.
    """
    listed = isinstance(rules, Sequence) and not isinstance(rules, str)
    whole = listed and all(isinstance(r, tuple | list) and len(r) == 2 and isinstance(r[0], str) for r in rules)
    if not (whole and rules):
        checks.fail(f"rules must be one or more pairs (pattern, label), got {checks.shown(rules)}")
    patterns = [pattern for pattern, _ in rules]
    for pattern in patterns:
        if patterns.count(pattern) > 1:
            checks.fail(f"the pattern {pattern!r} comes {patterns.count(pattern)} times")
    return LabelByPath(tuple((pattern, label) for pattern, label in rules), allow_unmatched, allow_unused)

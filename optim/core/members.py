"""The transformations inside a transformation, each with its state and its parameters."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .. import checks
from ..types import Grain, Params
from .facts import Member
from .transformation import GradientTransformation, GradientTransformationExtraArgs

_GRAINS: tuple[Grain, ...] = ("elementwise", "treewise", "leafwise")


class Part(NamedTuple):
    """A member with its own state and the parameters that it sees; None if no parameters were given."""

    name: str
    tx: GradientTransformation
    state: Any
    params: Params | None

    @property
    def parts(self) -> list["Part"]:
        return parts(self.tx, self.state, self.params)


def parts(tx: GradientTransformation, state: Any, params: Any = None) -> list[Part]:
    """The members of `tx`, in their order; members of the same name are numbered."""
    tx.check_state(state)
    while tx.facts.opened is not None:
        tx, state = tx.facts.opened(state)
    members = tx.facts.members
    names = _numbered([m.name for m in members])
    return [
        Part(name, m.tx, m.state(state), None if params is None else m.params(params))
        for name, m in zip(names, members, strict=True)
    ]


def walk(
    tx: GradientTransformation, state: Any, params: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Part]]:
    """`tx` and everything inside it, each before its members, with the path of names to it."""
    name = path[-1] if path else title(tx, "tx")
    yield path, Part(name, tx, state, params)
    for part in parts(tx, state, params):
        yield from walk(part.tx, part.state, part.params, (*path, part.name))


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, with an ordinal where a name comes several times: `trace[0]`, `trace[1]`."""
    uses, before = Counter(names), Counter[str]()
    out = []
    for name in names:
        out.append(f"{name}[{before[name]}]" if uses[name] > 1 else name)
        before[name] += 1
    return out


def title(tx: GradientTransformation, otherwise: str) -> str:
    """The name of the factory that made `tx`, or `otherwise`."""
    return str(tx.call.name) if tx.call else otherwise


def coarsest(*grains: Grain | None) -> Grain | None:
    """The grain of a combination of members with these grains; unknown if one is unknown."""
    if None in grains:
        return None
    return max((g for g in grains if g), key=_GRAINS.index, default="elementwise")


def around(
    member: GradientTransformationExtraArgs,
    init: Any,
    update: Any,
    *,
    inner: Callable[[Any], Any],
    sees: Callable[[Any], Any] = lambda params: params,
    **facts: Any,
) -> GradientTransformationExtraArgs:
    """The pair of a wrapper around `member`.

    Args:    inner: the wrapper's state -> the member's. sees: the parameters -> the parameters that the member sees.
    """
    if member.facts.exact and "exact" not in facts:
        what = f"{title(member, 'the inner transformation')} rounds the parameters, and its updates must not be changed"
        checks.fail(f"{what}: put this around the members before it, as in chain(wrapper(tx), keep_residual())")
    inside = (Member(title(member, "inner"), member, inner, sees),)
    pair = GradientTransformationExtraArgs(init, update)
    return pair.declaring(**{"grain": member.grain, "members": inside, **facts})

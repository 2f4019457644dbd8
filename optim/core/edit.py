"""`replace`: a composed transformation with one of its members made anew."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .. import checks, tree
from .record import Call, Inside, Recorded, inside
from .transformation import GradientTransformation, taking_extra_args

T = TypeVar("T")
_Path = tuple[str, ...]
_Change = Callable[[_Path, Recorded], Any]


@checks.entrance()
def replace(tx: T, where: str, by: Any = None, /, **arguments: Any) -> T:
    """`tx` with one of its members made anew: `replace(tx, "scale_by_adam", b2=0.95)`.

    A state of `tx` fits the result as long as the new member's state has the same fields. An alias is replaced by the
    chain it stands for where a member of that chain changes.

    Args:
      tx: a transformation or schedule.
      where: the registered name of a member or schedule at any depth, or a path that ends with it and may leave out
        steps: `decay/scale_by_adam` is the member in the group or link named `decay`; `trace[1]` is the second of two
        siblings; `*/trace` is every one.
      by: another transformation or schedule to put in its place.
      arguments: the arguments to change, where `by` is not given.
    Raises:  KeyError for an unknown name, listing the names there are; ValueError for a name with several matches,
             listing their paths; whatever the factory raises for its arguments.
    """
    with checks.naming("replace"):
        if not isinstance(where, str):
            checks.fail(f"where must be a name or a path, got {checks.shown(where)}", TypeError)
        if (by is None) != bool(arguments):
            checks.fail("give the arguments to change, or a transformation to put there")
        every, wanted = where.startswith("*/"), where.removeprefix("*/").split("/")
        matches = [path for path in _paths(tx, opened=False) if _fits(path, wanted)]
        matches = matches or [path for path in _paths(tx, opened=True) if _fits(path, wanted)]
        if not matches:
            names = sorted({part.partition("[")[0] for path in _paths(tx, opened=True) for part in path})
            checks.fail(f"there is no {where!r} in {tx}; there are {', '.join(names)}", KeyError)
        if len(matches) > 1 and not every:
            checks.fail(
                f"there are several {where!r}: {', '.join(map('/'.join, matches))}; name one, or all by '*/{where}'"
            )
        if isinstance(by, tuple):
            by = taking_extra_args(by, "by")

    def change(path: _Path, old: Recorded) -> Any:
        if path not in matches:
            return None
        assert old.call is not None
        return _called(old.call, arguments) if by is None else by

    new: T = _walk(tx, (_name(tx),), change)
    return new


def with_arguments(tx: T, arguments: Mapping[str, Mapping[str, Any]]) -> T:
    """`tx` with these arguments in every call of these factories, at any depth: {"muon": {"beta": 0.9}}."""

    def change(path: _Path, old: Recorded) -> Any:
        changes = arguments.get(path[-1].partition("[")[0])
        return _called(old.call, changes) if changes and old.call is not None else None

    changed: T = _walk(tx, (_name(tx),), change)
    return changed


def _fits(path: _Path, wanted: list[str]) -> bool:
    """Whether `wanted` ends where the path does and comes in it in this order."""
    if not (path and _is(path[-1], wanted[-1])):
        return False
    rest = iter(path[:-1])
    return all(any(_is(part, name) for part in rest) for name in wanted[:-1])


def _is(part: str, name: str) -> bool:
    return name in (part, part.partition("[")[0])


def _paths(tx: Any, *, opened: bool) -> list[_Path]:
    """The paths of everything that a call made; `opened` includes the members of aliases."""
    paths: list[_Path] = []
    _walk(tx, (_name(tx),), lambda path, _: paths.append(path), opened)
    return paths


def _walk(x: Any, path: _Path, change: _Change, opened: bool = True) -> Any:
    """`x` with `change(path, it)`, where that is not None, in place of everything in it that was made by a call."""
    if not (isinstance(x, Recorded) and x.call is not None):
        return _children(x, path, change, opened)
    new = change(path, x)
    if new is not None:
        return new
    new = _children(x, path, change, opened)
    body = x.body if isinstance(x, GradientTransformation) else None
    if new is not x or body is None or not opened:
        return new
    new = _children(body, path, change, opened)
    return x if new is body else new


def _children(x: Any, path: _Path, change: _Change, opened: bool) -> Any:
    """`x` with the values inside it changed; `x` itself where none was."""
    parts = inside(x)
    if parts is None:
        return x
    paths = _paths_inside(x, parts, path)
    new = [_walk(value, p, change, opened) for value, p in zip(parts.values, paths, strict=True)]
    return parts.rebuilt(new) if any(a is not b for a, b in zip(new, parts.values, strict=True)) else x


def _paths_inside(x: Any, parts: Inside, path: _Path) -> list[_Path]:
    if isinstance(x, Recorded):
        positional = [v for name, v in zip(parts.names, parts.values, strict=True) if isinstance(name, int)]
        by_name = parts.values[len(positional) :]
        return _siblings(path, positional) + [(*path, _name(v)) if _name(v) else path for v in by_name]
    if isinstance(x, Mapping):
        return [_named(path, str(key), v) for key, v in x.items()]
    if type(x) is tuple and len(x) == 2 and isinstance(x[0], str):
        return [_named(path, x[0], v) for v in x]
    return _siblings(path, parts.values)


def _siblings(path: _Path, xs: Sequence[Any]) -> list[_Path]:
    names = [_name(x) for x in xs]
    before: Counter[str] = Counter()
    paths = []
    for name in names:
        ordinal = f"[{before[name]}]" if names.count(name) > 1 else ""
        before[name] += 1
        paths.append((*path, name + ordinal) if name else path)
    return paths


def _named(path: _Path, key: str, x: Any) -> _Path:
    return (*path, key, _name(x)) if _name(x) else path


def _name(x: Any) -> str:
    """The registered name of what made `x`; of an injected factory, the factory's."""
    call = x.call if isinstance(x, Recorded) else None
    while call is not None and isinstance(call.name, Call):
        factory = next(iter(call.name.arguments.values()))
        return str(getattr(factory, "__name__", call.name.name))
    return str(call.name) if call is not None else ""


def _called(call: Call, changes: Mapping[str, Any]) -> Any:
    """The same call with some arguments changed, written as it was."""
    positional = [p.name for p in call.signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    fixed = call.args if len(positional) < len(call.signature.parameters) else ()
    names = positional[: 0 if fixed else len(call.args)]
    args = fixed or tuple(changes.get(name, old) for name, old in zip(names, call.args, strict=True))
    rest = {name: value for name, value in changes.items() if name not in names}
    return call.factory(*args, **{**call.kwargs, **rest})


# Learning rates

_RATES = ("learning_rate", "lr")


def _is_rate(x: Any) -> bool:
    return bool(checks.is_number(x) or (checks.is_array(x) and x.shape == ()))


def _injected(path: tuple[Any, ...], value: Any) -> bool:
    """Whether a place in a state is that of an injected hyperparameter."""
    del value
    return len(path) > 1 and getattr(path[-2], "name", None) == "hyperparams"


def rates(tx: Any) -> dict[str, Any]:
    """path -> the learning rate, for every member whose rate is a number; empty where the rates differ."""
    numbers: dict[str, Any] = {}

    def note(path: _Path, old: Recorded) -> None:
        assert old.call is not None
        for name in _RATES:
            if _is_rate(old.call.arguments.get(name)):
                numbers["/".join(path)] = old.call.arguments[name]

    _walk(tx, (_name(tx),), note, opened=False)
    return numbers if len({float(v) for v in numbers.values()}) == 1 else {}


def with_rate(tx: T, state: Any, rate: Any) -> tuple[T, Any]:
    """`tx` and its state with `rate` in place of every learning rate that is a number, in a call or in a state."""

    def change(path: _Path, old: Recorded) -> Any:
        assert old.call is not None
        names = [n for n in _RATES if _is_rate(old.call.arguments.get(n))]
        in_state = isinstance(old.call.name, Call) or str(old.call.name).startswith("keras.")
        return _called(old.call, dict.fromkeys(names, rate)) if names and not in_state else None

    for name in _RATES:
        if tree.get_all_with_path(state, name, filtering=_injected):
            state = tree.set(state, _injected, **{name: rate})
    changed: T = _walk(tx, (_name(tx),), change, opened=False)
    return changed, state

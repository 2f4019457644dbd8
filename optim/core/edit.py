"""Editing what is already composed."""

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

    A member, or a schedule, is found by its registered name at any depth, or by a path that ends there and leaves out
    what it likes: `decay/scale_by_adam` is the one in the group or link named `decay`; `trace[1]` is the second of two
    beside one another; `*/trace` are all. An alias is opened where that is needed: with its `scale_by_adam` replaced,
    `adam(0.1)` is the chain it stands for. A state of the old one fits as long as the new member's has the same fields.

    Args:    where: a name or path; by: another transformation or schedule to stand there, in place of arguments.
    Raises:  KeyError for a name that is nowhere, listing what there is; ValueError for one that is in several places,
             listing their paths; whatever the factory raises for its arguments.
    """
    with checks.naming("replace"):
        if not isinstance(where, str):
            checks.fail(f"where must be a name or a path, got {checks.shown(where)}", TypeError)
        if (by is None) != bool(arguments):
            checks.fail("give the arguments to change, or what is to stand there")
        every, wanted = where.startswith("*/"), where.removeprefix("*/").split("/")
        found = [path for path in _paths(tx, opened=False) if _fits(path, wanted)]
        found = found or [path for path in _paths(tx, opened=True) if _fits(path, wanted)]
        if not found:
            names = sorted({part.partition("[")[0] for path in _paths(tx, opened=True) for part in path})
            checks.fail(f"there is no {where!r} in {tx}; there are {', '.join(names)}", KeyError)
        if len(found) > 1 and not every:
            checks.fail(
                f"there are several {where!r}: {', '.join(map('/'.join, found))}; name one, or all by '*/{where}'"
            )
        if isinstance(by, tuple):
            by = taking_extra_args(by, "by")

    def change(path: _Path, old: Recorded) -> Any:
        if path not in found:
            return None
        assert old.call is not None
        return _called(old.call, arguments) if by is None else by

    new: T = _walk(tx, (_name(tx),), change)
    return new


def _fits(path: _Path, wanted: list[str]) -> bool:
    """Whether `wanted` ends where the path does and comes in it in this order."""
    if not (path and _is(path[-1], wanted[-1])):
        return False
    rest = iter(path[:-1])
    return all(any(_is(part, name) for part in rest) for name in wanted[:-1])


def _is(part: str, name: str) -> bool:
    return name in (part, part.partition("[")[0])


def _paths(tx: Any, *, opened: bool) -> list[_Path]:
    """The paths of all there is; in what aliases stand for, too, where they are opened."""
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
    found = inside(x)
    if found is None:
        return x
    paths = _paths_inside(x, found, path)
    new = [_walk(value, p, change, opened) for value, p in zip(found.values, paths, strict=True)]
    return found.rebuilt(new) if any(a is not b for a, b in zip(new, found.values, strict=True)) else x


def _paths_inside(x: Any, found: Inside, path: _Path) -> list[_Path]:
    if isinstance(x, Recorded):
        positional = [v for name, v in zip(found.names, found.values, strict=True) if isinstance(name, int)]
        by_name = found.values[len(positional) :]
        return _siblings(path, positional) + [(*path, _name(v)) if _name(v) else path for v in by_name]
    if isinstance(x, Mapping):
        return [_named(path, str(key), v) for key, v in x.items()]
    if type(x) is tuple and len(x) == 2 and isinstance(x[0], str):
        return [_named(path, x[0], v) for v in x]
    return _siblings(path, found.values)


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
    """path -> number, of what in `tx` has a learning rate that is a number: nothing where they differ."""
    found: dict[str, Any] = {}

    def note(path: _Path, old: Recorded) -> None:
        assert old.call is not None
        for name in _RATES:
            if _is_rate(old.call.arguments.get(name)):
                found["/".join(path)] = old.call.arguments[name]

    _walk(tx, (_name(tx),), note, opened=False)
    return found if len({float(v) for v in found.values()}) == 1 else {}


def with_rate(tx: T, state: Any, rate: Any) -> tuple[T, Any]:
    """`tx` and its state with `rate` wherever there is a learning rate that is a number, in a call or in a state."""

    def change(path: _Path, old: Recorded) -> Any:
        assert old.call is not None
        names = [n for n in _RATES if _is_rate(old.call.arguments.get(n))]
        held = isinstance(old.call.name, Call) or str(old.call.name).startswith("keras.")
        return _called(old.call, dict.fromkeys(names, rate)) if names and not held else None

    for name in _RATES:
        if tree.get_all_with_path(state, name, filtering=_injected):
            state = tree.set(state, _injected, **{name: rate})
    changed: T = _walk(tx, (_name(tx),), change, opened=False)
    return changed, state

"""Every public factory by name.

`register` wraps a factory so that its arguments are bound and checked by name, and its result carries the call that
made it. From that come `repr`, equality, hashing, `to_config` / `from_config`, look-up, and every sweep in the tests.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .. import checks
from ..checks import Range
from . import docs
from .record import Call, NamedFunction, Recorded, snapshot

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["transformation", "schedule", "factory", "function"]


@dataclass(frozen=True)
class Example:
    """Arguments a factory can be called with: one row of every sweep."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Extra arguments that its update needs."""

    def given(self, **extra: Any) -> "Example":
        """The same call, whose result is updated with these extra arguments: `example(1.0).given(value=0.5)`."""
        return Example(self.args, self.kwargs, extra)


def example(*args: Any, **kwargs: Any) -> Example:
    return Example(args, kwargs)


@dataclass(frozen=True)
class Entry:
    """What the registry knows of one factory."""

    name: str
    factory: Callable[..., Any]
    signature: inspect.Signature
    kind: Kind
    ranges: Mapping[str, Range]
    examples: tuple[Example, ...]
    exceptions: Mapping[str, str]
    """Sweep column -> the reason why it does not hold for this factory."""
    errors: tuple[tuple[Example, str], ...]
    """Calls that must fail -> the sentence they must fail with (beyond the ranges)."""
    usual: Mapping[str, Any]
    """Values of arguments without a default, for calls by name alone."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.factory(*args, **kwargs)


_entries: dict[str, Entry] = {}


def entries(kind: Kind | None = None) -> Iterator[Entry]:
    """All registered factories, in the order of their names."""
    return (e for _, e in sorted(_entries.items()) if kind in (None, e.kind))


@checks.entrance()
def lookup(name: str) -> Entry:
    """The entry of that name; an unknown one is an error that lists near matches."""
    if not isinstance(name, str):
        checks.fail(f"a factory's name must be a string, got {checks.shown(name)}", TypeError)
    if name not in _entries:
        checks.fail(f"no factory named {name!r} is registered{checks.near(name, _entries)}", KeyError)
    return _entries[name]


def entry_of(factory: Any) -> Entry | None:
    """The entry of a registered factory, given the factory itself."""
    name = getattr(factory, "__name__", None)
    plain = _entries.get(name) if isinstance(name, str) else None
    if plain is not None and plain.factory is factory:
        return plain
    return next((e for e in _entries.values() if e.factory is factory), None)


@checks.entrance()
def get(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call the factory registered under `name`: `get("adam", learning_rate=1e-3)`.

    An argument without a default takes its usual value: `get("adamw")` is `adamw(learning_rate=0.001)`.

    Raises: KeyError for an unknown name, listing near matches; whatever the factory raises.
    """
    entry = lookup(name)
    taken = set(list(entry.signature.parameters)[: len(args)]) | {*kwargs}
    return entry(*args, **{word: value for word, value in entry.usual.items() if word not in taken}, **kwargs)


def register(
    *examples: Example,
    name: str | None = None,
    kind: Kind = "transformation",
    ranges: Mapping[str, Range] | None = None,
    exceptions: Mapping[str, str] | None = None,
    errors: Sequence[tuple[Example, str]] = (),
    usual: Mapping[str, Any] | None = None,
) -> Callable[[F], F]:
    """Register a factory of transformations or schedules under its own name (or `name`).

    Args:
      examples: calls for the sweeps of the tests, the plainest first; none means `factory()`.
      kind: what the factory makes; "function" is for a function that is an argument, a mask say, so that it has a
        name in configs.
      ranges: ranges of the numbers that `checks.RANGES` does not have, or that mean something else here; a new name
        says what it means, as `Range(0, 1, means="...")`.
      exceptions: sweep column -> reason; `column-2` for the third example alone.
      errors: calls that must fail, with a part of their sentence.
      usual: values of arguments without a default, for calls by name alone.
    """

    @checks.entrance()
    def decorate(factory: F) -> F:
        signature = inspect.signature(factory)
        key = name or factory.__name__
        limits = {n: r for n, r in {**checks.RANGES, **(ranges or {})}.items() if n in signature.parameters}
        if kind != "function":
            _refuse_numbers_without_range(key, factory, limits)
        for word in ("name", "args"):
            if word in signature.parameters and signature.parameters[word].kind is not inspect.Parameter.VAR_POSITIONAL:
                checks.fail(f"{key} has an argument {word!r}, a word that configs need for themselves")
        if key in _entries and _entries[key].factory.__module__ != factory.__module__:
            checks.fail(f"a factory named {key!r} is registered already")

        def recorded(make: Callable[..., Any], by: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            """What `make` makes, with the call of `by`, the registered factory or a subclass of a registered class."""
            args, kwargs = snapshot(args), snapshot(kwargs)
            bound = checks.bind(signature, args, kwargs)
            checks.arguments(bound, limits)
            result = make(*args, **kwargs)
            if kind == "function":
                return result
            if not isinstance(result, Recorded):
                checks.fail(
                    f"a registered factory must return a GradientTransformation or a schedule, got "
                    f"{checks.shown(result)}; a plain function is registered with kind='function'",
                    TypeError,
                )
            if by is made:
                return result._recorded(Call(key, args, kwargs, bound, made, functools.partial(get, key)))
            return result._recorded(Call(by.__name__, args, kwargs, bound, by))

        made: Any = _registered_class(factory, recorded) if inspect.isclass(factory) else None
        if made is None:

            @checks.entrance(key)
            @functools.wraps(factory)
            def build(*args: Any, **kwargs: Any) -> Any:
                return recorded(factory, build, args, kwargs)

            made = NamedFunction(build) if kind == "function" else build
        if factory.__doc__:
            made.__doc__ = docs.composed(factory.__doc__, signature, limits, _docstring)
        _entries[key] = Entry(
            key,
            made,
            signature,
            kind,
            limits,
            examples or (Example(),),
            exceptions or {},
            tuple(errors),
            dict(usual or {}),
        )
        return cast(F, made)

    return decorate


def _refuse_numbers_without_range(name: str, factory: Any, ranges: Mapping[str, Range]) -> None:
    init = factory.__new__ if inspect.isclass(factory) else factory
    with contextlib.suppress(NameError, TypeError):  # of annotations that only a type checker can read
        for word, annotation in get_type_hints(init).items():
            kinds = _kinds(annotation)
            if {int, float} & {*kinds} and not {tuple, list} & {get_origin(k) for k in kinds} and word not in ranges:
                checks.fail(
                    f"{name} has the number {word!r} without a range; declare it: "
                    f"register(..., ranges={{{word!r}: Range(0, 1, means='...')}})"
                )


def _kinds(annotation: Any) -> list[Any]:
    """The types in an annotation, of which a name such as `Scalar` stands for several."""
    annotation = getattr(annotation, "__supertype__", annotation)
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _kinds(part)]


def _docstring(name: str) -> str | None:
    return _entries[name].factory.__doc__ if name in _entries else None


def _registered_class(cls: Any, recorded: Callable[..., Any]) -> Any:
    """`cls`, whose instances, and those of its subclasses, know the call that made them."""
    new, signature = cls.__new__, inspect.signature(cls)

    @checks.entrance(cls.__name__)
    def build(by: Any, *args: Any, **kwargs: Any) -> Any:
        return recorded(functools.partial(new, by), by, args, kwargs)

    cls.__new__, cls.__signature__ = build, signature
    return cls

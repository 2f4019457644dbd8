"""Errors: a sentence behind the name of the outermost call, and a traceback that ends with the user's line."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Name:
    """What errors call the outermost call in play; `lists_members` says that they add which member it was in."""

    text: str
    lists_members: bool = False

    def member(self, i: Any, title: str, lists_members: bool) -> "Name":
        """The name of the member at `i`."""
        return Name(f"{self.text}[{i}] {title}", lists_members) if self.lists_members else self


_caller: contextvars.ContextVar[Name | None] = contextvars.ContextVar("optim_caller", default=None)


@contextlib.contextmanager
def speaking_of(name: Name | None) -> Iterator[None]:
    """Errors raised inside begin with `name`."""
    token = _caller.set(name)
    try:
        yield
    finally:
        _caller.reset(token)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors raised inside begin with `name`, unless an outer call has named itself already."""
    with speaking_of(_caller.get() or Name(name)):
        yield


def caller() -> Name:
    """The name with which errors begin."""
    return _caller.get() or Name("optim")


def entrance(name: str | Name) -> Callable[[F], F]:
    """Decorate a function that users call.

    Errors raised inside begin with its name, unless an outer call has named itself already. The traceback of a mistake
    ends with the user's own line and one of this library.
    """
    own = Name(name) if isinstance(name, str) else name

    def decorate(f: F) -> F:
        @functools.wraps(f)
        def enter(*args: Any, **kwargs: Any) -> Any:
            token = _caller.set(own) if _caller.get() is None else None
            try:
                return f(*args, **kwargs)
            except Mistake as error:
                mistake = error
            finally:
                if token is not None:
                    _caller.reset(token)
            raise mistake.with_traceback(None) from None

        return cast(F, enter)

    return decorate


class Mistake(Exception):
    """An error in what a user wrote: one sentence says what to write instead.

    It has the type of a built-in error beside this one, and prints as that.
    """

    def add_note(self, note: str, /) -> None:
        # JAX adds a note about its own frames, which are no help with a mistake in a call.
        if "JAX has removed its internal frames" not in note:
            super().add_note(note)


class TracedError(TypeError):
    """A value is needed where one is being traced."""


@functools.cache
def _mistake(kind: Any) -> Any:
    def reduce(self: Exception) -> Any:
        return kind, self.args

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__reduce__": reduce}
    return type(kind.__name__, (Mistake, kind), names)


def fail(text: str, kind: type[Exception] = ValueError) -> NoReturn:
    """Raise a mistake of this kind, whose sentence begins with the name of the outermost call."""
    made: Callable[[Any], Any] = _mistake
    raise made(kind)(f"{caller().text}: {text}")

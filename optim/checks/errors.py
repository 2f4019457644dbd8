"""Errors: a sentence behind the name of the outermost call, and a traceback that ends with the user's line."""

import contextlib
import contextvars
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

import jax

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


def entrance(name: str | Name | Callable[..., str] | None = None) -> Callable[[F], F]:
    """Decorate a function that users call.

    Errors raised inside begin with its name, unless an outer call has named itself already. The traceback of a mistake
    ends with the user's own line and one of this library.

    Args:    name: the name, or a function of the arguments that gives it; None where the calls inside name themselves.
    """
    own = Name(name) if isinstance(name, str) else name

    def decorate(f: F) -> F:
        @functools.wraps(f)
        def enter(*args: Any, **kwargs: Any) -> Any:
            token = None
            if own is not None and _caller.get() is None:
                token = _caller.set(own if isinstance(own, Name) else Name(own(*args, **kwargs)))
            try:
                return f(*args, **kwargs)
            except Mistake as error:
                found = error
            finally:
                if token is not None:
                    _caller.reset(token)
            raise found.with_traceback(_users_frames(found.__traceback__)) from None

        return cast(F, enter)

    return decorate


# Frames that are no help with a mistake: this library's and JAX's.
_HIDDEN = (
    *(os.path.join(os.path.dirname(path), "") for path in (os.path.dirname(__file__), jax.__file__)),
    contextlib.__file__,
    functools.__file__,
)


def _users_frames(found: TracebackType | None) -> TracebackType | None:
    """The frames of a traceback that are of the user's own code: a loss or a schedule called from here."""
    if found is None:
        return None
    rest = _users_frames(found.tb_next)
    if found.tb_frame.f_code.co_filename.startswith(_HIDDEN):
        return rest
    return TracebackType(rest, found.tb_frame, found.tb_lasti, found.tb_lineno)


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
def _class_of_mistakes(kind: Any) -> Any:
    def reduce(self: Exception) -> Any:
        return kind, self.args

    names: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__reduce__": reduce}
    if issubclass(kind, KeyError):  # which prints the repr of its sentence
        names["__str__"] = Exception.__str__
    return type(kind.__name__, (Mistake, kind), names)


def mistake(text: str, kind: type[Exception] = ValueError) -> Exception:
    """A mistake of this kind, to raise; `fail` names the call too."""
    made: Callable[[Any], Any] = _class_of_mistakes
    error: Exception = made(kind)(text)
    return error


def fail(text: str, kind: type[Exception] = ValueError) -> NoReturn:
    """Raise a mistake of this kind, whose sentence begins with the name of the outermost call."""
    raise mistake(f"{caller().text}: {text}", kind)


def need(module: str, extra: str) -> Any:
    """The module of an optional library, or an ImportError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        return fail(f"needs {module}: pip install 'optim[{extra}]'", ImportError)

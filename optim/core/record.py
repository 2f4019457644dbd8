"""The call that made a result: how it prints, what it equals, and the values inside it."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from .. import checks
from ..types import Array


class Call:
    """The name of a factory, or the call that made it, and the arguments it was called with.

    `reference` is what is pickled in place of the factory.
    """

    def __init__(
        self,
        name: "str | Call",
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        bound: inspect.BoundArguments,
        factory: Callable[..., Any],
        reference: Callable[..., Any] | None = None,
    ) -> None:
        self.name, self.args, self.kwargs, self.factory = name, args, dict(kwargs), factory
        self.reference = reference or factory
        self.arguments: dict[str, Any] = dict(bound.arguments)
        self.signature = bound.signature

    def __repr__(self) -> str:
        words = [_written(a) for a in self.args]
        words += [f"{k}={_written(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(words)})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self.name == other.name and same(self.arguments, other.arguments)

    def __hash__(self) -> int:
        return hash((self.name, _hashable(self.arguments)))


class Recorded:
    """A result that stores the call that made it; equal calls are equal results."""

    call: Call | None = None

    def _recorded(self, call: Call) -> Self:
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle as the call, which is then made again."""
        if self.call is None:
            return super().__reduce_ex__(protocol)
        return functools.partial(self.call.reference, *self.call.args, **self.call.kwargs), ()


class NamedFunction:
    """A function that prints as its name, for signatures in which it is a default."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return checks.function_name(self)

    def __reduce__(self) -> str:
        """Copy and pickle by name, as functions do."""
        return str(getattr(self, "__qualname__", ""))


class ScheduleFn(Recorded):
    """A registered schedule: a function of the count that prints as the call that made it."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = fn

    def _recorded(self, call: Call) -> Self:
        new = type(self)(self.fn)
        new.call = call
        return new

    def __call__(self, count: Any) -> Array:
        value: Array = self.fn(count)
        return value

    def __repr__(self) -> str:
        return repr(self.call) if self.call else f"ScheduleFn({checks.function_name(self.fn)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScheduleFn):
            return NotImplemented
        return self.call == other.call if self.call or other.call else self.fn == other.fn

    def __hash__(self) -> int:
        return hash(self.call or self.fn)


# The values of a call


class Inside(NamedTuple):
    """The values one level down in a value, their names there, and a function that makes the value of them."""

    names: list[Any]
    values: list[Any]
    rebuilt: Callable[[list[Any]], Any]


def inside(x: Any) -> Inside | None:
    """What is in a call, a dict, a list or a tuple; None for everything else.

    `rebuilt` refers to none of the values.
    """
    call = x.call if isinstance(x, Recorded) else x
    if isinstance(call, Call):
        factory, n, words = call.factory, len(call.args), list(call.kwargs)

        def called(values: list[Any]) -> Any:
            return factory(*values[:n], **dict(zip(words, values[n:], strict=True)))

        return Inside([*range(n), *words], [*call.args, *call.kwargs.values()], called)
    if isinstance(x, Mapping):
        keys = list(x)
        return Inside(keys, list(x.values()), lambda values: dict(zip(keys, values, strict=True)))
    if isinstance(x, list | tuple) and not isinstance(x, Recorded):
        kind: Any = type(x)
        return Inside([*range(len(x))], [*x], kind if kind in (list, tuple) else lambda values: kind(*values))
    return None


def leaves(x: Any) -> Iterator[Any]:
    """The values in `x` that have none inside them, the factories of its calls included."""
    parts = inside(x)
    if parts is None:
        yield x
        return
    call = x.call if isinstance(x, Recorded) else x
    if isinstance(call, Call):
        yield from leaves(call.factory)
    for value in parts.values:
        yield from leaves(value)


def is_dtype(x: Any) -> bool:
    return (
        isinstance(x, np.dtype)
        or (isinstance(x, type) and issubclass(x, np.generic))
        or (type(x).__name__ == "_ScalarMeta")
    )


def same(a: Any, b: Any) -> bool:
    """Equality of arguments: arrays by shape, dtype and value, tracers by identity, containers by their items.

    A dict in another order is another one: what it makes may keep that order, as `monitor` does in its state.
    """
    if a is b:
        return True
    if checks.is_traced(a) or checks.is_traced(b):
        return False
    if checks.is_array(a) or checks.is_array(b):
        if not (checks.is_array(a) and checks.is_array(b)) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        if checks.is_key(a):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    if isinstance(a, Recorded) or isinstance(b, Recorded):
        return bool(a == b)
    if is_dtype(a) and is_dtype(b):
        return bool(np.dtype(a) == np.dtype(b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    if checks.is_number(a) and checks.is_number(b):
        # As Python numbers, whose hashes agree: NumPy's float32(0.1) calls itself equal to 0.1.
        return bool(_number(a) == _number(b))
    if type(a) is not type(b):
        return False
    if not jax.tree_util.all_leaves([a]):
        structure: Any = jax.tree.structure(a)
        return bool(structure == jax.tree.structure(b)) and all(map(same, jax.tree.leaves(a), jax.tree.leaves(b)))
    return bool(a == b)


def snapshot(x: Any) -> Any:
    """A copy of the dicts, lists and NumPy arrays in an argument, which its owner may change after the call."""
    if type(x) is dict:
        return {key: snapshot(value) for key, value in x.items()}
    if type(x) is list or type(x) is tuple:
        return type(x)(map(snapshot, x))
    return x.copy() if type(x) is np.ndarray else x


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic) else x


def _hashable(x: Any) -> Any:
    """Something hashable that is equal wherever `same` says so."""
    if checks.is_array(x):
        return (x.shape, str(x.dtype))
    if isinstance(x, Recorded):
        return hash(x)
    if is_dtype(x):
        return str(np.dtype(x))
    if isinstance(x, Mapping):
        return frozenset((k, _hashable(v)) for k, v in x.items())
    if isinstance(x, list | tuple):
        return tuple(map(_hashable, x))
    if checks.is_number(x):
        return _number(x)
    try:
        hash(x)
    except TypeError:
        return type(x)
    return x


def _written(x: Any) -> str:
    """A value as it is written in a call."""
    if checks.is_traced(x):
        return f"<traced {x.dtype}{list(x.shape)}>"
    if checks.is_key(x):
        return f"key({np.asarray(jax.random.key_data(x)).tolist()})"
    if checks.is_array(x):
        return f"array({np.array2string(np.asarray(x), separator=', ', threshold=8)}, {x.dtype})"
    if is_dtype(x):
        return str(np.dtype(x))
    if isinstance(x, Recorded) or not callable(x):
        if isinstance(x, np.generic):
            return repr(x.item())
        if type(x) is tuple:
            return f"({', '.join(map(_written, x))}{',' if len(x) == 1 else ''})"
        if isinstance(x, tuple) and hasattr(x, "_fields") and not isinstance(x, Recorded):
            return f"{type(x).__name__}({', '.join(f'{k}={_written(v)}' for k, v in zip(x._fields, x, strict=True))})"
        if type(x) is list:
            return f"[{', '.join(map(_written, x))}]"
        if type(x) is dict:
            return "{" + ", ".join(f"{k!r}: {_written(v)}" for k, v in x.items()) + "}"
        return checks.without_address(repr(x))
    return str(getattr(x, "__name__", checks.shown(x)))

"""Every public factory by name, and what its results know of themselves.

`register` wraps a factory so that its arguments are bound and checked by name, and its result carries the call that
made it. From that record come `repr`, equality, hashing, `to_config` / `from_config`, look-up, and every sweep in
the tests.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from . import checks
from .checks import Range

P = ParamSpec("P")
R = TypeVar("R")
Kind = Literal["transformation", "schedule", "factory"]


@dataclass(frozen=True)
class Example:
    """Arguments a factory can be called with: one row of every sweep."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.factory(*args, **kwargs)


_entries: dict[str, Entry] = {}


def entries(kind: Kind | None = None) -> Iterator[Entry]:
    """All registered factories, in the order of their names."""
    return (e for _, e in sorted(_entries.items()) if kind in (None, e.kind))


def lookup(name: str) -> Entry:
    """The entry of that name; an unknown one is an error that lists near matches."""
    if not isinstance(name, str):
        raise TypeError(f"optim: a factory's name must be a string, got {checks.shown(name)}")
    if name not in _entries:
        raise KeyError(f"optim: no factory named {name!r} is registered{checks.near(name, _entries)}")
    return _entries[name]


def entry_of(factory: Any) -> Entry | None:
    """The entry of a registered factory, given the factory itself."""
    return next((e for e in _entries.values() if e.factory is factory), None)


def get(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call the factory registered under `name`: `get("adam", learning_rate=1e-3)`.

    Raises: KeyError for an unknown name, listing near matches; whatever the factory raises.
    """
    return lookup(name)(*args, **kwargs)


def register(
    *examples: Example,
    name: str | None = None,
    kind: Kind = "transformation",
    ranges: Mapping[str, Range] | None = None,
    exceptions: Mapping[str, str] | None = None,
    errors: Sequence[tuple[Example, str]] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a factory of transformations or schedules under its own name (or `name`).

    Args:
      examples: calls for the sweeps of the tests, the plainest first; none means `factory()`.
      ranges: ranges of arguments whose names `checks.RANGES` does not know, or that mean something else here.
      exceptions: sweep column -> reason.
      errors: calls that must fail, with a part of their sentence.
    """

    def decorate(factory: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(factory)
        known = name or factory.__name__
        limits = {n: r for n, r in {**checks.RANGES, **(ranges or {})}.items() if n in signature.parameters}

        @functools.wraps(factory)
        def build(*args: P.args, **kwargs: P.kwargs) -> R:
            with checks.naming(known):
                bound = checks.bind(signature, args, kwargs)
                checks.arguments(bound, limits)
                result = factory(*args, **kwargs)
            call = Call(known, args, kwargs, bound)
            return cast(R, cast(Recorded, result)._recorded(call))

        if known in _entries and _entries[known].factory.__module__ != factory.__module__:
            raise ValueError(f"optim: a factory named {known!r} is registered already")
        _entries[known] = Entry(
            known,
            build,
            signature,
            kind,
            limits,
            examples or (Example(),),
            exceptions or {},
            tuple(errors),
        )
        return build

    return decorate


class Call:
    """The name of a factory, or the call that made it, and the arguments it was called with."""

    def __init__(
        self, name: "str | Call", args: tuple[Any, ...], kwargs: Mapping[str, Any], bound: inspect.BoundArguments
    ) -> None:
        self.name, self.args, self.kwargs = name, args, dict(kwargs)
        self.arguments: dict[str, Any] = dict(bound.arguments)
        self._signature = bound.signature

    def __repr__(self) -> str:
        words = [_written(a) for a in self.args]
        words += [f"{k}={_written(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(words)})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self.name == other.name and same(self.arguments, other.arguments)

    def __hash__(self) -> int:
        return hash((self.name, _hashable(self.arguments)))

    def config(self) -> dict[str, Any]:
        """Plain JSON: the name, and the arguments as they were given."""
        given = self._signature.bind(*self.args, **self.kwargs).arguments
        out: dict[str, Any] = {"name": self.name if isinstance(self.name, str) else self.name.config()}
        for key, value in given.items():
            kind = self._signature.parameters[key].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                out["args"] = [_encode(v, f"{self.name}: argument {i}") for i, v in enumerate(value)]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                out.update({k: _encode(v, f"{self.name}: {k}") for k, v in value.items()})
            else:
                out[key] = _encode(value, f"{self.name}: {key}")
        return out


class Recorded:
    """A result that knows the call that made it; equal calls are equal results."""

    call: Call | None = None

    def _recorded(self, call: Call) -> Self:
        raise NotImplementedError


class ScheduleFn(Recorded):
    """A registered schedule: a function of the count that prints as the call that made it."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = fn

    def _recorded(self, call: Call) -> Self:
        new = type(self)(self.fn)
        new.call = call
        return new

    def __call__(self, count: Any) -> Any:
        return self.fn(count)

    def __repr__(self) -> str:
        return repr(self.call) if self.call else f"ScheduleFn({self.fn!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScheduleFn):
            return NotImplemented
        return self.call == other.call if self.call or other.call else self.fn == other.fn

    def __hash__(self) -> int:
        return hash(self.call or self.fn)


# The values of a record: compared, hashed, written, encoded


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _is_dtype(x: Any) -> bool:
    return (
        isinstance(x, np.dtype)
        or (isinstance(x, type) and issubclass(x, np.generic))
        or (type(x).__name__ == "_ScalarMeta")
    )


def same(a: Any, b: Any) -> bool:
    """Equality of arguments: arrays by shape, dtype and value, tracers by identity, containers by their items."""
    if a is b:
        return True
    if checks.is_traced(a) or checks.is_traced(b):
        return False
    if checks.is_array(a) or checks.is_array(b):
        if not (checks.is_array(a) and checks.is_array(b)) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        if _is_key(a):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    if isinstance(a, Recorded) or isinstance(b, Recorded):
        return bool(a == b)
    if _is_dtype(a) and _is_dtype(b):
        return bool(np.dtype(a) == np.dtype(b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) == set(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    if checks.is_number(a) and checks.is_number(b):
        return bool(a == b)
    return type(a) is type(b) and bool(a == b)


def _hashable(x: Any) -> Any:
    """Something hashable that is equal wherever `same` says so."""
    if checks.is_array(x):
        return (x.shape, str(x.dtype))
    if isinstance(x, Recorded):
        return hash(x)
    if _is_dtype(x):
        return str(np.dtype(x))
    if isinstance(x, Mapping):
        return frozenset((k, _hashable(v)) for k, v in x.items())
    if isinstance(x, list | tuple):
        return tuple(map(_hashable, x))
    try:
        hash(x)
    except TypeError:
        return type(x)
    return x


def _written(x: Any) -> str:
    """A value as it is written in a call."""
    if checks.is_traced(x):
        return f"<traced {x.dtype}{list(x.shape)}>"
    if _is_key(x):
        return f"key({np.asarray(jax.random.key_data(x)).tolist()})"
    if checks.is_array(x):
        return f"array({np.array2string(np.asarray(x), separator=', ', threshold=8)}, {x.dtype})"
    if _is_dtype(x):
        return str(np.dtype(x))
    if isinstance(x, Recorded) or not callable(x):
        if isinstance(x, np.generic):
            return repr(x.item())
        if type(x) is tuple:
            return f"({', '.join(map(_written, x))}{',' if len(x) == 1 else ''})"
        if type(x) is list:
            return f"[{', '.join(map(_written, x))}]"
        if type(x) is dict:
            return "{" + ", ".join(f"{k!r}: {_written(v)}" for k, v in x.items()) + "}"
        return repr(x)
    return str(getattr(x, "__name__", repr(x)))


def _encode(x: Any, where: str) -> Any:
    """Plain JSON for one argument; what JSON has no word for is a one-key object whose key begins with '$'."""
    if isinstance(x, Recorded) and x.call is not None:
        return x.call.config()
    if x is None or isinstance(x, bool | str) or (isinstance(x, int) and not isinstance(x, np.generic)):
        return x
    if isinstance(x, float | np.generic) and checks.is_number(x):
        value = x.item() if isinstance(x, np.generic) else x
        return value if math.isfinite(value) else {"$float": repr(value)}
    if checks.is_traced(x):
        raise TypeError(f"{where} is {checks.shown(x)} being traced; a config needs a concrete value")
    if _is_key(x):
        return {"$key": np.asarray(jax.random.key_data(x)).tolist(), "impl": str(jax.random.key_impl(x))}
    if checks.is_array(x):
        return {"$array": np.asarray(x).astype(_json_dtype(x.dtype)).tolist(), "dtype": str(x.dtype)}
    if _is_dtype(x):
        return {"$dtype": str(np.dtype(x))}
    if isinstance(x, tuple) and type(x) is tuple:
        return {"$tuple": [_encode(v, f"{where}[{i}]") for i, v in enumerate(x)]}
    if type(x) is list:
        return [_encode(v, f"{where}[{i}]") for i, v in enumerate(x)]
    if isinstance(x, Mapping):
        items = {k: _encode(v, f"{where}[{k!r}]") for k, v in x.items()}
        if all(isinstance(k, str) and not k.startswith("$") for k in items) and "name" not in items:
            return items
        return {"$dict": [[_encode(k, where), v] for k, v in items.items()]}
    if (entry := entry_of(x)) is not None:
        return {"$factory": entry.name}
    raise TypeError(
        f"{where} is {checks.shown(x)}, which has no form in JSON; a function that was made with "
        "@optim.register has one"
    )


def _json_dtype(dtype: Any) -> Any:
    return np.float32 if str(dtype) in ("bfloat16", "float16") else dtype


def _decode(x: Any) -> Any:
    if isinstance(x, list):
        return [_decode(v) for v in x]
    if not isinstance(x, Mapping):
        return x
    if "$float" in x:
        return float(x["$float"])
    if "$key" in x:
        return jax.random.wrap_key_data(jnp.asarray(x["$key"], jnp.uint32), impl=x["impl"])
    if "$array" in x:
        return jnp.asarray(x["$array"], x["dtype"])
    if "$dtype" in x:
        return jnp.dtype(x["$dtype"])
    if "$tuple" in x:
        return tuple(map(_decode, x["$tuple"]))
    if "$dict" in x:
        return {_decode(k): _decode(v) for k, v in x["$dict"]}
    if "$factory" in x:
        return lookup(x["$factory"]).factory
    if "name" in x:
        return from_config(x)
    return {k: _decode(v) for k, v in x.items()}


def to_config(x: Any) -> dict[str, Any]:
    """The call that made a transformation or schedule, as plain JSON that `from_config` reads.

    Raises: TypeError for one made by hand, or with an argument that JSON cannot hold, naming it.
    """
    if not isinstance(x, Recorded):
        raise TypeError(f"optim: to_config takes a transformation or schedule, got {checks.shown(x)}")
    if x.call is None:
        raise TypeError(f"optim: {x!r} was made by hand; make it in a function decorated with @optim.register()")
    return x.call.config()


def from_config(config: Mapping[str, Any]) -> Any:
    """The transformation or schedule that `to_config` described.

    Raises: TypeError, ValueError or KeyError naming the entry that is wrong.
    """
    name = config.get("name") if isinstance(config, Mapping) else None
    if not isinstance(name, str | Mapping):
        raise TypeError(f"optim: a config is a dict with a 'name', got {checks.shown(config)}")
    factory = lookup(name) if isinstance(name, str) else from_config(name)
    rest = {k: _decode(v) for k, v in config.items() if k not in ("name", "args")}
    return factory(*map(_decode, config.get("args", ())), **rest)

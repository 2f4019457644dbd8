"""Every validation of the house, and its sentence.

An argument's name is its contract: `RANGES` gives the values that a hyperparameter of that name may have, in every
factory; a factory whose argument means something else under that name says so where it is registered.
"""

import contextlib
import difflib
import inspect
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .mistakes import (
    Mistake as Mistake,
    Name as Name,
    TracedError as TracedError,
    caller as caller,
    entrance as entrance,
    fail as fail,
    mistake as mistake,
    naming as naming,
    need as need,
    speaking_of as speaking_of,
)


def is_traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray)


def is_key(x: Any) -> bool:
    """Whether `x` is a PRNG key."""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def is_number(x: Any) -> bool:
    """A concrete Python or NumPy real number; booleans are not."""
    return isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)


def shown(x: Any) -> str:
    """A short, readable form of a value that was not expected."""
    if is_traced(x) or (is_array(x) and x.shape != ()):
        return f"an array of shape {x.shape} and dtype {x.dtype}"
    if is_array(x):
        return repr(x.item()) if x.dtype.kind in "biufc" else f"an array of dtype {x.dtype}"
    if isinstance(x, np.generic):
        return repr(x.item())
    if callable(x) and hasattr(x, "__name__"):
        return f"the {'class' if inspect.isclass(x) else 'function'} {x.__name__}"
    if any(map(is_array, jax.tree.leaves(x))):
        return _told(x)
    text = without_address(repr(x))
    return text if len(text) <= 60 else f"{text[:57]}..."


def function_name(f: Any) -> str:
    """What a `repr` calls a function: `sophia.update` for one inside another; the outer's name for a lambda there."""
    path = getattr(f, "__qualname__", type(f).__name__).split(".")
    return ".".join(part.lstrip("_") for part in path if "<" not in part) or "lambda"


def without_address(text: str) -> str:
    """A `repr` without the place in memory that Python's own ends with."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _told(tree: Any) -> str:
    """What a tree of arrays is, in place of all that is in it."""
    if isinstance(tree, Mapping):
        return f"a dict with the keys {', '.join(map(repr, list(tree)[:4]))}{', ...' if len(tree) > 4 else ''}"
    plain = type(tree) in (tuple, list)
    return _a(type(tree).__name__) + (f" of {', '.join(map(shown, tree[:4]))}" if plain else "")


def _a(word: str) -> str:
    return f"{'an' if word[:1] in 'AEIOUaeiou' else 'a'} {word}"


def written(signature: inspect.Signature) -> str:
    """A signature as one calls it: names and defaults."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


def near(name: str, known: Iterable[str], n: int = 3) -> str:
    """`; did you mean 'adam' or 'adamw'?`, or nothing."""
    folded = {k.lower(): k for k in known}
    close = [folded[k] for k in difflib.get_close_matches(name.lower(), folded, n, 0.6)]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


@dataclass(frozen=True)
class Range:
    """An interval of the reals.

    `schedule` tells whether a function of the count may stand for a number, `optional` whether None may; where None is
    the default it may anyhow.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    schedule: bool = False
    integer: bool = False
    optional: bool = False

    def __contains__(self, x: float) -> bool:
        above = x > self.low if self.open_low else x >= self.low
        below = x < self.high if self.open_high else x <= self.high
        return above and below

    def __str__(self) -> str:
        if self.integer:
            return "an integer" if math.isinf(self.low) else f"an integer >= {int(self.low)}"
        if math.isinf(self.high):
            if math.isinf(self.low):
                return "a finite number"
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"

    def outside(self) -> list[float]:
        """Numbers that are refused: what the tests feed to every factory."""
        found = [math.nan, math.inf]
        if not math.isinf(self.low):
            found += [self.low - 1, *([self.low] if self.open_low else [])]
        if not math.isinf(self.high):
            found += [self.high + 0.5, *([self.high] if self.open_high else [])]
        return [*found, max(self.low, 0) + 1.5] if self.integer else found


DECAY = Range(0, 1, open_high=True)
CLOSED_UNIT = Range(0, 1)
NON_NEGATIVE = Range(0)
POSITIVE = Range(0, open_low=True)
REAL = Range()
STEPS = Range(0, integer=True)
RATE = Range(0, schedule=True)

RANGES: dict[str, Range] = {
    **dict.fromkeys(["b1", "b2", "b3", "beta", "decay", "rho"], DECAY),
    **dict.fromkeys(["eps", "eps_root", "initial_scale", "initial_accumulator_value"], NON_NEGATIVE),
    **dict.fromkeys(["max_norm", "max_delta", "clipping", "threshold"], POSITIVE),
    "momentum": CLOSED_UNIT,
    "learning_rate": RATE,
    "weight_decay": RATE,
}


def function(name: str, value: Any, what: str = "a function", arity: int | None = None) -> None:
    """Refuse what is no function, or one that cannot be called with `arity` arguments."""
    if not callable(value):
        fail(f"{name} must be {what}, got {shown(value)}", TypeError)
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # it does not tell
        return
    if arity is not None:
        try:
            signature.bind(*[None] * arity)
        except TypeError:
            got = f"{shown(value)}, which takes {written(signature)}{called(value)}"
            fail(f"{name} must be {what}, got {got}", TypeError)


def called(x: Any) -> str:
    """`; did you mean adam(...)?` for a function or class that has a name."""
    name = getattr(x, "__name__", "<lambda>")
    return f"; did you mean {name}(...)?" if callable(x) and name != "<lambda>" else ""


def state(x: Any, *classes: Any) -> None:
    """Refuse what has not the fields of any of these named tuples; where none is known anything passes."""
    if classes and getattr(x, "_fields", None) not in [known._fields for known in classes]:
        fail(f"state must be {' or '.join(_a(known.__name__) for known in classes)}, got {shown(x)}", TypeError)


def names_dtype(name: str) -> bool:
    """Whether an argument of this name is a dtype: mu_dtype, dtype_momentum."""
    return "dtype" in name.split("_")


def dtype(name: str, value: Any) -> None:
    """Refuse what is no dtype in which an average could move; JAX does not compute with 8 bits."""
    got = shown(value)
    with contextlib.suppress(TypeError):
        found = jnp.dtype(value)
        if jnp.issubdtype(found, jnp.inexact) and found.itemsize > 1:
            return
        got = str(found)
    fail(f"{name} must be a floating or complex dtype of at least 16 bits, got {got}", TypeError)


def argument(name: str, value: Any, range_: Range) -> None:
    """Refuse a concrete value outside `range_`. Tracers pass; their shape must still be ()."""
    what = "a number, an array of shape () or a schedule" if range_.schedule else "a number"
    if callable(value):
        if range_.schedule:
            function(name, value, what, arity=1)
            return
        fail(
            f"{name} must be {range_}, got {shown(value)}; to change it over time, wrap the "
            "factory: inject_hyperparams(factory)(...)",
            TypeError,
        )
    if is_array(value):
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.number):
            fail(f"{name} must be a scalar {range_}, got {shown(value)}", TypeError)
        if is_traced(value):
            return
    elif not is_number(value):
        fail(f"{name} must be {what}, got {shown(value)}", TypeError)
    x = value.item() if isinstance(value, np.generic) or is_array(value) else value
    whole = not range_.integer or (not isinstance(x, complex) and x == int_or_nan(x))
    if not isinstance(x, complex) and not math.isfinite(x):
        fail(f"{name} must be finite and {range_}, got {shown(value)}")
    if isinstance(x, complex) or x not in range_ or not whole:
        fail(f"{name} must be {range_}, got {shown(value)}")


def int_or_nan(x: float) -> float:
    return int(x) if math.isfinite(x) else math.nan


def arguments(bound: inspect.BoundArguments, ranges: Mapping[str, Range]) -> None:
    """Check every argument whose name tells what it may be. `None` is legal where it is the default."""
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].annotation is bool and not isinstance(value, bool | np.bool_):
            fail(f"{name} must be True or False, got {shown(value)}", TypeError)
        if names_dtype(name) and value is not None:
            dtype(name, value)
        optional = bound.signature.parameters[name].default is None
        if name in ranges and not (value is None and (optional or ranges[name].optional)):
            argument(name, value, ranges[name])


SYNONYMS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "alpha": ("learning_rate",),
    "step_size": ("learning_rate",),
    "learningrate": ("learning_rate",),
    "beta1": ("b1", "beta_1"),
    "beta_1": ("b1",),
    "beta2": ("b2", "beta_2"),
    "beta_2": ("b2",),
    "b1": ("beta_1",),
    "b2": ("beta_2",),
    "betas": ("b1",),
    "epsilon": ("eps",),
    "eps": ("epsilon",),
    "rho": ("decay",),
    "wd": ("weight_decay",),
    "l2": ("weight_decay",),
    "max_grad_norm": ("max_norm", "clipnorm"),
    "global_clipnorm": ("max_norm", "clipnorm"),
    "clip_norm": ("clipnorm",),
    "clip_value": ("clipvalue",),
    "gradient_clip_norm": ("clipnorm",),
    "lr_decay": ("decay",),
}


def suggest(word: str, known: Iterable[str]) -> str:
    """The right word for a wrong keyword, as the tail of a sentence."""
    known = list(known)
    exact = [k for k in SYNONYMS.get(word.lower(), ()) if k in known]
    return f"; did you mean {exact[0]!r}?" if exact else near(word, known, n=1)


def hyperparameters(word: str) -> list[str]:
    """The hyperparameters that `word` may mean: itself, and those it is a synonym of."""
    return [name for name in (word, *SYNONYMS.get(word.lower(), ())) if name in RANGES]


def bind(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """`signature.bind`, whose error names the factory and the word to type instead."""
    names = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for word in kwargs:
        if word not in names and not open_ended:
            hint = suggest(word, names) or (f"; it takes {', '.join(names)}" if names else "")
            fail(f"no argument {word!r}{hint}", TypeError)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        fail(f"{error}; it is called as {written(signature)}", TypeError)
    bound.apply_defaults()
    return bound

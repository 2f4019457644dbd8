"""Checks of arguments, each with its sentence."""

import contextlib
import inspect
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .errors import fail
from .ranges import RANGES, Range
from .values import is_array, is_number, is_traced, near, shown, with_article, written


def function(name: str, value: Any, what: str = "a function", arity: int | None = None) -> None:
    """Refuse a value that is not a function, or a function that cannot be called with `arity` arguments."""
    if not callable(value) or inspect.isclass(value):
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


def choice(name: str, value: Any, options: Iterable[str]) -> None:
    """Refuse a value that is none of these words."""
    options = list(options)
    if not (isinstance(value, str) and value in options):
        *others, last = map(repr, options)
        listed = f"{', '.join(others)} or {last}" if others else last
        hint = near(value, options, n=1) if isinstance(value, str) else ""
        fail(f"{name} must be {listed}, got {shown(value)}{hint}")


def axis_name(name: str, value: Any) -> None:
    """Refuse what names no axis of `pmap` or `shard_map`."""
    names = value if isinstance(value, tuple) else (value,)
    if value is not None and not (names and all(isinstance(n, str) and n for n in names)):
        fail(f"{name} must be the name of an axis, or a tuple of names, got {shown(value)}", TypeError)


def called(x: Any) -> str:
    """`; did you mean adam(...)?` for a function or class that has a name."""
    name = getattr(x, "__name__", "<lambda>")
    return f"; did you mean {name}(...)?" if callable(x) and name != "<lambda>" else ""


def state(x: Any, *classes: Any) -> None:
    """Refuse a state that has the fields of none of these named tuples; without classes any state passes.

    The state of a stateless transformation may be written as None or ().
    """
    if classes and getattr(x, "_fields", None) not in [cls._fields for cls in classes]:
        if (x is None or (type(x) is tuple and not x)) and any(not cls._fields for cls in classes):
            return
        wanted = " or ".join(with_article(cls.__name__) for cls in classes)
        fail(f"state must be {wanted}, got {shown(x)}", TypeError)


def names_dtype(name: str) -> bool:
    """Whether an argument of this name is a dtype: mu_dtype, dtype_momentum."""
    return "dtype" in name.split("_")


def dtype(name: str, value: Any) -> None:
    """Refuse dtypes other than floating and complex ones of at least 16 bits; JAX does not compute with 8 bits."""
    got = shown(value)
    if not is_array(value):
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
    if isinstance(x, int) and abs(x) > sys.float_info.max:
        fail(f"{name} must be {range_}, got an integer of {len(str(abs(x)))} digits")
    whole = not range_.integer or (not isinstance(x, complex) and x == int_or_nan(x))
    if range_.infinite and x == math.inf:
        return
    if not isinstance(x, complex) and not math.isfinite(x):
        fail(f"{name} must be finite and {range_}, got {shown(value)}")
    if isinstance(x, complex) or x not in range_ or not whole:
        fail(f"{name} must be {range_}, got {shown(value)}")


def int_or_nan(x: float) -> float:
    return int(x) if math.isfinite(x) else math.nan


def labels(name: str) -> bool:
    """Whether an argument of this name is a tree with an entry for every parameter, or a function that makes one."""
    return name.endswith(("mask", "dimension_numbers")) or name in ("param_labels", "by", "heads", "split")


def arguments(bound: inspect.BoundArguments, ranges: Mapping[str, Range]) -> None:
    """Check every argument whose name tells what it may be. `None` is legal where it is the default."""
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].annotation is bool and not isinstance(value, bool | np.bool_):
            fail(f"{name} must be True or False, got {shown(value)}", TypeError)
        if names_dtype(name) and value is not None:
            dtype(name, value)
        if labels(name) and callable(value) and jax.tree_util.all_leaves([value]):
            function(name, value, "a tree with an entry for every parameter, or a function params -> such a tree", 1)
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


def suggest(word: str, names: Iterable[str]) -> str:
    """The right word for a wrong keyword, as the tail of a sentence."""
    names = list(names)
    exact = [k for k in SYNONYMS.get(word.lower(), ()) if k in names]
    return f"; did you mean {exact[0]!r}?" if exact else near(word, names, n=1)


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

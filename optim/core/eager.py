"""Updates outside `jit`: one compiled program for all equal transformations.

An update called with concrete arrays runs a program that was compiled for its call, if nothing in the call can change
behind the program: every value is data, a registered factory, or what such a factory made. A bare function of the
user's (a schedule, a mask, a label function) is called each time, so its update runs one operation at a time. Arrays
among the hyperparameters are inputs of the program: a new learning rate is not a new program. A program lives as long
as the transformations that use it. Under `jit`, `vmap`, `grad` nothing of this happens.
"""

import contextvars
import enum
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from .. import checks
from ..types import Grain
from .record import Call, Recorded, inside, is_dtype, leaves
from .registry import entry_of

Update = Callable[..., Any]
_config: Any = jax.config  # untyped in jax

# A registered function that looks at values cannot be compiled; its update then runs one operation at a time.
_UNCOMPILABLE = (
    checks.TracedError,
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
)


class _Program:
    """A compiled update of the transformation that `make` makes of arrays."""

    def __init__(self, make: Callable[[list[Any]], Any]) -> None:
        def update(words: Any, arrays: list[Any], updates: Any, state: Any, params: Any, extra: Any) -> Any:
            return make(arrays).update(updates, state, params, **extra, **dict(words))

        self.run = jax.jit(update, static_argnums=0)


# Whether members may run compiled; not while the whole cannot be.
_compiling: contextvars.ContextVar[bool] = contextvars.ContextVar("optim_compiling", default=True)
_programs: weakref.WeakValueDictionary[Any, _Program] = weakref.WeakValueDictionary()


def compiled(call: Call, update: Update, grain: Grain | None) -> Update:
    """`update`, the update of what `call` made, which runs compiled where its arguments are concrete."""
    if grain is None or not all(map(_is_fixed, leaves(call))):
        return update
    arrays: list[Any] = []
    make = _recipe(call, arrays)
    program: _Program | None = None
    compilable = True

    def dispatch(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        nonlocal program, compilable
        data, words = data_and_rest(extra_args)
        inputs = jax.tree.leaves((updates, state, params, data))
        fixed = compilable and _compiling.get() and all(_is_fixed(word) for _, word in words)
        if not (fixed and _may_run(inputs) and jax.tree.leaves(updates)):
            return update(updates, state, params, **extra_args)
        if program is None:
            program = _programs.setdefault(_key(call), _Program(make))
        try:
            return program.run(words, arrays, updates, state, params, data)
        except _UNCOMPILABLE as error:
            why = str(error).splitlines()[0]
        except ValueError:
            if not _are_apart(inputs):
                raise
            why = "its arrays are on different devices"
        compilable = False
        warnings.warn(f"{call.name}: outside jit its updates run one operation at a time: {why}", stacklevel=3)
        token = _compiling.set(False)
        try:
            return update(updates, state, params, **extra_args)
        finally:
            _compiling.reset(token)

    dispatch.__qualname__ = update.__qualname__
    return dispatch


def run(program: Callable[..., Any], plain: Callable[..., Any], *args: Any) -> Any:
    """`program`, the compiled form of `plain`, where the arguments are concrete and lie together; else `plain`."""
    inputs = jax.tree.leaves(args)
    return (program if _may_run(inputs) and not _are_apart(inputs) else plain)(*args)


def _are_apart(inputs: list[Any]) -> bool:
    """Whether arrays are committed to different devices, so that no program takes them all."""
    shardings = {x.sharding for x in inputs if isinstance(x, jax.Array) and x.committed}
    return len({s._device_assignment for s in shardings}) > 1


def _may_run(inputs: list[Any]) -> bool:
    return not _config.jax_disable_jit and all(map(_is_concrete, inputs))


def _is_concrete(x: Any) -> bool:
    return _is_data(x) and not isinstance(x, jax.core.Tracer) and getattr(x, "dtype", None) != jax.dtypes.float0


def _is_data(x: Any) -> bool:
    return checks.is_array(x) or isinstance(x, bool | int | float | complex)


def data_and_rest(extra_args: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, Any], ...]]:
    """Extra arguments that a program takes as inputs, and the others, which are a part of it: functions, strings."""
    if not extra_args:  # most steps have none, and the lines below take microseconds
        return {}, ()
    data = {k: v for k, v in extra_args.items() if all(map(_is_data, jax.tree.leaves(v)))}
    return data, tuple((k, v) for k, v in extra_args.items() if k not in data)


# The values of a call


def _is_fixed(x: Any) -> bool:
    """Whether a value cannot change behind a program: data, or a registered factory or function."""
    if checks.is_traced(x):
        return False
    plain = x is None or isinstance(x, str | bytes | np.generic | enum.Enum)
    return plain or _is_data(x) or is_dtype(x) or entry_of(x) is not None


def _key(x: Any) -> Any:
    """A key that two calls share if their programs are the same: arrays count by shape and dtype."""
    if checks.is_array(x):
        return (
            x.shape,
            str(x.dtype),
            str(jax.random.key_impl(x)) if checks.is_key(x) else getattr(x, "weak_type", False),
        )
    call = x.call if isinstance(x, Recorded) else x
    if isinstance(call, Call):
        factory = _key(call.factory) if isinstance(call.factory, Recorded) else call.factory
        return factory, tuple((name, _key(value)) for name, value in call.arguments.items())
    parts = inside(x)
    if parts is not None:
        return type(x), tuple(zip(map(_key, parts.names), map(_key, parts.values), strict=True))
    return type(x), str(np.dtype(x)) if is_dtype(x) else x


def _recipe(x: Any, arrays: list[Any]) -> Callable[[list[Any]], Any]:
    """A function that makes `x` anew of given arrays. It refers to none of the arrays in `x`, which join `arrays`."""
    if checks.is_array(x):
        arrays.append(x)
        i = len(arrays) - 1
        return lambda given: given[i]
    parts = inside(x)
    if parts is None:
        return lambda given: x
    rebuilt, recipes = parts.rebuilt, [_recipe(value, arrays) for value in parts.values]
    return lambda given: rebuilt([recipe(given) for recipe in recipes])

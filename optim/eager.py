"""Updates outside `jit`: one compiled program for all equal transformations.

An update called with concrete arrays runs a program that was compiled for its call: once for each structure of its
arguments, whoever made the transformation. Arrays among the hyperparameters are inputs of the program, so a new
learning rate is not a new program. Under `jit`, `vmap`, `grad` nothing of this happens.
"""

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from . import checks
from .record import Call, Recorded, is_key

Update = Callable[..., Any]
_config: Any = jax.config  # untyped in jax

# A function of the user's that looks at values cannot be compiled; its update then runs one operation at a time.
_UNCOMPILABLE = (
    checks.TracedError,
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
)


class _Program:
    """A compiled update. Programs are equal if their calls are, arrays by shape and dtype."""

    def __init__(self, call: Call, update: Update) -> None:
        self.call, self.update = call, update
        self.key = _abstract(call)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=256)
def _compiled(program: _Program) -> Any:
    def update(arrays: list[Any], static: tuple[Any, ...], updates: Any, state: Any, params: Any, extra: Any) -> Any:
        run = _with_arrays(program.call, iter(arrays)).update if arrays else program.update
        return run(updates, state, params, **extra, **dict(static))

    return jax.jit(update, static_argnums=1)


def compiled(call: Call, update: Update) -> Update:
    """`update`, the update of what `call` made, which runs compiled where its arguments are concrete."""
    arrays: list[Any] = list(_arrays(call))
    if any(map(checks.is_traced, arrays)):
        return update
    program: Any = None

    def dispatch(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        nonlocal program
        dynamic, static = data_and_rest(extra_args)
        concrete = all(map(_is_concrete, jax.tree.leaves((updates, state, params, dynamic))))
        if (
            program is False
            or not concrete
            or not jax.tree.leaves(updates)  # nothing to do, perhaps a group without parameters in a trace
            or _config.jax_disable_jit
            or not all(isinstance(v, Hashable) for _, v in static)
        ):
            return update(updates, state, params, **extra_args)
        try:
            if program is None:
                program = _compiled(_Program(call, update))
            return program(arrays, static, updates, state, params, dynamic)
        except _UNCOMPILABLE:
            program = False
            return update(updates, state, params, **extra_args)

    dispatch.__qualname__ = update.__qualname__
    return dispatch


def data_and_rest(extra_args: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, Any], ...]]:
    """Extra arguments that a program takes as inputs, and those that are a part of it: functions, words."""
    data = {k: v for k, v in extra_args.items() if all(map(_is_data, jax.tree.leaves(v)))}
    return data, tuple((k, v) for k, v in extra_args.items() if k not in data)


def _is_data(x: Any) -> bool:
    return checks.is_array(x) or isinstance(x, bool | int | float | complex)


def _is_concrete(x: Any) -> bool:
    return _is_data(x) and not isinstance(x, jax.core.Tracer) and getattr(x, "dtype", None) != jax.dtypes.float0


# Arrays inside a call


def _walk(x: Any, visit: Callable[[Any], Any], remade: Callable[[Call, Any, Any], Any]) -> Any:
    if checks.is_array(x) and (isinstance(x, jax.Array | np.ndarray)):
        return visit(x)
    if isinstance(x, Recorded) and x.call is not None:
        return _walk(x.call, visit, remade)
    if isinstance(x, Call):
        args = [_walk(v, visit, remade) for v in x.args]
        return remade(x, args, {k: _walk(v, visit, remade) for k, v in x.kwargs.items()})
    if isinstance(x, Mapping):
        return {k: _walk(v, visit, remade) for k, v in x.items()}
    if type(x) in (list, tuple):
        return type(x)(_walk(v, visit, remade) for v in x)
    return x


def _arrays(call: Call) -> Iterator[Any]:
    found: list[Any] = []
    _walk(call, found.append, lambda *_: None)
    return iter(found)


def _abstract(call: Call) -> Call:
    """The call with shapes and dtypes in the places of its arrays."""

    def shape(x: Any) -> Any:
        return (x.shape, str(x.dtype), str(jax.random.key_impl(x)) if is_key(x) else getattr(x, "weak_type", False))

    def remade(call: Call, args: Any, kwargs: Any) -> Call:
        bound = call.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return Call(call.name, tuple(args), kwargs, bound, call.factory)

    abstract: Call = _walk(call, shape, remade)
    return abstract


def _with_arrays(call: Call, arrays: Iterator[Any]) -> Any:
    """What the call makes with other arrays in their places."""
    return _walk(call, lambda _: next(arrays), lambda call, args, kwargs: call.factory(*args, **kwargs))

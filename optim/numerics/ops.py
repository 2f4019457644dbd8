"""Arithmetic that is cheap to trace.

The operators of an array trace a function of their own for every shape; `jax.lax` does not.
"""

import functools
import operator
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax

from .. import checks
from ..types import Array

T = TypeVar("T")
_Op = Callable[[Any, Any], Array]


def _by_lax(fast: _Op, plain: _Op) -> _Op:
    """`fast` where both operands have one dtype and one shape, a scalar aside; `plain` elsewhere."""

    def op(x: Any, y: Any) -> Array:
        if isinstance(y, float):
            y = np.asarray(y, x.dtype)
        elif isinstance(x, float):
            x = np.asarray(x, y.dtype)
        same = x.dtype == y.dtype and (x.shape == y.shape or x.shape == () or y.shape == ())
        return fast(x, y) if same else plain(x, y)

    return op


add = _by_lax(lax.add, operator.add)
sub = _by_lax(lax.sub, operator.sub)
mul = _by_lax(lax.mul, operator.mul)
div = _by_lax(lax.div, operator.truediv)


def staged(x: Any) -> bool:
    """Whether `x` is being traced into a program, and not evaluated one operation at a time."""
    return isinstance(x, jax.core.Tracer) and type(x).__name__ in ("JitTracer", "DynamicJaxprTracer")


def branch(taken: Any, do: Callable[..., T], leave: Callable[..., T], *operands: Any) -> T:
    """`lax.cond` by a number: a GPU's compiler forgets the shardings of what a condition by a truth value returns."""
    index = lax.convert_element_type(taken, np.int32)
    out: T = lax.switch(index, [leave, do], *operands)
    return out


def everywhere(condition: Array, axis_name: Any) -> Array:
    """Whether a condition holds on all devices along these axes of `pmap` or `shard_map`."""
    least: Any = lax.pmin  # untyped in jax
    try:
        return lax.gt(least(lax.convert_element_type(condition, np.int32), axis_name), np.int32(0))
    except NameError:
        what = f"axis_name is {axis_name!r}, which is no axis here: call update inside pmap or shard_map over it"
        return checks.fail(what, ValueError)


def shared(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f(t, *numbers)` computed once for all leaves that share `t`, an array, in one trace."""
    values: dict[Any, Any] = {}

    @functools.wraps(f)
    def once(t: Any, *numbers: Any) -> Any:
        if not (staged(t) and all(isinstance(x, float | np.dtype) for x in numbers)):
            return f(t, *numbers)
        key = (id(t), *numbers)
        owner, value = values.get(key, (None, None))
        if owner is None or owner() is not t:
            value = f(t, *numbers)
            values[key] = weakref.ref(t, lambda _: values.pop(key, None)), value
        return value

    return once

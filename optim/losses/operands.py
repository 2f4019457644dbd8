"""Operands of losses: arrays of one shape in at least float32, masks, axes, labels, parameters."""

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .. import checks, numerics
from ..types import Array, DType, Scalar

Axes: TypeAlias = int | Sequence[int] | None
Shape: TypeAlias = tuple[int, ...]


def array(name: str, x: ArrayLike) -> Array:
    """`x` as an array; lists and other objects are refused."""
    if not (checks.is_array(x) or isinstance(x, bool | int | float | np.generic) or hasattr(x, "__jax_array__")):
        checks.fail(f"{name} must be an array, got {checks.shown(x)}", TypeError)
    return jnp.asarray(x)


def _is_floating(x: Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating)) and x.dtype.itemsize > 1


def floating(name: str, x: ArrayLike) -> Array:
    """`x` as a floating array of at least 16 bits; JAX does not compute with 8 bits."""
    out = array(name, x)
    if not _is_floating(out):
        checks.fail(f"{name} must be a floating array of at least 16 bits, got {_described(out)}", TypeError)
    return out


def real(name: str, x: ArrayLike) -> Array:
    """`x` as an array of real numbers, integers or booleans."""
    out = array(name, x)
    if not (_is_floating(out) or out.dtype == bool or jnp.issubdtype(out.dtype, jnp.integer)):
        checks.fail(f"{name} must be an array of real numbers, got {_described(out)}", TypeError)
    return out


def _described(x: Array) -> str:
    return f"an array of shape {x.shape} and dtype {x.dtype}"


def common_dtype(*arrays: Array) -> DType:
    """The dtype that JAX's default promotion gives the floating ones among `arrays`."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*(x for x in arrays if _is_floating(x)))


def widened(*arrays: Array) -> list[Array]:
    """The arrays in one dtype of at least float32."""
    dtype = numerics.wide_dtype(common_dtype(*arrays))
    return [x.astype(dtype) for x in arrays]


def matched(*, scalars: bool = False, **named: ArrayLike) -> tuple[list[Array], DType]:
    """Arrays of one shape in one dtype of at least float32, and the dtype of the result.

    The first must be floating, the others may be integers. `scalars` allows numbers in place of the others.
    """
    (first, x), *others = named.items()
    arrays = [floating(first, x), *(real(name, y) for name, y in others)]
    for (name, _), y in zip(others, arrays[1:], strict=True):
        if y.shape != arrays[0].shape and not (scalars and y.shape == ()):
            checks.fail(f"{name} has shape {y.shape}, {first} has {arrays[0].shape}")
    return widened(*arrays), common_dtype(*arrays)


def axes(axis: Axes, shape: Shape, name: str) -> tuple[int, ...]:
    """The dimensions that `axis` names, counted from the front, in its order. None is all of them."""
    if axis is None:
        return tuple(range(len(shape)))
    try:
        listed = [operator.index(a) for a in (axis if isinstance(axis, Sequence) else [axis])]
    except TypeError:
        checks.fail(f"axis must be an integer, a tuple of integers or None, got {checks.shown(axis)}", TypeError)
    if not all(-len(shape) <= a < len(shape) for a in listed):
        checks.fail(f"axis must name dimensions of {name}, which has shape {shape}, got {axis}")
    found = tuple(a % len(shape) for a in listed)
    if len(set(found)) < len(found):
        checks.fail(f"axis must name every dimension once, got {axis}")
    return found


def without(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """The shape that is left when `axes` are reduced."""
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _broadcasts(shape: Shape, to: Shape) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def mask(where: ArrayLike | None, shape: Shape, name: str, *, examples: tuple[int, ...] | None = None) -> Array | None:
    """`where` as a boolean array of the given shape, which is that of `name`.

    With `examples`, the dimensions of the classes, it may have the shape of the others: a mask of examples.
    """
    if where is None:
        return None
    out = array("where", where)
    if out.dtype != bool:
        checks.fail(f"where must be a boolean array, got {_described(out)}", TypeError)
    if examples is not None and out.shape == without(shape, examples):
        out = jnp.expand_dims(out, examples)
    if not _broadcasts(out.shape, shape):
        checks.fail(f"where must broadcast to the shape {shape} of {name}, got shape {out.shape}")
    return jnp.broadcast_to(out, shape)


def integers(name: str, labels: ArrayLike, shape: Shape) -> Array:
    """`labels` as an array of the given shape and of integers of at least 32 bits."""
    out = array(name, labels)
    if not jnp.issubdtype(out.dtype, jnp.integer):
        checks.fail(f"{name} must be an array of integers, got {_described(out)}", TypeError)
    if out.shape != shape:
        checks.fail(f"{name} must have shape {shape}, got {out.shape}")
    return out.astype(jnp.int32) if out.dtype.itemsize < 4 else out  # so that they can count any number of classes


def parameter(name: str, value: Any, range_: checks.Range, x: Array, what: str) -> Scalar:
    """A parameter ready to meet `x`: a number, or an array that broadcasts to the shape of `x`, which is `what`.

    Concrete values are checked against `range_`.
    """
    if not checks.is_array(value) or value.shape == ():
        checks.argument(name, value, range_)
        return numerics.like(x, value)
    if not jnp.issubdtype(value.dtype, jnp.number) or jnp.iscomplexobj(value):
        checks.fail(f"{name} must be an array of real numbers, got {checks.shown(value)}", TypeError)
    if not _broadcasts(value.shape, x.shape):
        checks.fail(f"{name} must broadcast to the shape {x.shape} of {what}, got shape {value.shape}")
    if not checks.is_traced(value):
        for bad in (v for v in np.asarray(value, np.float64).ravel().tolist() if v not in range_ or not np.isfinite(v)):
            checks.fail(f"{name} must be {range_}, got an array with an element {bad:g}")
    return numerics.like(x, value)


def at_labels(x: Array, labels: Array, axis: int) -> Array:
    """The element of `x` along `axis` at each label. As in NumPy -1 is the last; a label outside [-n, n) gives NaN."""
    return jnp.squeeze(jnp.take_along_axis(x, jnp.expand_dims(labels, axis), axis, mode="fill"), axis)


def one_hot(labels: Array, shape: Shape, axis: int) -> Array:
    """True along `axis` at the labels, which may be negative as in `at_labels`."""
    index = jnp.expand_dims(jnp.where(labels < 0, labels + shape[axis], labels), axis)
    return lax.broadcasted_iota(index.dtype, shape, axis) == index


def weighted(weight: Array, x: Array) -> Array:
    """weight x, and 0 where the weight is 0 and x is infinite."""
    unused = (weight == 0) & jnp.isinf(x)
    return weight * jnp.where(unused, 0, x)

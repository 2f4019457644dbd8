"""Leaves as matrices: which axes are rows, which are columns, and which count matrices."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from . import checks, tree
from .types import Array, Tree


class DimensionNumbers(Protocol):
    """The axes that a matrix takes, and those that it gives."""

    @property
    def reduction_axis(self) -> int | Sequence[int]: ...

    @property
    def output_axis(self) -> int | Sequence[int]: ...


def is_numbers(x: Any) -> bool:
    return hasattr(x, "reduction_axis") and hasattr(x, "output_axis")


def numbers_of(given: Any, over: Tree, updates: Tree) -> list[DimensionNumbers | None]:
    """The dimension numbers of each leaf of `updates`, from a tree of them, a prefix, or a function giving one."""
    if given is not None and not is_numbers(given) and tree.is_function(given):
        given = given(over)
    out: list[Any] = []

    def spread(numbers: Any, branch: Tree) -> None:
        out.extend([numbers] * len(tree.flatten(branch)[0]))

    try:
        jax.tree.map(spread, given, updates, is_leaf=lambda x: x is None or is_numbers(x))
    except ValueError as error:
        checks.fail(f"weight_dimension_numbers must be a prefix of the parameters' tree: {str(error).splitlines()[0]}")
    return out


def as_matrices(x: Array, numbers: DimensionNumbers | None) -> tuple[Array, Callable[[Array], Array]]:
    """`x` as a stack of matrices, and the way back; without numbers the last two axes are the matrix's."""
    if numbers is None:
        shape = x.shape if x.ndim >= 2 else (1, x.size)
        return x.reshape(shape), lambda y: y.reshape(x.shape)
    rows, columns = (_axes(a, x.ndim) for a in (numbers.reduction_axis, numbers.output_axis))
    if set(rows) & set(columns):
        checks.fail(f"the axes {rows} and {columns} of a matrix must be different ones")
    stack = [i for i in range(x.ndim) if i not in rows + columns]
    order = [*stack, *rows, *columns]
    moved = jnp.transpose(x, order)
    sizes = [1, 1]
    for i, axes in enumerate((rows, columns)):
        for a in axes:
            sizes[i] *= x.shape[a]
    matrices = moved.reshape(*(x.shape[i] for i in stack), *sizes)
    inverse = [order.index(i) for i in range(x.ndim)]
    return matrices, lambda y: jnp.transpose(y.reshape(moved.shape), inverse)


def _axes(axes: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    for a in given:
        if not -ndim <= a < ndim:
            checks.fail(f"a leaf of {ndim} axes has no axis {a}")
    return tuple(a % ndim for a in given)

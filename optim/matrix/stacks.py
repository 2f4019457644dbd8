"""Leaves as stacks of matrices: which axes are rows, which are columns, and which index the stack."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax.numpy as jnp

from .. import checks, tree
from ..types import Array, Tree


class DimensionNumbers(Protocol):
    """The input and output axes of the matrices in a leaf."""

    @property
    def reduction_axis(self) -> int | Sequence[int]: ...

    @property
    def output_axis(self) -> int | Sequence[int]: ...


def is_numbers(x: Any) -> bool:
    return hasattr(x, "reduction_axis") and hasattr(x, "output_axis")


def numbers_of(given: Any, over: Tree, updates: Tree) -> list[DimensionNumbers | None]:
    """The dimension numbers of each leaf of `updates`, from a tree of them, a prefix, or a function returning one."""
    if given is not None and not is_numbers(given) and tree.is_function(given):
        given = given(over)
    name = "weight_dimension_numbers"
    numbers_by_leaf = tree.spread(given, updates, name, lambda x: x is None or is_numbers(x))
    for i, numbers in enumerate(numbers_by_leaf):
        if not (numbers is None or is_numbers(numbers)):
            where, got = tree.paths(updates)[i], checks.shown(numbers)
            checks.fail(f"{name}{where} must have reduction_axis and output_axis, got {got}", TypeError)
    return numbers_by_leaf


def as_matrices(x: Array, numbers: DimensionNumbers | None) -> tuple[Array, Callable[[Array], Array]]:
    """`x` as a stack of matrices, and the inverse; by default the last two axes are those of the matrices."""
    stack, rows, columns = axes_of_matrices(x.shape, numbers)
    order = [*stack, *rows, *columns]
    moved = jnp.transpose(x, order)
    sizes = [math.prod(x.shape[i] for i in axes) for axes in (rows, columns)]
    matrices = moved.reshape(*(x.shape[i] for i in stack), *sizes)
    inverse = [order.index(i) for i in range(x.ndim)]
    return matrices, lambda y: jnp.transpose(y.reshape(moved.shape), inverse)


def axes_of_matrices(shape: tuple[int, ...], numbers: DimensionNumbers | None) -> tuple[tuple[int, ...], ...]:
    """The axes that index the stack, those of the rows and those of the columns; a vector is one row."""
    n = len(shape)
    if numbers is None:
        return tuple(range(n - 2)), tuple(range(n - 2, n - 1) if n > 1 else ()), tuple(range(n - 1, n) if n else ())
    rows, columns = (axes_of(n, a) for a in (numbers.reduction_axis, numbers.output_axis))
    if set(rows) & set(columns):
        checks.fail(f"the axes {rows} and {columns} of a matrix must be disjoint")
    return tuple(i for i in range(n) if i not in rows + columns), rows, columns


def axes_of(ndim: int, axes: int | Sequence[int]) -> tuple[int, ...]:
    """One axis or several of an array, as non-negative numbers."""
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    for a in given:
        if not -ndim <= a < ndim:
            checks.fail(f"a leaf of {ndim} axes has no axis {a}")
    return tuple(a % ndim for a in given)

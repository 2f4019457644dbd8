"""Matrices of several parts along their columns, the outputs: fused projections and heads, each a matrix of its own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..types import Array, Tree
from .stacks import DimensionNumbers, axes_of_matrices


class Parts(NamedTuple):
    """The widths of the parts of a matrix, and the number of heads in each."""

    widths: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """For each part the number of its heads, and the width of one."""
        return [(h, w // h) for w, h in zip(self.widths, self.heads, strict=True)]


def _is_sizes(x: Any) -> bool:
    """A number, or several in a tuple or list, is about one leaf."""
    return x is None or isinstance(x, int) or (isinstance(x, tuple | list) and all(isinstance(i, int) for i in x))


def _spread(given: Any, over: Tree, updates: Tree, name: str) -> list[Any]:
    if given is not None and not _is_sizes(given) and tree.is_function(given):
        given = given(over)
    sizes = tree.spread(given, updates, name, _is_sizes)
    for path, x in zip(tree.paths(updates), sizes, strict=True):
        numbers = () if x is None else (x,) if isinstance(x, int) else x
        if not _is_sizes(x) or any(n < 1 for n in numbers):
            checks.fail(f"{name}{path} must be a positive integer or several, got {checks.shown(x)}")
    return sizes


def parts_of(
    heads: Any, split: Any, numbers: Sequence[DimensionNumbers | None], over: Tree, updates: Tree
) -> list[Parts | None]:
    """The parts of each leaf of `updates`; None for a leaf that has neither heads nor a split.

    Raises: ValueError naming the leaf, where the widths do not add up to its columns, or heads do not divide them.
    """
    found: list[Parts | None] = []
    columns = _spread(heads, over, updates, "heads"), _spread(split, over, updates, "split")
    leaves, paths = tree.flatten(updates)[0], tree.paths(updates)
    for x, n, path, h, s in zip(leaves, numbers, paths, *columns, strict=True):
        if tree.absent(x) or (h is None and s is None):
            found.append(None)
            continue
        _, _, outputs = axes_of_matrices(jnp.shape(x), n)
        width = int(np.prod([jnp.shape(x)[i] for i in outputs], dtype=int))
        widths = (width,) if s is None else (s,) if isinstance(s, int) else tuple(s)
        each = (1 if h is None else h,) * len(widths) if h is None or isinstance(h, int) else tuple(h)
        if sum(widths) != width:
            checks.fail(f"split{path} must add up to the {width} columns of the matrix, got {widths}")
        if len(each) != len(widths):
            checks.fail(f"heads{path} must be one number or {len(widths)}, got {each}")
        for w, k in zip(widths, each, strict=True):
            if w % k:
                checks.fail(f"heads{path} must divide the {w} columns, got {k}")
        found.append(Parts(widths, each))
    return found


def in_parts(f: Callable[[Array], Array], x: Array, parts: Parts | None) -> Array:
    """`f` on each part of a stack of matrices by itself; heads are matrices of one stack."""
    if parts is None:
        return f(x)
    out, start = [], 0
    for heads, width in parts.shapes:
        piece = x[..., start : start + heads * width]
        start += heads * width
        apart = jnp.moveaxis(piece.reshape(*x.shape[:-1], heads, width), -2, -3)
        out.append(jnp.moveaxis(f(apart), -3, -2).reshape(piece.shape))
    return jnp.concatenate(out, axis=-1)

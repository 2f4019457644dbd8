"""Arithmetic on trees, leaf by leaf.

Leaves are combined in at least float32 and rounded once, to the dtype that JAX promotes theirs to. Nothing is
broadcast: leaves of different shapes are an error. Where the first tree has `None`, the result has `None`.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import checks
from ..types import Array, Scalar, Tree
from .dtypes import compute, weak_scalar
from .places import as_array, flatten, map, paths, together


@checks.entrance("tree.add")
def add(tree_x: Tree, tree_y: Tree, *other_trees: Tree) -> Tree:
    """Sum of trees: tree_x + tree_y + ...

        add({"w": 1.0}, {"w": 2.0})  # {"w": 3.0}

    Args:
      tree_x, tree_y, other_trees: trees of one structure, with leaves of the same shapes.
    Raises:  ValueError naming the leaf whose shape differs.
    """
    trees = {"tree_x": tree_x, "tree_y": tree_y} | {f"other_trees[{i}]": t for i, t in enumerate(other_trees)}

    def total(first: Array, *others: Array) -> Array:
        for x in others:
            first = first + x
        return first

    return together(lambda *xs: compute(total, *xs), trees)


@checks.entrance("tree.sub")
def sub(tree_x: Tree, tree_y: Tree) -> Tree:
    """Difference of trees: tree_x - tree_y.

    Args:
      tree_x, tree_y: trees of one structure, with leaves of the same shapes.
    """
    return _pairwise(jnp.subtract, tree_x, tree_y)


@checks.entrance("tree.mul")
def mul(tree_x: Tree, tree_y: Tree) -> Tree:
    """Element-wise product of trees: tree_x * tree_y.

    Args:
      tree_x, tree_y: trees of one structure, with leaves of the same shapes.
    """
    return _pairwise(jnp.multiply, tree_x, tree_y)


@checks.entrance("tree.div")
def div(tree_x: Tree, tree_y: Tree) -> Tree:
    """Element-wise quotient of trees: tree_x / tree_y; integers give floating leaves.

    Args:
      tree_x, tree_y: trees of one structure, with leaves of the same shapes.
    """
    return _pairwise(jnp.true_divide, tree_x, tree_y)


def _pairwise(f: Callable[..., Array], tree_x: Tree, tree_y: Tree) -> Tree:
    return together(lambda x, y: compute(f, x, y), {"tree_x": tree_x, "tree_y": tree_y})


@checks.entrance("tree.scale")
def scale(scalar: Scalar, tree: Tree) -> Tree:
    """Product of a number and a tree: scalar * tree; every leaf keeps its precision.

    Args:
      scalar: a number or an array of shape ().
      tree: a tree of arrays.
    """
    number = weak_scalar("scalar", scalar)
    return map(lambda x: compute(jnp.multiply, number, x), tree)


@checks.entrance("tree.add_scale")
def add_scale(tree_x: Tree, scalar: Scalar, tree_y: Tree) -> Tree:
    """tree_x + scalar * tree_y, rounded once.

    Args:
      tree_x, tree_y: trees of one structure, with leaves of the same shapes.
      scalar: a number or an array of shape ().
    """
    number = weak_scalar("scalar", scalar)

    def moved(x: Any, y: Any) -> Array:
        return compute(lambda s, a, b: a + s * b, number, x, y)

    return together(moved, {"tree_x": tree_x, "tree_y": tree_y})


@checks.entrance("tree.clip")
def clip(tree: Tree, min_value: Any = None, max_value: Any = None) -> Tree:
    """Clip every element to [min_value, max_value].

    Args:
      tree: a tree of real arrays.
      min_value, max_value: numbers, or arrays that broadcast to every leaf; None for no bound.
    Raises:  ValueError for a bound that would enlarge a leaf, and for a complex leaf.
    """
    bounds = {"min_value": min_value, "max_value": max_value}
    bounds = {name: _weak(b) for name, b in bounds.items() if b is not None}
    for i, x in enumerate(flatten(tree)[0]):
        if x is not None and jnp.iscomplexobj(x):
            checks.fail(f"tree{paths(tree)[i]} is {jnp.result_type(x)}: complex numbers have no order")
        _check_fits(x, bounds, tree, i)

    def clipped(x: Array, *ends: Array) -> Array:
        low, high = (dict(zip(bounds, ends, strict=True)).get(name) for name in ("min_value", "max_value"))
        return jnp.clip(x, low, high)

    return map(lambda x: compute(clipped, x, *bounds.values()), tree)


def _weak(x: Any) -> Array:
    return weak_scalar("", x) if jnp.shape(x) == () else as_array(x)


def _check_fits(x: Any, others: dict[str, Array], tree: Tree, i: int) -> None:
    """Fail if an array that is combined with every leaf would enlarge one by broadcasting."""
    for name, other in others.items():
        if x is not None and other.shape not in ((), jnp.shape(x)) and not _fits(other.shape, jnp.shape(x)):
            checks.fail(f"{name} has shape {other.shape}, tree{paths(tree)[i]} has {jnp.shape(x)}")


def _fits(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(small, large) == large
    except ValueError:
        return False


@checks.entrance("tree.where")
def where(condition: Any, tree_x: Tree, tree_y: Tree) -> Tree:
    """Choose between two trees: tree_x where the condition is true, else tree_y.

    Args:
      condition: a bool, or an array of bools that broadcasts to every leaf.
      tree_x, tree_y: trees of one structure, with leaves of the same shapes, and `None` in the same places.
    Raises:  ValueError naming the leaf at which the trees differ in presence, structure or shape.
    """
    for i, x in enumerate(flatten(tree_x)[0]):
        _check_fits(x, {"condition": as_array(condition)}, tree_x, i)

    def choose(x: Any, y: Any) -> Array:
        x, y = as_array(x), as_array(y)
        if x.dtype == y.dtype and x.weak_type == y.weak_type:
            return jnp.where(condition, x, y)
        return compute(lambda a, b: jnp.where(condition, a, b), x, y)

    return together(choose, {"tree_x": tree_x, "tree_y": tree_y}, strict=True)


def conj(tree: Tree) -> Tree:
    """Complex conjugate of every leaf; real leaves stay unchanged.

    Args:
      tree: a tree of arrays.
    """
    return map(lambda x: jnp.conj(as_array(x)), tree)


def real(tree: Tree) -> Tree:
    """Real part of every leaf.

    Args:
      tree: a tree of arrays.
    """
    return map(lambda x: jnp.real(as_array(x)), tree)

"""Projections: the nearest point of a convex set, or of a sphere, to a tree taken as one vector.

They compute in at least float32, cast last to each leaf's dtype, and have finite derivatives. `None` leaves are not
part of the vector.
"""

import typing as _typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import checks, hints, numerics, tree as trees
from .types import Array, Scalar, Tree

__all__ = [
    "projection_box",
    "projection_halfspace",
    "projection_hypercube",
    "projection_hyperplane",
    "projection_l1_ball",
    "projection_l1_sphere",
    "projection_l2_ball",
    "projection_l2_sphere",
    "projection_linf_ball",
    "projection_non_negative",
    "projection_simplex",
    "projection_vector",
]

# Bounds on every element


@numerics.mixing("projection_non_negative")
def projection_non_negative(tree: Tree) -> Tree:
    """Project onto the trees with x >= 0.

    Args:
      tree: a tree of real arrays.
    Raises:  ValueError naming a complex leaf.
    """
    return trees.clip(tree, 0)


@numerics.mixing("projection_box")
def projection_box(tree: Tree, lower: Any, upper: Any) -> Tree:
    """Project onto the box lower <= x <= upper.

        projection_box({"w": w, "b": b}, lower={"w": -1.0, "b": None}, upper=1.0)

    Args:
      tree: a tree of real arrays.
      lower, upper: numbers, or trees like `tree` of numbers or arrays of the leaves' shapes; None for no bound.
    Raises:  ValueError if lower > upper as numbers, for a tree of another structure, and naming a complex leaf.
    """
    if checks.is_number(lower) and checks.is_number(upper) and lower > upper:
        checks.fail(f"lower must be <= upper, got {lower} and {upper}")
    leaves, structure = trees.flatten(tree)
    rows = zip(leaves, _bounds(lower, tree, "lower"), _bounds(upper, tree, "upper"), strict=True)
    paths = trees.paths(tree)
    return structure.unflatten([_clip_leaf(*row, path) for row, path in zip(rows, paths, strict=True)])


def _bounds(bound: Any, tree: Tree, name: str) -> list[Any]:
    """One bound for each leaf."""
    leaves, structure = trees.flatten(tree)
    if jax.tree_util.all_leaves([bound]) and jnp.shape(bound) == ():
        return [bound] * len(leaves)
    return trees.match(bound, tree, name, "tree") if bound is not None else [None] * structure.num_leaves


def _clip_leaf(x: Any, low: Any, high: Any, path: str) -> Any:
    if trees.absent(x):
        return x
    for name, bound in (("lower", low), ("upper", high)):
        if bound is not None and jnp.shape(bound) not in ((), jnp.shape(x)):
            checks.fail(f"{name}{path} has shape {jnp.shape(bound)}, tree{path} has {jnp.shape(x)}")
    if jnp.iscomplexobj(x):
        checks.fail(f"tree{path} is {jnp.result_type(x)}: complex numbers have no order")
    return trees.clip(x, low, high)


@numerics.mixing("projection_hypercube")
def projection_hypercube(tree: Tree, scale: Any = 1) -> Tree:
    """Project onto the cube 0 <= x <= scale.

    Args:
      tree: a tree of real arrays.
      scale: length of the edges, >= 0: a number, or a tree like `tree`.
    Raises:  as `projection_box`.
    """
    if checks.is_number(scale):
        _check_scale(scale)
    return projection_box(tree, 0, scale)


# Simplex and balls


def _check_scale(scale: Scalar) -> None:
    checks.argument("scale", scale, checks.NON_NEGATIVE)


def _vector(tree: Tree, name: str = "tree", *, ordered: bool = False) -> Array:
    """All elements as one vector, in one dtype of at least float32."""
    leaves, _ = trees.flatten(tree)
    for i, x in enumerate(leaves):
        if not trees.absent(x) and not jnp.issubdtype(jnp.result_type(x), jnp.floating if ordered else jnp.inexact):
            expected = "a floating one" if ordered else "a floating or complex one"
            checks.fail(f"{name}{trees.paths(tree)[i]} has dtype {jnp.result_type(x)}, expected {expected}")
    arrays = [jnp.ravel(x) for x in trees.leaves(tree)]
    dtype = numerics.common_dtype(jnp.float32, *(x.dtype for x in arrays))
    return jnp.concatenate([x.astype(dtype) for x in arrays]) if arrays else jnp.zeros(0, dtype)


def _tree(vector: Array, tree: Tree) -> Tree:
    """Inverse of `_vector`, with the elements of `vector`."""
    leaves, structure = trees.flatten(tree)
    offset, out = 0, []
    for x in leaves:
        if trees.absent(x):
            out.append(x)
            continue
        x = trees.as_array(x)
        part = lax.slice_in_dim(vector, offset, offset + x.size).reshape(x.shape)
        part = part if jnp.iscomplexobj(x) else part.real
        out.append(numerics.convert(part, x.dtype, weak=x.weak_type))
        offset += x.size
    return structure.unflatten(out)


def _on_simplex(v: Array, scale: Scalar) -> tuple[Array, Array]:
    """max(v - theta, 0), whose sum is `scale`, and theta; subtracts the largest element first, against cancellation."""
    total = numerics.like(v, scale)
    top = lax.stop_gradient(jnp.max(v, initial=-jnp.inf))
    w = v - top
    falling = -jnp.sort(-lax.stop_gradient(w))
    ranks = jnp.arange(1, v.size + 1, dtype=v.dtype)
    sums = jnp.cumsum(falling) - lax.stop_gradient(jnp.asarray(total, v.dtype))
    support_size = jnp.max(jnp.where(falling * ranks > sums, jnp.arange(1, v.size + 1), 0))
    least = jnp.where(support_size > 0, falling[jnp.maximum(support_size, 1) - 1], jnp.inf)
    support = lax.stop_gradient(w) >= least
    # Sum over the support again: this sum is differentiated, and it rounds less than the cumulative sum.
    count = jnp.maximum(jnp.sum(support), 1).astype(v.dtype)
    theta = (jnp.sum(jnp.where(support, w, 0)) - jnp.where(support_size > 0, total, 0)) / count
    off_support = jnp.where(jnp.isnan(top), jnp.nan, 0)
    return jnp.where(support, jnp.maximum(w - theta, 0), off_support), theta + top


@numerics.mixing("projection_simplex")
def projection_simplex(tree: Tree, scale: Scalar = 1) -> Tree:
    """Project onto the simplex: x >= 0 with sum(x) = scale.

        x = max(v - theta, 0),   theta = (v_1 + ... + v_k - scale) / k over the k largest, the most that exceed it

    Args:
      tree: a tree of floating arrays.
      scale: the sum, >= 0.
    Raises:  ValueError naming a leaf that is not floating, and for a scale out of range.
    Source:  Duchi et al. 2008, Fig. 1.
    """
    _check_scale(scale)
    v = _vector(tree, ordered=True)
    return _tree(_on_simplex(v, scale)[0], tree) if v.size else tree


def _phase(v: Array) -> tuple[Array, Array]:
    """|v| and v / |v|, where zero counts as positive."""
    if jnp.iscomplexobj(v):
        nonzero = v != 0
        size = jnp.abs(jnp.where(nonzero, v, 1))
        return jnp.where(nonzero, size, 0), jnp.where(nonzero, v / size, 1)
    sign = jnp.where(v < 0, -1, 1).astype(v.dtype)
    return v * sign, sign


@numerics.mixing("projection_l1_sphere")
def projection_l1_sphere(tree: Tree, scale: Scalar = 1) -> Tree:
    """Project onto the sphere sum(|x|) = scale: magnitudes go to the simplex, signs and phases stay.

    Args:
      tree: a tree of floating or complex arrays.
      scale: radius, >= 0.
    Raises:  ValueError naming a leaf of integers, and for a scale out of range.
    Differs: a zero counts as positive; Optax leaves it at zero, and its result is off the sphere.
    """
    _check_scale(scale)
    v = _vector(tree)
    if not v.size:
        return tree
    size, sign = _phase(v)
    return _tree(_on_simplex(size, scale)[0] * sign, tree)


@numerics.mixing("projection_l1_ball")
def projection_l1_ball(tree: Tree, scale: Scalar = 1) -> Tree:
    """Project onto the ball sum(|x|) <= scale.

    Args:
      tree: a tree of floating or complex arrays.
      scale: radius, >= 0.
    Raises:  ValueError naming a leaf of integers, and for a scale out of range.
    Source:  Duchi et al. 2008, Sec. 4.
    """
    _check_scale(scale)
    v = _vector(tree)
    if not v.size:
        return tree
    size, sign = _phase(v)
    moved, theta = _on_simplex(size, scale)
    return _tree(jnp.where(theta > 0, moved * sign, v), tree)


def _norm(v: Array) -> Array:
    """|v| without overflow or underflow of the squares; its derivative at zero is zero."""
    top = lax.stop_gradient(jnp.max(jnp.abs(v), initial=0))
    top = jnp.where(top >= jnp.finfo(top.dtype).tiny, top, 1)  # type: ignore[no-untyped-call]
    return top * numerics.root(jnp.sum(numerics.square(v / top)))


@numerics.mixing("projection_l2_sphere")
def projection_l2_sphere(tree: Tree, scale: Scalar = 1) -> Tree:
    """Project onto the sphere |x| = scale: tree scale / |tree|; zero goes to the point with equal elements.

    Args:
      tree: a tree of floating or complex arrays.
      scale: radius, >= 0.
    Raises:  ValueError naming a leaf of integers, and for a scale out of range.
    Differs: Optax returns NaN for zero.
    """
    _check_scale(scale)
    v = _vector(tree)
    size = _norm(v)
    total = numerics.like(size, scale)
    zero = jnp.where(size > 0, 0, total / max(v.size, 1) ** 0.5)
    return _tree(v / jnp.where(size > 0, size, 1) * total + zero, tree)


@numerics.mixing("projection_l2_ball")
def projection_l2_ball(tree: Tree, scale: Scalar = 1) -> Tree:
    """Project onto the ball |x| <= scale: tree min(1, scale / |tree|).

    Args:
      tree: a tree of floating or complex arrays.
      scale: radius, >= 0.
    """
    _check_scale(scale)
    v = _vector(tree)
    size = _norm(v)
    total = numerics.like(size, scale)
    outside = size > total
    return _tree(v / jnp.where(outside, size, 1) * jnp.where(outside, total, 1), tree)


@numerics.mixing("projection_linf_ball")
def projection_linf_ball(tree: Tree, scale: Scalar = 1) -> Tree:
    """Project onto the ball max(|x|) <= scale: every element is clipped, complex ones by their magnitude.

    Args:
      tree: a tree of arrays.
      scale: radius, >= 0.
    Raises:  ValueError for a scale out of range.
    """
    _check_scale(scale)

    def clipped(x: Any) -> Any:
        if not jnp.iscomplexobj(x):
            return trees.clip(x, -scale, scale)
        size = jnp.abs(x)
        total = numerics.like(size, scale)
        outside = size > total
        return x / jnp.where(outside, size, 1) * jnp.where(outside, total, 1)

    return trees.map(clipped, tree)


# Lines and planes


def _along(x: Tree, a: Tree, b: Scalar, move: Callable[[Array, Array, Array, Array], Array]) -> Tree:
    """`move(x, u, <u, x>, b / |a|)` for the unit vector u in the direction of a; u is zero for a zero a.

    A tree with a real leaf is a vector over the reals, and its inner products are real.
    """
    if jnp.shape(b) != ():
        checks.fail(f"b must be a scalar, got {checks.shown(b)}")
    pairs = [pair for pair in trees.aligned({"x": x, "a": a}) if not trees.absent(pair[0])]
    v, n = _vector(x, "x"), _vector([_floating(trees.as_array(q)) for _, q in pairs], "a")
    if jnp.iscomplexobj(n) and not jnp.iscomplexobj(v):
        checks.fail(f"a is complex, x is not: {n.dtype} and {v.dtype}")
    dtype = numerics.common_dtype(v.dtype, n.dtype)
    v, n = v.astype(dtype), n.astype(dtype)
    size = _norm(n)
    unit = n / jnp.where(size > 0, size, 1)
    offset = numerics.ratio(jnp.asarray(numerics.like(size, b), size.dtype), size)
    inner = jnp.vdot(unit, v, precision=lax.Precision.HIGHEST)
    inner = inner if all(jnp.iscomplexobj(p) for p, _ in pairs) else inner.real
    return _tree(move(v, unit, inner, offset), x)


def _floating(x: Array) -> Array:
    return numerics.convert(x, numerics.wide_dtype(x.dtype))


@numerics.mixing("projection_vector")
def projection_vector(x: Tree, a: Tree) -> Tree:
    """Project onto the line through a: (<a, x> / <a, a>) a; zero for a zero a.

    Args:
      x: the tree to project.
      a: a tree like x, the direction.
    Raises:  ValueError naming the leaf at which the trees differ in presence, structure or shape.
    Differs: for complex trees Optax conjugates x in place of a.
    """
    return _along(x, a, 0.0, lambda v, unit, inner, _: inner * unit)


@numerics.mixing("projection_hyperplane")
def projection_hyperplane(x: Tree, a: Tree, b: Scalar) -> Tree:
    """Project onto the plane <a, y> = b: x - (<a, x> - b) / <a, a> a; x itself for a zero a, which has no plane.

    Args:
      x: the tree to project.
      a: a tree like x, the normal of the plane.
      b: a number, the offset.
    Raises:  ValueError naming the leaf at which the trees differ in presence, structure or shape.
    Differs: Optax returns NaN for a zero a, and for complex trees conjugates x in place of a.
    """
    return _along(x, a, b, lambda v, unit, inner, offset: v - (inner - offset) * unit)


@numerics.mixing("projection_halfspace")
def projection_halfspace(x: Tree, a: Tree, b: Scalar) -> Tree:
    """Project onto the half-space <a, y> <= b, Re <a, y> <= b for complex trees.

        y = x - max(<a, x> - b, 0) / <a, a> a

    Args:
      x: the tree to project.
      a: a tree like x, the outward normal.
      b: a number, the offset.
    Raises:  ValueError naming the leaf at which the trees differ in presence, structure or shape.
    """
    return _along(x, a, b, lambda v, unit, inner, offset: v - jnp.maximum(inner.real - offset, 0) * unit)


if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = hints.surface(__name__)

"""A function of matrices, run on stacks of the matrices of many leaves, each stack shared out among devices.

Matrices of equal shape are stacked, tall ones transposed. Where the leaves are sharded, each device exchanges its
pieces of many matrices for whole ones, in one all-to-all over all mesh axes that divide the matrices, runs the function
on these, and sends the pieces back in another. The exchange is written by hand in a `shard_map`: compilers that have to
find it gather matrices.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from .. import numerics, tree
from ..types import Array, Tree
from .stacks import DimensionNumbers, axes_of_matrices

_shard_map: Any = jax.shard_map  # untyped in jax, as the next are
_spec: Any = PartitionSpec
_all_to_all: Any = lax.all_to_all


@dataclass(frozen=True)
class Move:
    """One mesh axis along which devices exchange pieces of matrices, and which of a piece's axes it divides.

    Without such an axis all devices along the mesh axis have the same matrices, and each takes a part of them.
    """

    name: str
    size: int
    axis: int | None


@dataclass(frozen=True)
class Work:
    """How a leaf is a stack of matrices, and how its pieces come together on one device.

    `order` lists the leaf's axes: first those that index the stack, then the axes of the rows, then those of the
    columns. `rows` and `columns` are the sizes of the row and column axes in the whole matrix.
    """

    order: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    moves: tuple[Move, ...] = ()
    tag: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        return math.prod(self.rows), math.prod(self.columns)

    @property
    def devices(self) -> int:
        """The number of devices among which the matrices of one stack are shared out."""
        return math.prod(move.size for move in self.moves)

    def stacked(self, x: Array) -> Array:
        """The leaf, or a device's piece of it, as [stack, *rows, *columns]."""
        depth = len(self.order) - len(self.rows) - len(self.columns)
        moved = jnp.transpose(x, self.order)
        out: Array = moved.reshape(-1 if moved.size else math.prod(moved.shape[:depth]), *moved.shape[depth:])
        return out

    def unstacked(self, y: Array, x: Array) -> Array:
        shape = [x.shape[i] for i in self.order]
        inverse = [self.order.index(i) for i in range(x.ndim)]
        return jnp.transpose(y.reshape(shape), inverse)


def names_in(entry: Any) -> tuple[str, ...]:
    """The mesh axes in one entry of a PartitionSpec, the major one first."""
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def work_of(
    shape: tuple[int, ...],
    numbers: DimensionNumbers | None,
    spec: Any = (),
    sizes: Any = None,
    *,
    beside: Sequence[str] = (),
    tag: Any = None,
    turned: bool = True,
) -> Work:
    """The work on a leaf of that shape and PartitionSpec, on a mesh of these sizes.

    `beside` names mesh axes along which the leaf is replicated and its matrices are shared out all the same. With
    `turned`, tall matrices are transposed.
    """
    stack, rows, columns = axes_of_matrices(shape, numbers)
    row_sizes, column_sizes = (tuple(shape[i] for i in axes) for axes in (rows, columns))
    if turned and math.prod(row_sizes) > math.prod(column_sizes):
        rows, columns, row_sizes, column_sizes = columns, rows, column_sizes, row_sizes
    entries = [names_in(e) for e in spec] + [()] * (len(shape) - len(spec))
    moves = [Move(name, sizes[name], at) for at, axis in enumerate((*rows, *columns)) for name in entries[axis]]
    used = {name for names in entries for name in names}
    moves += [Move(name, sizes[name], None) for name in beside if name not in used]
    moves = [move for move in moves if move.size > 1]
    return Work((*stack, *rows, *columns), row_sizes, column_sizes, tuple(moves), tag)


def run(
    f: Callable[..., Array], leaves: Sequence[Array], works: Sequence[Work], shared: Sequence[Array]
) -> list[Array]:
    """`f(matrices, tag, *shared)` on each stack of matrices of one shape: new leaves, as f keeps shapes and dtypes."""
    groups: dict[Any, list[int]] = {}
    for i, (x, work) in enumerate(zip(leaves, works, strict=True)):
        groups.setdefault((x.dtype, work.rows, work.columns, work.moves, work.tag), []).append(i)
    out = list(leaves)
    for members in groups.values():
        work, stacks = works[members[0]], [works[i].stacked(leaves[i]) for i in members]
        depths = [len(s) for s in stacks]
        stack = jnp.concatenate(stacks) if len(stacks) > 1 else stacks[0]
        if stack.size:
            padding = -len(stack) % work.devices
            if padding:
                stack = jnp.pad(stack, [(0, padding)] + [(0, 0)] * (stack.ndim - 1))
            results = _together(f, stack, work, shared)
            starts = [sum(depths[:k]) for k in range(len(depths))]
            for i, start, depth in zip(members, starts, depths, strict=True):
                out[i] = works[i].unstacked(results[start : start + depth], leaves[i])
    return out


def _together(f: Callable[..., Array], stack: Array, work: Work, shared: Sequence[Array]) -> Array:
    """`f` on a stack of pieces, as whole matrices."""
    beside = [move for move in work.moves if move.axis is None]
    moves = [move for move in work.moves if move.axis is not None]
    for move in beside:
        part = len(stack) // move.size
        stack = lax.dynamic_slice_in_dim(stack, lax.axis_index(move.name) * part, part)
    if not moves:
        out = f(stack.reshape(len(stack), *work.shape), work.tag, *shared).reshape(stack.shape)
    else:
        names, sizes = tuple(move.name for move in moves), [move.size for move in moves]
        pieces = stack.reshape(math.prod(sizes), -1, *stack.shape[1:])
        received = _all_to_all(pieces, names, 0, 0, tiled=True)
        # Where pieces come from, an axis for each mesh axis, then the stack and the axes of a piece: each of these
        # comes after the mesh axes that divide it.
        apart = received.reshape(*sizes, *received.shape[1:])
        first = len(moves) + 1
        order = [len(moves)]
        for axis in range(stack.ndim - 1):
            order += [i for i, move in enumerate(moves) if move.axis == axis] + [first + axis]
        whole = jnp.transpose(apart, order)
        results = f(whole.reshape(-1, *work.shape), work.tag, *shared).reshape(whole.shape)
        back = jnp.transpose(results, [order.index(i) for i in range(len(order))]).reshape(received.shape)
        out = _all_to_all(back, names, 0, 0, tiled=True).reshape(stack.shape)
    for move in reversed(beside):
        out = lax.all_gather(out, move.name, tiled=True)
    return out


def on_stacks(
    f: Callable[..., Array],
    leaves: Sequence[Array],
    numbers: Sequence[DimensionNumbers | None],
    *shared: Array,
    paths: Sequence[str] = (),
    plan: Any = None,
    tags: Sequence[Any] | None = None,
    turned: bool = True,
) -> list[Array]:
    """`f` on the matrices of all leaves, stacked by shape.

    Args:
      f: a function (matrices, tag, *shared) -> matrices of a stack [n, rows, columns], which treats each matrix by
        itself; `shared` are arrays that it needs whole.
      leaves, numbers: arrays, and the dimension numbers of each.
      paths, plan: the leaves' paths, by which a `MatrixPlan` knows their shardings. Under an Explicit mesh the arrays
        know them.
      tags: for each leaf something hashable; matrices of one stack have the same.
      turned: whether tall matrices are transposed, for an f that does the same to a matrix and its transpose. Matrices
        with a tag are not.
    """
    given: Sequence[Any] = [None] * len(leaves) if tags is None else tags
    mesh, specs = _shardings(leaves, paths, plan)
    works = [
        work_of(
            x.shape,
            n,
            spec,
            None if mesh is None else mesh.shape,
            beside=() if plan is None else plan.beside,
            tag=tag,
            turned=turned and tag is None,
        )
        for x, n, spec, tag in zip(leaves, numbers, specs, given, strict=True)
    ]
    if mesh is None:
        return run(f, leaves, works, shared)

    def body(xs: Sequence[Array], shared: Sequence[Array]) -> list[Array]:
        return run(f, xs, works, shared)

    placed = [_spec(*spec) for spec in specs]
    sharded = _shard_map(body, mesh=mesh, in_specs=(placed, _spec()), out_specs=placed, check_vma=False)
    out: list[Array] = sharded(list(leaves), tuple(shared))
    return out


def over_leaves(
    f: Callable[..., Array],
    updates: Tree,
    numbers: Sequence[DimensionNumbers | None],
    *shared: Array,
    plan: Any = None,
    tags: Sequence[Any] | None = None,
    turned: bool = True,
) -> Tree:
    """`on_stacks` for a tree, in which leaves may be absent."""
    leaves, structure = tree.flatten(updates)
    there = [i for i, x in enumerate(leaves) if not tree.absent(x)]
    paths = tree.paths(updates) if plan is not None else [""] * len(leaves)
    new = on_stacks(
        f,
        [leaves[i] for i in there],
        [numbers[i] for i in there],
        *shared,
        paths=[paths[i] for i in there],
        plan=plan,
        tags=None if tags is None else [tags[i] for i in there],
        turned=turned,
    )
    for i, x in zip(there, new, strict=True):
        leaves[i] = x
    return structure.unflatten(leaves)


def _shardings(leaves: Sequence[Array], paths: Sequence[str], plan: Any) -> tuple[Any, list[Any]]:
    """The mesh, and a PartitionSpec for each leaf: from the leaves' types, else from the plan."""
    typed = [numerics.axes(x) for x in leaves]
    explicit = [t for t in typed if t is not None]
    if explicit:
        return explicit[0].mesh, [() if t is None else t.spec for t in typed]
    if plan is None or not leaves:
        return None, [()] * len(leaves)
    return plan.mesh, [plan.spec(path, x) for path, x in zip(paths, leaves, strict=True)]

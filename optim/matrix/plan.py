"""Which device works on which matrices, known before anything is compiled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from .. import checks, tree
from ..types import Array, Params
from .sharing import Work, names_in, work_of
from .stacks import is_numbers, numbers_of


@dataclass(frozen=True)
class MatrixGroup:
    """The matrices of one stack: their shape, from which leaves they come, and how they are shared out."""

    shape: tuple[int, int]
    leaves: tuple[tuple[str, int], ...]
    """The path of each leaf, and how many of its matrices one exchange moves."""
    work: Work
    apart: int
    """The number of groups of devices that have stacks of their own, since the stack's own axes are sharded."""

    @property
    def count(self) -> int:
        """The number of matrices in one exchange."""
        return sum(n for _, n in self.leaves)

    @property
    def each(self) -> int:
        """The number of matrices a device, padding included."""
        return -(-self.count // self.work.devices)

    @property
    def padding(self) -> int:
        """The number of zero matrices that make the stack divisible."""
        return self.each * self.work.devices - self.count

    @property
    def cost(self) -> float:
        """max(m, n) min(m, n)^2: what one matrix costs."""
        return float(max(self.shape)) * min(self.shape) ** 2

    @property
    def received(self) -> float:
        """Bytes of float32 that a device receives, there and back."""
        size, total = float(math.prod(self.shape)) * self.each * 4, 0.0
        divided = math.prod(move.size for move in self.work.moves if move.axis is not None)
        if divided > 1:
            total += 2 * size
        for move in reversed(self.work.moves):
            if move.axis is None:
                size *= move.size
                total += size / divided
        return total


@dataclass(frozen=True, eq=False)
class MatrixPlan:
    """Where the matrices of a tree are worked on: what `matrix_plan` makes, and matrix optimizers take as `plan`.

    Printed, it is a table: the shapes, how many matrices, how many on one device, padding, the bytes a device receives,
    and the work of one device beside an even share.
    """

    mesh: Any
    specs: tuple[tuple[str, tuple[int, ...], tuple[Any, ...]], ...]
    groups: tuple[MatrixGroup, ...]
    beside: tuple[str, ...] = ()

    @cached_property
    def _known(self) -> dict[str, tuple[tuple[int, ...], tuple[Any, ...]]]:
        return {path: (shape, spec) for path, shape, spec in self.specs}

    def _key(self) -> Any:
        return self.mesh, self.specs, self.beside

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MatrixPlan) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def spec(self, path: str, x: Array) -> tuple[Any, ...]:
        """The PartitionSpec of the leaf at a path.

        Raises: ValueError for a leaf that the plan was not made for.
        """
        shape, spec = self._known.get(path, ((), ()))
        if path not in self._known or shape != x.shape:
            got = f"shape {shape} there" if path in self._known else "not in the plan"
            checks.fail(f"plan: leaf{path} of shape {x.shape} is {got}; make it with matrix_plan(params)")
        return spec

    @property
    def owners(self) -> dict[str, list[tuple[int, ...]]]:
        """For each leaf the coordinates, on the axes that it moves along, of the device of each of its matrices."""
        found: dict[str, list[tuple[int, ...]]] = {}
        for group in self.groups:
            sizes = [move.size for move in group.work.moves]
            at = 0
            for path, n in group.leaves:
                places = [np.unravel_index((at + i) // group.each, sizes) if sizes else () for i in range(n)]
                found[path] = [tuple(int(k) for k in place) for place in places]
                at += n
        return found

    @property
    def share(self) -> float:
        """The work of one device, in even shares: 1 where all devices work on equally many matrices and no padding."""
        devices = self.mesh.size
        done = sum(g.each * g.cost for g in self.groups)
        even = sum(g.count * g.apart * g.cost for g in self.groups) / devices
        return done / even if even else 1.0

    def __str__(self) -> str:
        rows = [("matrices", "shape", "over", "on a device", "padding", "received")]
        for g in self.groups:
            over = " x ".join(f"{move.name} {move.size}" for move in g.work.moves) or "-"
            shape, received = " x ".join(map(str, g.shape)), f"{g.received / 1e6:.3g} MB"
            rows.append((str(g.count * g.apart), shape, over, str(g.each), str(g.padding), received))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, f"work of one device: {self.share:.2f} of an even share"])

    __repr__ = __str__


@checks.entrance("matrix_plan")
def matrix_plan(
    params: Params,
    specs: Any = None,
    mesh: Any = None,
    weight_dimension_numbers: Any = None,
    *,
    beside: str | Sequence[str] = (),
) -> MatrixPlan:
    """Plan which device works on which matrices, from the shardings of the parameters.

        plan = optim.matrix_plan(params)
        tx = optim.muon(0.02, plan=plan)

    Matrices of equal shape and sharding are a stack, which the devices share out: each exchanges its pieces of all
    matrices for some whole ones, in one all-to-all, and back in another. A matrix costs max(m, n) min(m, n)^2;
    stacks that do not divide are padded. Under an Explicit mesh the arrays know their shardings: no plan is needed.

    Args:
      params: the parameters, arrays or shapes.
      specs: their PartitionSpecs or NamedShardings, a tree or a prefix of it; None reads the shardings of params.
      mesh: the mesh; None takes that of the shardings, else the mesh in use.
      weight_dimension_numbers: as in `muon`; None makes matrices of leaves with two axes.
      beside: mesh axes along which matrices are replicated and shared out nevertheless, which costs one gather each.
    Returns: a `MatrixPlan`, whose `str` is a table.
    Raises:  ValueError where no mesh is found, and for an axis that the mesh does not have.
    """
    leaves, structure = tree.flatten(params)
    paths = tree.paths(params)
    if specs is None:
        given: list[Any] = [getattr(x, "sharding", None) for x in leaves]
    else:
        given = tree.spread(specs, params, "specs", lambda x: x is None or isinstance(x, PartitionSpec | NamedSharding))
    meshes = [s.mesh for s in given if isinstance(s, NamedSharding)]
    mesh = _in_use() if mesh is None and not meshes else meshes[0] if mesh is None else mesh
    if mesh is None:
        checks.fail("no mesh is known: give mesh=, or specs or parameters that are NamedShardings")
    beside = (beside,) if isinstance(beside, str) else tuple(beside)
    known = [
        (path, tuple(x.shape), _entries(s, mesh, path))
        for path, x, s in zip(paths, leaves, given, strict=True)
        if tree.trainable(x)
    ]
    for name in beside:
        if name not in mesh.shape:
            checks.fail(f"beside: the mesh has the axes {', '.join(mesh.shape)}, got {name!r}")
    matrices = tree.map(lambda p: _Last() if p.ndim == 2 else None, params)
    numbers = numbers_of(matrices if weight_dimension_numbers is None else weight_dimension_numbers, params, params)
    by_path = dict(zip(paths, numbers, strict=True))
    groups: dict[Any, list[tuple[str, int, Work, int]]] = {}
    for path, shape, spec in known:
        if not is_numbers(by_path[path]):
            continue
        work = work_of(shape, by_path[path], spec, mesh.shape, beside=beside)
        depth = work.order[: len(shape) - len(work.rows) - len(work.columns)]
        apart = int(np.prod([mesh.shape[n] for i in depth if i < len(spec) for n in names_in(spec[i])], dtype=int))
        count = int(np.prod([shape[i] for i in depth], dtype=int)) // apart
        groups.setdefault((work.rows, work.columns, work.moves), []).append((path, count, work, apart))
    made = tuple(
        MatrixGroup(g[0][2].shape, tuple((path, n) for path, n, _, _ in g), g[0][2], g[0][3]) for g in groups.values()
    )
    del structure
    return MatrixPlan(mesh, tuple(known), made, beside)


def check_plan(plan: Any) -> None:
    if not (plan is None or isinstance(plan, MatrixPlan)):
        checks.fail(f"plan must be what matrix_plan returns, got {checks.shown(plan)}", TypeError)


@dataclass(frozen=True)
class _Last:
    reduction_axis: int = -2
    output_axis: int = -1


def _in_use() -> Any:
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh is None or mesh.empty else mesh


def _entries(spec: Any, mesh: Any, path: str) -> tuple[Any, ...]:
    """The entries of a leaf's PartitionSpec; () where it has none."""
    if isinstance(spec, NamedSharding):
        spec = spec.spec
    entries = tuple(spec) if isinstance(spec, PartitionSpec) else ()
    for entry in entries:
        for name in names_in(entry):
            if name not in mesh.shape:
                checks.fail(f"specs{path}: the mesh has the axes {', '.join(mesh.shape)}, got {name!r}")
    return entries

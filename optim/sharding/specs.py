"""`state_specs`: the shardings of a state, from those of the parameters."""

import math
from collections import Counter
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from .. import checks, tree
from ..core.transformation import taking_extra_args
from ..matrix.sharing import names_in
from ..types import Params, TransformationLike, Tree

_struct: Any = jax.ShapeDtypeStruct  # untyped in jax, as the next two are
_spec: Any = PartitionSpec
_within: Any = jax.sharding.use_abstract_mesh


@checks.entrance("state_specs")
def state_specs(tx: TransformationLike, params: Params, specs: Tree) -> Tree:
    """The PartitionSpec of every array of a state, in the state's structure; nothing is compiled or allocated.

        specs = optim.state_specs(tx, params, {"w": P("fsdp", "tp"), "b": P()})

    A slot has its parameter's spec, a mean over some of its axes the spec of the others, a scalar P(). Where `specs`
    has NamedShardings, so has the result. They are the shardings that `jit(tx.init)` gives the state.

    Args:
      tx: a transformation.
      params: arrays, or `jax.ShapeDtypeStruct`s as `jax.eval_shape` gives them.
      specs: a PartitionSpec or NamedSharding for each parameter, as a tree or a prefix of one; None means P().
    Raises:  TypeError for an entry of another kind, ValueError for more axes than the parameter has, an axis used
             twice, or one that does not divide its parameter's, naming the parameter's path.
    Differs: what lays parameters end to end (`packed`, `flatten`) has P() for the vector, and `galore` for its
             projections; under an Auto mesh a compiler may choose another.
    """
    member = taking_extra_args(tx, "tx")
    placed, mesh = typed(params, specs)
    with _within(_explicit(mesh)):
        made = jax.eval_shape(member.init, placed)
    named = mesh if any(isinstance(x, NamedSharding) for x in _entries(specs)) else None
    return jax.tree.map(lambda x: _home(x, named), made)


def typed(params: Params, specs: Tree) -> tuple[Tree, Any]:
    """The shapes of the parameters with their shardings, on an Explicit mesh, and the mesh that the specs name."""
    leaves, structure = tree.flatten(params)
    entries = tree.spread(specs, params, "specs", _is_entry)
    mesh = _mesh_of(entries, params)
    explicit = _explicit(mesh)
    placed: list[Any] = []
    for i, (p, entry) in enumerate(zip(leaves, entries, strict=True)):
        if p is None:
            placed.append(None)
            continue
        p = jax.eval_shape(lambda p=p: tree.as_array(p)) if not checks.is_shape(p) else p
        spec = spec_of(entry, p.shape, mesh, f"specs{tree.paths(params)[i]}")
        placed.append(_struct(p.shape, p.dtype, sharding=NamedSharding(explicit, spec)))
    return structure.unflatten(placed), mesh


def spec_of(entry: Any, shape: tuple[int, ...], mesh: Any, where: str) -> Any:
    """A PartitionSpec that fits an array of this shape."""
    if entry is None:
        return _spec()
    spec = entry.spec if isinstance(entry, NamedSharding) else entry
    if len(spec) > len(shape):
        checks.fail(f"{where} is {spec}, its parameter has shape {shape}")
    for i, axes in enumerate(spec):
        count = devices_along(axes, mesh, where)
        if shape[i] % count:
            checks.fail(f"{where} divides an axis of {shape[i]} among {count} devices: the shape is {shape}")
    repeated = [axis for axis, n in Counter(a for axes in spec for a in names_in(axes)).items() if n > 1]
    if repeated:
        checks.fail(f"{where} is {spec}, which uses the axis {repeated[0]!r} twice")
    return spec


def devices_along(axes: Any, mesh: Any, where: str) -> int:
    """The number of devices among which one entry of a PartitionSpec divides an axis."""
    for axis in names_in(axes):
        if axis not in mesh.shape:
            checks.fail(f"{where} names the axis {axis!r}, the mesh has {', '.join(map(repr, mesh.shape))}")
    return math.prod(mesh.shape[axis] for axis in names_in(axes))


def _is_entry(x: Any) -> bool:
    return x is None or isinstance(x, PartitionSpec | NamedSharding)


def _entries(specs: Tree) -> list[Any]:
    return jax.tree.leaves(specs, is_leaf=_is_entry)


def _mesh_of(entries: list[Any], params: Params) -> Any:
    """The mesh of the NamedShardings, else the one in use, else one of axes of size one with the specs' names."""
    for i, entry in enumerate(entries):
        if not _is_entry(entry):
            where, got = f"specs{tree.paths(params)[i]}", checks.shown(entry)
            checks.fail(f"{where} must be a PartitionSpec, a NamedSharding or None, got {got}", TypeError)
    meshes = list(dict.fromkeys(e.mesh for e in entries if isinstance(e, NamedSharding)))
    if len(meshes) > 1:
        checks.fail(f"specs has shardings on {len(meshes)} meshes, expected one")
    names = list(
        dict.fromkeys(a for e in entries if isinstance(e, PartitionSpec) for axes in e for a in names_in(axes))
    )
    in_use: Any = jax.sharding.get_abstract_mesh()
    if meshes:
        return meshes[0]
    if not in_use.empty and set(names) <= set(in_use.axis_names):
        return in_use
    return AbstractMesh((1,) * max(len(names), 1), tuple(names) or ("_",))


def _explicit(mesh: Any) -> Any:
    return AbstractMesh(tuple(mesh.shape.values()), mesh.axis_names, axis_types=(AxisType.Explicit,) * len(mesh.shape))


def _home(x: Any, mesh: Any) -> Any:
    spec = x.sharding.spec if isinstance(x.sharding, NamedSharding) else _spec()
    axes = list(spec)
    while axes and axes[-1] is None:
        axes.pop()
    spec = _spec(*axes)
    return spec if mesh is None else NamedSharding(mesh, spec)

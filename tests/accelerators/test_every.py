"""Every registered transformation in programs for accelerators: shardings, donation, collectives."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optim

from ..every.rows import ROWS, check_all
from .programs import compile, mesh, struct

SHAPES = {"w": ((64, 32), ("a", "b")), "v": ((48,), ("a",))}


def parameters(on):
    return {name: struct(shape, jnp.float32, on, *spec) for name, (shape, spec) in SHAPES.items()}


def whole(on, x):
    """An argument that every device has."""
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(on, PartitionSpec()))


def misplaced(made, shardings, params):
    """The paths of arrays that end in the shape of a parameter but are not sharded like it."""
    found = []
    leaves, homes = jax.tree_util.tree_leaves_with_path(made), jax.tree.leaves(shardings)
    for (path, x), home in zip(leaves, homes, strict=True):
        for p in params.values():
            extra = x.ndim - p.ndim
            if x.ndim and x.shape[extra:] == p.shape:
                spec = PartitionSpec(*[None] * extra, *p.sharding.spec)
                if not home.is_equivalent_to(NamedSharding(p.sharding.mesh, spec), x.ndim):
                    found.append(f"{jax.tree_util.keystr(path)}: {home.spec}")
    return found


def rows(column):
    return [row for row in ROWS if row.is_first and not row.is_alias and not row.excepted(column)]


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_init_gives_slots_the_shardings_of_their_parameters(platform, axis_type):
    on = mesh(platform, axis_type, a=4, b=2)
    params = parameters(on)
    made = {row.id: row.make() for row in rows("sharding")}

    def init(params):
        return {name: tx.init(params) for name, tx in made.items()}

    program = compile(init, params)
    assert misplaced(jax.eval_shape(init, params), program.shardings, params) == []


def stepped(row, on):
    """The program of one step, and its arguments."""
    tx, params = row.make(), parameters(on)
    state = jax.eval_shape(tx.init, params)
    if any(x.ndim for x in jax.tree.leaves(state)):
        homes = compile(tx.init, params).shardings
        state = jax.tree.map(lambda x, home: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=home), state, homes)
    state = jax.tree.map(lambda x: x if x.ndim else whole(on, x), state)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    with jax.set_mesh(on):
        return compile(step, params, state, params, donate=(0, 1)), (params, state)


def test_a_step_keeps_shardings_donates_and_communicates_scalars(platform):
    on = mesh(platform, a=4, b=2)

    def check(row):
        program, carried = stepped(row, on)
        assert misplaced(carried, program.shardings, carried[0]) == []
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(carried) if x.ndim)
        assert row.excepted("aliases") or program.aliased >= size / 8, (program.aliased, size)
        # A norm is a scalar of every leaf, or on a GPU a pair of every leaf and device.
        limits = {"elementwise": 8, "treewise": 8 * 8 * 4}
        if row.grain in limits and not row.excepted("communication"):
            assert program.received <= limits[row.grain], program.collectives

    check_all(rows("sharding"), check, name=lambda row: row.id)

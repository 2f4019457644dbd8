"""Muon's matrices shared out among devices: what the programs for GPUs and TPUs exchange, hold and compute."""

import math

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import optim

from . import programs

LAYERS, D, STEPS = 8, 256, 5
CASES = [
    ("gpu", {"fsdp": 8}, P("fsdp"), AxisType.Auto),
    ("gpu", {"fsdp": 4, "tp": 2}, P("fsdp", "tp"), AxisType.Explicit),
    ("tpu", {"fsdp": 8}, P("fsdp"), AxisType.Auto),
    ("tpu", {"fsdp": 8, "tp": 2}, P("fsdp", "tp"), AxisType.Auto),
]


def transformer(mesh, spec):
    def matrix(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))

    one = {"qkv": matrix(D, 3 * D), "o": matrix(D, D), "fc": matrix(D, 4 * D), "pr": matrix(4 * D, D)}
    return {str(i): one for i in range(LAYERS)}


def flops(x):
    """Of the iteration on one matrix: A = X X^H, A^2, and (b A + c A^2) X."""
    m, n = sorted(x.shape)
    return STEPS * (2 * m * m * n * 2 + 2 * m**3)


@pytest.mark.parametrize(("platform", "axes", "spec", "axis_type"), CASES)
def test_muon_exchanges_each_matrix_once_there_and_once_back(platform, axes, spec, axis_type):
    if reason := programs.missing(platform):
        pytest.skip(reason)
    mesh = programs.mesh(platform, axis_type, **axes)
    params = transformer(mesh, spec)
    tx = optim.scale_by_muon(plan=None if axis_type is AxisType.Explicit else optim.matrix_plan(params))
    everywhere = NamedSharding(mesh, P())
    state = optim.MuonState(
        jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere),
        params,
        jax.ShapeDtypeStruct((3,), jnp.float32, sharding=everywhere),
    )
    program = programs.compile(tx.update, params, state, params, donate=(0, 1))
    leaves = jax.tree.leaves(params)
    numbers, devices = sum(math.prod(x.shape) for x in leaves), math.prod(axes.values())
    assert {*program.collectives} == {"all-to-all"}
    assert program.collectives["all-to-all"][0] == 2 * 4  # for each of four shapes
    assert program.received <= 1.1 * numbers
    assert program.temporary <= 1.2 * numbers
    updates, _ = program.shardings
    for x, sharding in zip(leaves, jax.tree.leaves(updates), strict=True):
        assert sharding.is_equivalent_to(x.sharding, 2)
    if platform == "tpu":  # whose compiler counts, a loop's body once
        padding = max(1, devices / LAYERS)
        assert STEPS * program.flops <= 1.15 * padding * sum(map(flops, leaves)) / devices

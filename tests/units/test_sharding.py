"""`state_specs` and `sharded` on eight host devices: places, numbers, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import optim

from ..every.rows import equal

AXES = [AxisType.Auto, AxisType.Explicit]


def mesh(axis_type=AxisType.Auto):
    return jax.make_mesh((8,), ("data",), axis_types=(axis_type,))


def params():
    rng = np.random.default_rng(0)
    return {"w": rng.normal(size=(4, 16)).astype(np.float32), "b": np.ones(3, np.float32)}


def loss(params, x):
    return jnp.mean((x @ params["w"]) ** 2) + jnp.sum(params["b"] ** 2)


def optimizer():
    return optim.chain(optim.clip_by_global_norm(0.1), optim.adamw(0.1, weight_decay=0.1))


def trained(tx, axis_type=None, steps=3):
    """The parameters and the state after some steps: on one device, or with the batch on eight."""
    x = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    p, step = jax.tree.map(jnp.asarray, params()), optim.make_step(loss, tx)
    if axis_type is None:
        state = tx.init(p)
        for _ in range(steps):
            p, state, _ = step(p, state, x)
        return p, state
    on = mesh(axis_type)
    with jax.set_mesh(on):
        p = jax.device_put(p, NamedSharding(on, P()))
        x = jax.device_put(x, NamedSharding(on, P("data")))
        state = jax.jit(tx.init)(p)
        for _ in range(steps):
            p, state, _ = step(p, state, x)
    return p, state


@pytest.mark.parametrize("axis_type", AXES, ids=["auto", "explicit"])
def test_a_sharded_step_is_the_same_step(axis_type):
    expected, _ = trained(optimizer())
    p, state = trained(optim.sharded(optimizer(), "data"), axis_type)
    for name in p:
        # One rounding of a sum over eight devices, after three steps of 0.1.
        np.testing.assert_allclose(p[name], expected[name], rtol=0, atol=3e-7)
        assert p[name].sharding.is_fully_replicated
    adam = state[1][0]
    assert adam.mu["w"].sharding.spec == P(None, "data")
    assert adam.nu["w"].addressable_shards[0].data.shape == (4, 2)
    assert adam.mu["b"].sharding.is_fully_replicated  # 3 is not divisible by 8
    if axis_type is AxisType.Auto:
        plain, _ = trained(optimizer(), axis_type)
        equal(jax.tree.map(np.asarray, p), jax.tree.map(np.asarray, plain))


def test_its_update_and_application_by_hand_are_those_of_make_step():
    tx, on = optim.sharded(optimizer(), "data"), mesh()
    with jax.set_mesh(on):
        p = jax.device_put(params(), NamedSharding(on, P()))
        state, g = jax.jit(tx.init)(p), jax.tree.map(jnp.cos, p)

        @jax.jit
        def by_hand(p, state, g):
            u, state = tx.update(g, state, p)
            return optim.apply_updates(p, u), state

        expected = by_hand(p, state, g)
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(expected[0]))
        equal(optim.make_update(tx, donate=False)(p, state, g), expected)


def test_accumulators_are_sharded_too():
    tx = optim.sharded(optim.MultiSteps(optim.adam(0.1), 2), "data")
    p, state = trained(tx, AxisType.Auto, steps=4)
    assert state.acc_grads["w"].sharding.spec == P(None, "data")
    expected, _ = trained(optim.MultiSteps(optim.adam(0.1), 2), steps=4)
    for name in p:
        np.testing.assert_allclose(p[name], expected[name], rtol=0, atol=3e-7)


def test_an_axis_that_a_leaf_already_has_stays():
    """FSDP parameters: nothing moves, and the longest free axis is not taken."""
    on = jax.make_mesh((4, 2), ("data", "tp"))
    p = jax.device_put({"w": np.ones((8, 16), np.float32)}, NamedSharding(on, P(None, "tp")))
    state = optim.sharded(optim.adam(0.1), "data").init(p)
    assert state[0].mu["w"].sharding.spec == P("data", "tp")
    q = jax.device_put(p, NamedSharding(on, P("data")))
    assert optim.sharded(optim.adam(0.1), "data").init(q)[0].mu["w"].sharding.spec == P("data", None)


def test_what_cannot_be_divided_is_refused_on_demand():
    on = mesh()
    p = jax.device_put(params(), NamedSharding(on, P()))
    tx = optim.sharded(optim.adam(0.1), "data", indivisible="refuse")
    with (
        jax.set_mesh(on),
        pytest.raises(ValueError, match=r"params\['b'\] of shape \(3,\) cannot be divided by 'data'"),
    ):
        tx.init(p)
    with jax.set_mesh(on), pytest.raises(ValueError, match="spec names the axis 'model', the mesh has 'data'"):
        optim.sharded(optim.adam(0.1), "model").init(p)


def test_specs_of_a_state_follow_the_parameters():
    shapes = {"w": jax.ShapeDtypeStruct((64, 32), jnp.float32), "b": jax.ShapeDtypeStruct((32,), jnp.float32)}
    specs = {"w": P("a", "b"), "b": None}
    factored = optim.state_specs(optim.adafactor(0.1, min_dim_size_to_factor=8), shapes, specs)[0]
    assert factored.v_row == {"w": P("b"), "b": P()}
    assert factored.v_col == {"w": P("a"), "b": P()}
    grouped = optim.partition({"x": optim.adam(0.1), "y": optim.set_to_zero()}, {"w": "x", "b": "y"})
    assert optim.state_specs(grouped, shapes, specs).inner_states["x"].inner_state[0].mu["w"] == P("a", "b")
    on = jax.make_mesh((4, 2), ("a", "b"))
    named = optim.state_specs(optim.adam(0.1), shapes, {"w": NamedSharding(on, P("a", "b")), "b": None})
    assert named[0].mu["w"] == NamedSharding(on, P("a", "b"))
    # They place a state: what restores a checkpoint under another mesh asks for.
    made = jax.jit(optim.adam(0.1).init, out_shardings=named)(jax.tree.map(lambda x: jnp.ones(x.shape), shapes))
    assert made[0].nu["w"].addressable_shards[0].data.shape == (16, 16)


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        ({"w": P("a", "b", "c"), "b": None}, r"specs\['w'\] is .*, its parameter has shape \(64, 32\)"),
        ({"w": P("a", "a"), "b": None}, r"specs\['w'\] is .* uses the axis 'a' twice"),
        ({"w": "a", "b": None}, r"specs.* must be a PartitionSpec, a NamedSharding or None, got 'a'"),
        ({"w": P("a")}, "specs must be a prefix of the parameters' tree"),
    ],
)
def test_wrong_specs_are_refused(specs, sentence):
    shapes = {"w": jax.ShapeDtypeStruct((64, 32), jnp.float32), "b": jax.ShapeDtypeStruct((32,), jnp.float32)}
    with pytest.raises((TypeError, ValueError), match=f"^state_specs: .*{sentence}"):
        optim.state_specs(optim.adam(0.1), shapes, specs)

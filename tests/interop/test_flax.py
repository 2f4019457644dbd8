"""Flax: `TrainState`, `nnx.Optimizer`, its serialization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.interop.optax import convert_state

from ..every.rows import equal
from . import examples

flax = pytest.importorskip("flax", reason="Flax is not installed")
from flax import nnx, serialization  # noqa: E402
from flax.training.train_state import TrainState  # noqa: E402

pytestmark = pytest.mark.usefixtures("standard_promotion")
SIZES = {"hidden": 32, "output": 10}
PARAMS = {"hidden": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
KEYS = {
    "scale_by_adam/count",
    "version",
    *(f"scale_by_adam/{s}/hidden/{x}" for s in ("mu", "nu") for x in ("bias", "kernel")),
}


def test_the_linen_example(capsys):
    state = examples.run("flax_linen")
    assert capsys.readouterr().out.strip().endswith("after 30 steps")
    assert int(state.step) == 30
    labels = state.opt_state[1].inner_states["rest"].inner_state[0].mu
    assert jax.tree.structure(labels) == jax.tree.structure(
        {k: {"bias": 0, "kernel": None} for k in ("hidden", "output")}
    )
    # Flax' serialization restores it bit for bit.
    fresh = state.replace(step=0, opt_state=state.tx.init(state.params))
    again = serialization.from_bytes(fresh, serialization.to_bytes(state))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again.opt_state, state.opt_state)


def test_frozen_dicts_and_state_dict():
    frozen = flax.core.freeze(PARAMS)
    tx = optim.chain(optim.masked(optim.adam(0.1), True))
    state = TrainState.create(apply_fn=None, params=frozen, tx=tx)
    state = jax.jit(lambda s: s.apply_gradients(grads=frozen))(state)
    assert isinstance(state.params, flax.core.FrozenDict)
    named = optim.state_dict(tx, state.opt_state)
    assert set(named) == KEYS
    equal(jax.tree.leaves(optim.load_state_dict(tx, tx.init(PARAMS), named)), jax.tree.leaves(state.opt_state))


def test_an_optax_state_from_flax_serialization():
    """Flax serializes tuples as dicts with numbers as keys."""
    optax = pytest.importorskip("optax", reason="Optax is not installed")
    other = optax.chain(optax.clip(1.0), optax.adam(0.1))
    _, state = other.update(PARAMS, other.init(PARAMS), PARAMS)
    ours = optim.chain(optim.clip(1.0), optim.adam(0.1))
    restored = serialization.msgpack_restore(serialization.to_bytes(state))
    assert set(restored["1"]) == {"0", "1"}
    equal(convert_state(restored, ours, PARAMS), convert_state(state, ours, PARAMS))


# NNX


class Dense(nnx.Module):
    def __init__(self):
        self.hidden = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        self.norm = nnx.LayerNorm(3, rngs=nnx.Rngs(1))
        self.statistic = nnx.BatchStat(jnp.zeros(3))  # a variable that is not a parameter

    def __call__(self, x):
        return self.norm(self.hidden(x))


def loss_fn(model):
    x = jnp.arange(8.0).reshape(4, 2) / 8
    return jnp.mean((model(x) - x[:, :1]) ** 2)


@nnx.jit
def step(model, optimizer, **extra):
    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads, **dict.fromkeys(extra, loss))
    return loss


def test_the_nnx_example(capsys):
    optimizer = examples.run("flax_nnx")
    assert capsys.readouterr().out.strip().endswith("after 30 steps")
    assert int(optimizer.step[...]) == 30
    names = optim.state_dict(optimizer.tx, optimizer.opt_state)
    expected = {
        f"scale_by_adam@{g}/{s}/{m}/{x}"
        for g, x in (("rest", "bias"), ("decay", "kernel"))
        for s in ("mu", "nu")
        for m in ("hidden", "output")
    }
    assert set(names) == expected | {"scale_by_adam@rest/count", "scale_by_adam@decay/count", "version"}


def test_nnx_equals_pure_arrays():
    """With groups, a schedule and extra arguments; `inspect` returns the same values."""

    def build():
        groups = optim.label_by_path([("*/bias", "b"), ("norm/*", "norm"), ("*", "w")])
        rate = optim.linear_schedule(0.1, 0.01, 5)
        members = {
            "b": optim.sgd(0.1, 0.9),
            "norm": optim.set_to_zero(),
            "w": optim.inject_hyperparams(optim.adamw)(rate),
        }
        return optim.chain(
            optim.clip_by_global_norm(1.0), optim.partition(members, groups), optim.reduce_on_plateau(patience=1)
        )

    model, tx = Dense(), build()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    graph, params, rest = nnx.split(Dense(), nnx.Param, ...)
    params = nnx.to_pure_dict(params)
    state = tx.init(params)

    def pure_loss(params):
        into = nnx.state(Dense(), nnx.Param)
        nnx.replace_by_pure_dict(into, params)
        return loss_fn(nnx.merge(graph, into, rest))

    for _ in range(4):
        loss = step(model, optimizer, value=True)
        other, grads = jax.value_and_grad(pure_loss)(params)
        np.testing.assert_allclose(loss, other, rtol=1e-5)
        updates, state = tx.update(grads, state, params, value=other)
        params = optim.apply_updates(params, updates)
    values, expected = optim.inspect(tx, optimizer.opt_state), optim.inspect(tx, state)
    assert values.keys() == expected.keys()
    for name in values:
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-5)
    now = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), now, params)


def test_a_state_by_name_works_with_nnx():
    model, other = Dense(), Dense()
    tx, changed = optim.adam(0.1), optim.chain(optim.clip(1.0), optim.adam(optim.linear_schedule(0.1, 0.0, 10)))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    for _ in range(3):
        step(model, optimizer)
    named = optim.state_dict(tx, optimizer.opt_state)
    assert set(named) >= KEYS
    plain = tx.init(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert set(optim.state_dict(tx, plain)) == set(named)
    resumed = nnx.Optimizer(other, changed, wrt=nnx.Param)
    resumed.opt_state = nnx.data(optim.load_state_dict(changed, resumed.opt_state, named))
    assert int(optim.inspect(changed, resumed.opt_state)["step"]) == 3
    assert int(resumed.opt_state[1][1].count[...]) == 3
    step(other, resumed)
    assert int(resumed.opt_state[1][1].count[...]) == 4


def test_evaluating_with_an_average():
    model = Dense()
    tx = optim.chain(optim.sgd(0.1), optim.average_params())
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    history = []
    for _ in range(3):
        step(model, optimizer)
        history.append(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    average = optim.eval_params(tx, nnx.as_pure(optimizer.opt_state), params)
    mean = jax.tree.map(lambda *xs: sum(xs) / 3, *history)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), nnx.to_pure_dict(average), mean)

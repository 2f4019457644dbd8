"""Haiku: parameters are dicts of dicts whose keys contain slashes."""

import jax
import jax.numpy as jnp
import pytest

import optim

from ..every.rows import equal
from . import examples

hk = pytest.importorskip("haiku", reason="Haiku is not installed")
pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_the_example(capsys):
    state = examples.run("haiku_mlp")
    assert capsys.readouterr().out.strip().endswith("after 30 steps")
    mu = state[1].inner_states["decay"].inner_state[0].mu
    assert mu["mlp/~/linear_0"]["b"] is None


def test_names():
    model = hk.transform(lambda x: hk.nets.MLP([3, 2])(x))
    params = model.init(jax.random.key(0), jnp.ones((1, 2)))
    tx = optim.adam(0.1)
    _, state = tx.update(params, tx.init(params), params)
    named = optim.state_dict(tx, state)
    assert "scale_by_adam/mu/mlp%2F~%2Flinear_0/w" in named
    equal(optim.load_state_dict(tx, tx.init(params), named), state)
    labels = optim.label_by_path([("mlp/~/linear_0/*", "first"), ("*", "rest")])(params)
    assert labels["mlp/~/linear_0"] == {"w": "first", "b": "first"}


def test_parameters_split_in_two():
    """Haiku's `partition` makes two trees, and `merge` joins them."""
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([3, 2], activation=jnp.tanh)(x)))
    params = model.init(jax.random.key(0), jnp.ones((1, 2)))
    trained, frozen = hk.data_structures.partition(lambda module, name, value: name == "w", params)

    def loss_fn(trained):
        return jnp.sum(model.apply(hk.data_structures.merge(trained, frozen), jnp.ones((1, 2))) ** 2)

    tx = optim.adam(0.1)
    new, state, _ = optim.make_step(loss_fn, tx, donate=False)(trained, tx.init(trained))
    assert jax.tree.structure(new) == jax.tree.structure(trained)
    assert jax.tree.structure(state[0].mu) == jax.tree.structure(trained)
    assert loss_fn(new) < loss_fn(trained)

"""The average that `average_params` keeps, and what evaluation gets of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import grads, tree


@pytest.mark.parametrize("decay", [None, 0.9])
def test_average(decay, x64):
    tx, params = optim.chain(optim.sgd(0.1), optim.average_params(decay)), tree(jnp.float64)
    state, seen = tx.init(params), []
    average = np.asarray(params["w"])
    step = jax.jit(tx.update)
    for n in range(5):
        u, state = step(grads(params, n), state, params)
        params = optim.apply_updates(params, u)
        seen.append(np.asarray(params["w"]))
        average = np.mean(seen, 0) if decay is None else 0.9 * average + 0.1 * seen[-1]
        np.testing.assert_allclose(optim.eval_params(tx, state, params)["w"], average, rtol=1e-12)


def test_evaluation_has_the_parameters_dtype_and_leaves_other_groups_alone():
    params = tree(jnp.bfloat16)
    tx = optim.partition(
        {"a": optim.chain(optim.sgd(0.5), optim.average_params()), "b": optim.sgd(0.5)},
        optim.label_by_path([("w", "a"), ("*", "b")]),
    )
    state, moved = tx.init(params), params
    assert state.inner_states["a"].inner_state[1].average["w"].dtype == jnp.float32
    for n in range(2):
        u, state = tx.update(grads(params, n), state, moved)
        moved = optim.apply_updates(moved, u)
    evaluated = optim.eval_params(tx, state, moved)
    assert evaluated["b"] is moved["b"]
    assert evaluated["w"].dtype == jnp.bfloat16
    assert not np.array_equal(evaluated["w"], moved["w"])


def test_without_an_average_the_parameters_are_evaluated():
    params = tree()
    tx = optim.adam(0.1)
    assert optim.eval_params(tx, tx.init(params), params) is params

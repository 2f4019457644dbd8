"""A stable run from whose checkpoint a decay branches off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

P = jnp.ones(2)


def test_a_branch_decays_and_the_run_goes_on():
    tx = optim.inject_hyperparams(optim.sgd)(optim.branching_wsd_schedule(0.0, 1.0, 4, 5, "linear", 0.2))
    step, state, rates = jax.jit(tx.update), tx.init(P), []
    for _ in range(8):
        u, state = step(P, state, P)
        rates.append(-float(u[0]))
    branch, decays = optim.tree.set(state, decay_begin=jnp.int32(8)), []
    for _ in range(7):
        u, branch = step(P, branch, P)
        decays.append(-float(u[0]))
    u, _ = step(P, state, P)
    np.testing.assert_allclose(rates, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    np.testing.assert_allclose(decays, [1, 0.84, 0.68, 0.52, 0.36, 0.2, 0.2], rtol=1e-6)
    assert float(u[0]) == -1.0
    assert step._cache_size() == 1
    assert optim.inspect(tx, branch)["learning_rate"] == pytest.approx(0.2)


def test_the_branch_is_the_schedule_with_an_end():
    for tail in ("linear", "cosine", "1-sqrt"):
        stateful = optim.branching_wsd_schedule(0.1, 1.0, 3, 6, tail)
        state = stateful.init()._replace(decay_begin=jnp.int32(14))
        whole = optim.wsd_schedule(0.1, 1.0, 3, 20, 6, tail)
        for n in range(25):
            assert float(stateful(state)) == pytest.approx(float(whole(n)), abs=1e-6)
            state = stateful.update(state, value=1.0)


def test_it_is_equal_to_another_of_the_same_call():
    a, b = (optim.branching_wsd_schedule(0.0, 1.0, 3, 6) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert repr(a) == "branching_wsd_schedule(0.0, 1.0, 3, 6)"


def test_one_cycle_of_a_momentum():
    rate, momentum = optim.cyclic_schedule(0.01, 0.1, 3), optim.cyclic_schedule(0.95, 0.85, 3)
    tx = optim.inject_hyperparams(optim.sgd)(rate, momentum)
    state = tx.init(P)
    for n in range(4):
        _, state = tx.update(P, state, P)
        assert float(state.hyperparams["momentum"]) == pytest.approx(0.95 - 0.1 * n / 3)
        assert float(state.hyperparams["learning_rate"]) == pytest.approx(0.01 + 0.09 * n / 3)

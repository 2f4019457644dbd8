"""The gradient noise scale of gradients whose noise is known."""

import jax
import jax.numpy as jnp
import numpy as np

import optim


def test_noise_over_signal(x64):
    """Micro-batches of 4 and a batch of 32 of examples with gradient (1, 2, 2) and variance 3 in each element."""
    tx = optim.gradient_noise_scale(32, 4, 0.995)
    state, params = tx.init(jnp.zeros(3)), jnp.zeros(3)
    rng = np.random.default_rng(0)
    micro = np.asarray([1.0, 2.0, 2.0]) + np.sqrt(3 / 4) * rng.normal(size=(2000, 8, 3))

    def step(state, parts):
        sizes = jnp.mean(jnp.sum(parts**2, axis=-1))
        u, state = tx.update(jnp.mean(parts, 0), state, params, micro_sq_norm=sizes)
        return state, u

    state, us = jax.lax.scan(step, state, jnp.asarray(micro))
    np.testing.assert_array_equal(us, micro.mean(1))
    assert abs(float(optim.inspect(tx, state)["noise_scale"]) - 3 * 3 / 9) < 0.1
    assert abs(float(state.noise) / 9 - 1) < 0.1
    assert abs(float(state.signal) / 9 - 1) < 0.05


def test_one_update_by_hand(x64):
    tx = optim.gradient_noise_scale(8, 2, 0.5)
    g = jnp.asarray([1.0, 2.0])
    _, state = tx.update(g, tx.init(g), g, micro_sq_norm=11.0)
    np.testing.assert_allclose(state.noise, 0.5 * (11 - 5) / (1 / 2 - 1 / 8))
    np.testing.assert_allclose(state.signal, 0.5 * (8 * 5 - 2 * 11) / (8 - 2))

"""A float32 run of an elementwise rule stays with the same formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from .rows import as_users_compile, column

STEPS, SEEDS = 1000, 5


def gradients(seed=0):
    """As float32 holds them, so that both runs see the same numbers."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(STEPS, 32)) + 0.1).astype(np.float32)


def updates(tx, dtype):
    """The updates of every step: seeds, steps, elements."""
    params = jnp.linspace(-1, 1, 32).astype(dtype)

    def step(state, g):
        u, state = tx.update(g, state, params)
        return state, u

    def run(g):
        return jax.lax.scan(step, tx.init(params), g)[1]

    g = np.stack([gradients(seed) for seed in range(SEEDS)])
    return np.asarray(as_users_compile(jax.vmap(run))(jnp.asarray(g, dtype)))


def narrow_by_choice(row):
    """Whether the example asks for a slot of fewer bits than float32."""
    return "bfloat16" in repr(row.make())


@column("precision", "elementwise", where=lambda row: not narrow_by_choice(row))
def test_float32_follows_float64(row, x64):
    tx = row.make()
    narrow, wide = updates(tx, jnp.float32).astype(np.float64), updates(tx, jnp.float64)
    size = np.maximum(1, np.abs(wide).max(axis=2, keepdims=True))  # 1 where updates are of unit size
    error = np.abs(narrow - wide) / np.maximum(np.abs(wide), 0.1 * size)
    largest, mean = error.max(axis=(1, 2)), np.sqrt(np.mean(error**2, axis=(1, 2)))
    assert largest.max() < 1e-6, f"largest error at each seed: {largest}"
    assert mean.max() < 3e-7, f"root mean square of the error at each seed: {mean}"


def test_the_bound_tells_the_drifting_form():
    """b x + (1 - b) g in float32 leaves the bound that x + (1 - b) (g - x) keeps."""
    g = gradients()
    b = np.float32(0.999)
    naive = good = np.zeros(32, np.float32)
    exact = np.zeros(32)
    for row in g:
        naive = b * naive + (np.float32(1) - b) * row**2
        good = good + np.float32(1 - 0.999) * (row**2 - good)
        exact = 0.999 * exact + (1 - 0.999) * np.float64(row**2)
    errors = [np.max(np.abs(x / exact - 1)) for x in (good, naive)]
    assert errors[0] < 2e-6
    assert errors[1] > 3 * errors[0]
    assert float(optim.numerics.bias_factor(0.999, jnp.asarray(1), jnp.float32)) == pytest.approx(1e-3, rel=2e-7)
    assert np.float32(1) - np.float32(0.999) ** 1 != pytest.approx(1e-3, rel=1e-5)

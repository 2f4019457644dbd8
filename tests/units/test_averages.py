"""Averages that optimizers keep, against a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import optim

from ..every.rows import grads, tree


def points(tx, steps=8):
    """The parameter `w` and the point to evaluate at, after each step."""
    params, seen = tree(jnp.float64), []
    state, step = tx.init(params), jax.jit(tx.update)
    for n in range(steps):
        u, state = step(grads(params, n), state, params)
        params = optim.apply_updates(params, u)
        seen.append((np.asarray(params["w"]), np.asarray(optim.eval_params(tx, state, params)["w"])))
    return seen


def check(tx, average):
    """`average(t, a, p)` is the average after update t, from the one before and the parameter."""
    a = np.asarray(tree(jnp.float64)["w"])
    seen = points(tx)
    for t, (p, evaluated) in enumerate(seen, 1):
        a = average(t, a, p)
        np.testing.assert_allclose(evaluated, a, rtol=1e-11)
    assert np.abs(seen[-1][0] - seen[-1][1]).max() > 1e-3


def test_asgd(x64):
    check(optim.asgd(0.1, t0=3), lambda t, a, p: a + (p - a) / max(1, t - 1 - 3))

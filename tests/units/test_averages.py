"""Averages that optimizers keep, against a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


def test_power_ema(x64):
    for sigma in (0.05, 0.1, 0.25):
        gamma = max(np.roots([1, 7, 16 - sigma**-2, 12 - sigma**-2]).real)
        tx = optim.chain(optim.sgd(0.1), optim.power_ema(sigma))
        check(tx, lambda t, a, p, gamma=gamma: (1 - 1 / t) ** (gamma + 1) * a + (1 - (1 - 1 / t) ** (gamma + 1)) * p)


def test_the_weights_of_a_power_ema_have_its_width(x64):
    """As a distribution over time, the weights have the relative standard deviation sigma_rel."""
    tx, n = optim.power_ema(0.1), 2000

    def weights(t):
        """The average of an indicator of time t."""
        state = tx.init(jnp.zeros(()))

        def step(state, i):
            return tx.update(jnp.where(i == t, 1.0, 0.0), state, jnp.zeros(()))[1], None

        return jax.lax.scan(step, state, jnp.arange(n))[0].average

    times = np.arange(0, n, 20)
    w = np.asarray(jax.jit(jax.vmap(weights))(jnp.asarray(times)))
    w = w / w.sum()
    mean = (w * times).sum()
    assert abs(np.sqrt((w * (times - mean) ** 2).sum()) / n - 0.1) < 2e-3


def test_synthesis(x64):
    """Of two widths, stored five times, the average of another width that was kept all along."""
    rng = np.random.default_rng(0)
    points = np.cumsum(rng.normal(size=(400, 3)), 0) / 20
    widths, stored, kept = (0.05, 0.1), [], {}
    for width in (*widths, 0.07):
        tx, average = optim.power_ema(width), []

        def step(state, p, tx=tx):
            state = tx.update(jnp.zeros(3), state, p)[1]
            return state, state.average

        kept[width] = np.asarray(jax.lax.scan(step, tx.init(jnp.zeros(3)), jnp.asarray(points))[1])
        if width in widths:
            stored += [(t, width, {"w": jnp.asarray(kept[width][t - 1])}) for t in range(40, 401, 40)]
        del average
    counts, sigmas, averages = zip(*stored, strict=True)
    made = optim.power_ema_synthesis(averages, counts, sigmas, 400, 0.07)["w"]
    assert np.abs(made - kept[0.07][-1]).max() < 0.01
    assert np.abs(made - kept[0.05][-1]).max() > 0.05
    exact = optim.power_ema_synthesis(averages, counts, sigmas, 400, 0.05)["w"]
    np.testing.assert_allclose(exact, kept[0.05][-1], atol=1e-8)
    with pytest.raises(ValueError, match="lists of one length, got 20, 20 and 1"):
        optim.power_ema_synthesis(averages, counts, [0.1], 400, 0.05)


@pytest.mark.parametrize("burn_in", [0, 3])
def test_bema(burn_in, x64):
    tx = optim.chain(optim.sgd(0.1), optim.bema(burn_in=burn_in))
    a = start = np.asarray(tree(jnp.float64)["w"])
    for t, (p, evaluated) in enumerate(points(tx), 1):
        a = p if t <= burn_in else (1 - (10 + t) ** -0.5) * a + (10 + t) ** -0.5 * p
        start = p if t <= burn_in else start
        np.testing.assert_allclose(evaluated, a + (10 + t) ** -0.2 * (p - start), rtol=1e-11)


def test_lawa(x64):
    tx, seen = optim.chain(optim.sgd(0.1), optim.lawa(2, 2)), []
    for t, (p, evaluated) in enumerate(points(tx), 1):
        seen += [p] if t % 2 == 0 else []
        np.testing.assert_allclose(evaluated, np.mean(seen[-2:], 0) if seen else p, rtol=1e-12)


@pytest.mark.parametrize(("start", "interval"), [(3, 1), (2, 3)])
def test_swa(start, interval, x64):
    tx, seen = optim.chain(optim.sgd(0.1), optim.swa(start, interval)), []
    for t, (p, evaluated) in enumerate(points(tx), 1):
        seen += [p] if t >= start and (t - start) % interval == 0 else []
        np.testing.assert_allclose(evaluated, np.mean(seen, 0) if seen else p, rtol=1e-12)


def test_evaluation_has_the_parameters_dtype():
    params = {**tree(jnp.bfloat16), "n": jnp.arange(3), "none": None}
    for average in (optim.power_ema(), optim.bema(), optim.lawa(2, 1), optim.swa(1)):
        tx = optim.chain(optim.sgd(0.1), average)
        state, g = tx.init(params), {**grads(tree(jnp.bfloat16)), "n": None, "none": None}
        _, state = tx.update(g, state, params)
        evaluated = optim.eval_params(tx, state, params)
        assert evaluated["none"] is None
        assert evaluated["w"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(evaluated["n"], params["n"])


def test_the_outer_optimizer_evaluates_its_slow_parameters(x64):
    seen = points(optim.outer_nesterov(optim.sgd(0.1), 3))
    start = np.asarray(tree(jnp.float64)["w"])
    np.testing.assert_array_equal(seen[1][1], start)
    np.testing.assert_allclose(seen[2][0], seen[2][1], rtol=1e-12)
    np.testing.assert_array_equal(seen[4][1], seen[2][1])

"""Optimizers that find their own step size: what the sweeps and the goldens do not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.interop.optax import RULES

from ..every.rows import close, finite, grads, tree

optax = pytest.importorskip("optax", reason="Optax is a test dependency")

TREEWISE = {
    "dog": optim.dog(init_step=("distance", 0.1), weight_decay=0.1),
    "dowg": optim.dowg(init_estim_sq_dist=0.1),
    "dadapt_adamw": optim.dadapt_adamw(estim_lr0=0.1, weight_decay=0.1),
    "prodigy": optim.prodigy(estim_lr0=0.1, weight_decay=0.1),
    "momo": optim.momo(0.5, lower_bound=0.1, weight_decay=0.1),
    "momo_adam": optim.momo_adam(0.5, adapt_lower_bound=True),
}
BOTH = {**TREEWISE, "cocob": optim.cocob(alpha=3.0), "schedule_free_adamw": optim.schedule_free_adamw(0.1)}


@pytest.mark.parametrize("name", BOTH)
def test_fresh_state_is_optaxs(name, x64, standard_promotion):
    params = tree(jnp.float64)
    options = RULES.get(name, {})
    arguments = {k: v for k, v in BOTH[name].call.arguments.items() if v is not None and k not in options}
    other = getattr(optax.contrib, name)(**arguments).init(params)
    for a, b in zip(jax.tree.leaves(BOTH[name].init(params)), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("name", ["dog", "dowg", "dadapt_adamw", "prodigy"])
def test_a_distance_is_found(name):
    """Far from the minimum, with the first guess at its default: the distance comes to be known, the minimum near."""
    tx, target = getattr(optim, name)(), jnp.asarray([3.0, -4.0])

    def step(carry, _):
        x, state = carry
        u, state = tx.update(jnp.sign(x - target) + 0.1 * (x - target), state, x)
        return (optim.apply_updates(x, u), state), None

    start = jnp.zeros(2)
    (x, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=3000))((start, tx.init(start)))
    assert float(jnp.max(jnp.abs(x - target))) < 0.5


def test_dog_waits_for_a_gradient():
    """A first gradient of zero does not use the first step up."""
    tx, params = optim.dog(init_step=("learning_rate", 0.1)), jnp.ones(2)
    state = tx.init(params)
    for g, expected in ((0.0, 0.0), (0.0, 0.0), (1.0, -0.1)):
        u, state = tx.update(jnp.full(2, g), state, params)
        params = optim.apply_updates(params, u)
        np.testing.assert_allclose(u, expected, rtol=1e-6)
    u, _ = tx.update(jnp.ones(2), state, params)
    np.testing.assert_allclose(u, -0.1 * np.sqrt(2) / 2, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_cocob_has_no_unit(size):
    """Without eps an update does not depend on the unit of the gradient, in all of float32."""
    tx = optim.scale_by_cocob(3.0, eps=0.0)
    params = [tree(), tree()]
    states = [tx.init(p) for p in params]
    for n in range(4):
        for i, unit in enumerate((1.0, size)):
            g = jax.tree.map(lambda g, unit=unit: unit * g, grads(params[i], n))
            u, states[i] = tx.update(g, states[i], params[i])
            params[i] = optim.apply_updates(params[i], u)
    assert finite(params)
    close(*params, rtol=1e-4)
    assert not np.allclose(params[0]["w"], tree()["w"], atol=1e-2)


def test_prodigy_without_a_gradient():
    """What is not there adds nothing to the numerator, and its part of the denominator stays."""
    tx = optim.prodigy(betas=(0.9, 0.81), estim_lr0=0.1)
    params = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray([3.0])}
    _, state = tx.update({"a": jnp.asarray([0.5, -1.0]), "b": jnp.asarray([2.0])}, tx.init(params), params)
    params = jax.tree.map(lambda p: p - 0.5, params)
    _, new = tx.update({"a": jnp.asarray([1.0, 2.0]), "b": None}, state, params)
    step = 0.1 * np.sqrt([1 - 0.81, 1 - 0.81**2]) / (1 - np.asarray([0.9, 0.81]))
    np.testing.assert_allclose(state.grad_sum["a"], step[0] * np.asarray([0.5, -1.0]), rtol=1e-5)
    s_a = 0.9 * step[0] * np.asarray([0.5, -1.0]) + step[1] * np.asarray([1.0, 2.0])
    numerator = step[1] * (1.0 * 0.5 + 2.0 * 0.5)
    np.testing.assert_allclose(new.numerator_weighted, numerator, rtol=1e-5)
    np.testing.assert_allclose(new.estim_lr, numerator / (np.abs(s_a).sum() + step[0] * 2.0), rtol=1e-5)
    assert float(new.estim_lr) > 0.1


def test_estimates_are_float32_for_float16():
    """A distance of 1e-6 times a gradient is nothing in float16."""
    params = {"w": jnp.ones(3, jnp.float16)}
    for name, tx in BOTH.items():
        u, state = tx.update({"w": jnp.full(3, 1e-3, jnp.float16)}, tx.init(params), params, value=1.0)
        assert finite((u, state)), name
        kept = [x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
        assert kept.count(jnp.float16) == (name in ("dog", "dowg", "prodigy", "cocob")), name
    _, state = optim.prodigy().update({"w": jnp.full(3, 1e-3, jnp.float16)}, optim.prodigy().init(params), params)
    np.testing.assert_allclose(state.exp_avg["w"], 1e-10, rtol=1e-3)


@pytest.mark.parametrize("tx", [optim.momo(), optim.momo_adam()], ids=["momo", "momo_adam"])
def test_momo_needs_the_loss(tx):
    params = jnp.ones(2)
    state, name = tx.init(params), tx.call.name
    with pytest.raises(TypeError, match=rf"{name}: update needs value: call update\(updates, state, params, value="):
        tx.update(params, state, params)
    with pytest.raises(ValueError, match=rf"{name}: value must be a scalar.* of shape \(2,\)"):
        tx.update(params, state, params, value=jnp.ones(2))
    with jax.numpy_dtype_promotion("standard"):
        expected = tx.update(params, state, params, value=0.5)
    for value in (jnp.asarray(0.5, jnp.bfloat16), np.float32(0.5)):
        close(tx.update(params, state, params, value=value), expected)


@pytest.mark.parametrize("decay_step", [True, False])
def test_a_decayed_step_of_momo_meets_the_bound(decay_step, x64):
    """Of the model f + <g, p' - p>, at the new point p': the one of Optax misses it."""
    tx = optim.momo(10.0, beta=0.0, lower_bound=1.0, weight_decay=0.02, decay_step=decay_step)
    p, g, value = jnp.asarray([2.0, -1.0]), jnp.asarray([1.0, 3.0]), 4.0
    u, _ = tx.update(g, tx.init(p), p, value=value)
    assert (abs(float(value + g @ u) - 1.0) < 1e-12) == decay_step


def test_momo_stops_at_the_bound():
    """|x|^2 from where the model is exact: a whole step to the bound, none once it is reached."""
    tx, x = optim.momo(100.0, beta=0.0, lower_bound=1.0), jnp.asarray([2.0, 0.0])
    u, state = tx.update(2 * x, tx.init(x), x, value=4.0)
    np.testing.assert_allclose(u, [-3 / 4, 0], rtol=1e-6)
    u, _ = tx.update(2 * x, state, x, value=0.9)
    np.testing.assert_array_equal(u, 0 * x)


def test_sum_over_a_tree():
    t = {
        "a": jnp.asarray([1.0, 2.0], jnp.bfloat16),
        "c": jnp.asarray([1 + 2j], jnp.complex64),
        "n": None,
        "m": jnp.ones(3),
    }
    other = {"a": jnp.asarray([2.0, -3.0]), "c": jnp.asarray([3 - 1j], jnp.complex64), "n": None, "m": None}
    inner = optim.tree.total(lambda x, y: None if y is None else x * y, t, other)
    assert float(inner) == 2 - 6 + 3 - 2
    assert inner.dtype == jnp.float32
    assert float(optim.tree.total(jnp.abs, t)) == 3 + 3 + 3
    assert float(optim.tree.total(jnp.abs, {})) == 0
    assert float(optim.tree.total(lambda x, y: x if y is None else 0 * x, t, {**other, "a": None})) == 6

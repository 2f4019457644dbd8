"""Loss scaling: what is scaled, when the scale moves, and which steps are taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim


def test_the_scale_follows_the_gradients():
    tx = optim.dynamic_loss_scale(optim.sgd(0.1, momentum=0.9), 8.0, 2.0, 2, min_scale=2.0, max_scale=16.0)
    p = {"w": jnp.ones(3)}
    state = tx.init(p)
    good, bad = {"w": jnp.full(3, 8.0)}, {"w": jnp.asarray([1.0, np.inf, 1.0])}
    scales = []
    for g in (good, good, good, bad, bad, bad, bad, good, bad, good, good):
        before = state
        u, state = jax.jit(tx.update)(g, state, p)
        scales.append(float(state.loss_scale))
        if g is bad:
            assert (u["w"] == 0).all()
            jax.tree.map(np.testing.assert_array_equal, state.inner_state, before.inner_state)
    assert scales == [8, 16, 16, 8, 4, 2, 2, 2, 2, 2, 4]
    assert int(state.skipped) == 5
    report = optim.inspect(tx, state)
    assert float(report["loss_scale"]) == 4
    assert int(report["skipped"]) == 5


def test_gradients_are_unscaled():
    tx = optim.dynamic_loss_scale(optim.sgd(1.0), 1024.0)
    g = {"w": jnp.asarray([1024.0, 2.0**-20], jnp.float16), "none": None}
    u, _ = tx.update(g, tx.init({"w": jnp.ones(2, jnp.float16), "none": None}))
    assert u["w"].dtype == jnp.float16
    wide = optim.dynamic_loss_scale(optim.chain(optim.identity(), optim.scale(1024.0)), 1024.0)
    u, _ = wide.update(g, wide.init({"w": jnp.ones(2, jnp.float16), "none": None}))
    np.testing.assert_array_equal(u["w"], g["w"])  # nothing is lost between the quotient and the members


def test_float16_trains_where_it_would_underflow():
    x = jnp.full((4, 8), 1e-3, jnp.float16)

    def loss(p):
        return jnp.mean(((x @ p["w"]) * jnp.float16(1e-2)).astype(jnp.float32)) * 1e-4

    p = {"w": jnp.ones((8,), jnp.float16)}
    assert (jax.grad(loss)(p)["w"] == 0).all()
    tx = optim.dynamic_loss_scale(optim.adam(1e-2, eps=1e-12))
    step = optim.make_step(loss, tx, donate=False)
    new, state, value = step(p, tx.init(p))
    assert (new["w"] < 0.995).all()
    np.testing.assert_allclose(value, loss(p), rtol=1e-6)
    assert int(state.skipped) == 0
    by_hand = jax.grad(lambda p: optim.scale_loss(tx.init(p), loss(p)))(p)
    u, _ = tx.update(by_hand, tx.init(p), p)
    np.testing.assert_array_equal(optim.apply_updates(p, u)["w"], new["w"])
    with_aux = optim.make_step(lambda p: (loss(p), 7), tx, has_aux=True, donate=False)
    same, _, (value, aux) = with_aux(p, tx.init(p))
    np.testing.assert_array_equal(same["w"], new["w"])
    assert int(aux) == 7


def test_all_devices_skip_together():
    tx = optim.dynamic_loss_scale(optim.sgd(1.0), 1.0, axis_name="d")
    p = {"w": jnp.ones((4, 3))}
    g = {"w": p["w"].at[2, 1].set(jnp.inf)}
    states = jax.vmap(tx.init)(p)
    u, new = jax.vmap(tx.update, axis_name="d")(g, states, p)
    assert (u["w"] == 0).all()
    assert (new.skipped == 1).all()


def test_exact_updates_stay_exact():
    tx = optim.dynamic_loss_scale(optim.low_memory(optim.sgd(1e-3), slots=None))
    p = {"w": jnp.ones(3, jnp.bfloat16)}
    u, _ = tx.update(p, tx.init(p), p)
    assert u["w"].dtype == jnp.float32


def test_sentences():
    with pytest.raises(ValueError, match="scale_loss: state has no loss scale"):
        optim.scale_loss(optim.adam(0.1).init({}), jnp.ones(()))
    with pytest.raises(ValueError, match=r"dynamic_loss_scale: factor must be"):
        optim.dynamic_loss_scale(optim.sgd(0.1), factor=1.0)

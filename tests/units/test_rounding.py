"""Parameters of 16 bits: how far they come, and what an update of them becomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

MEMBERS = {
    "stochastic": optim.round_stochastically(),
    "int8": optim.keep_residual(),
    "int16": optim.keep_residual("int16"),
    "kahan": optim.keep_residual("kahan"),
    "master": optim.keep_master(),
}
DTYPES = [jnp.bfloat16, jnp.float16]


def walked(last, dtype, steps=100, size=1e-3, n=512, start=1.0):
    """Parameters after equal steps, and the states on the way."""
    tx = optim.chain(optim.identity(), last) if last is not None else optim.identity()
    params = {"w": jnp.full((n,), start, dtype)}
    u = {"w": jnp.full((n,), size, dtype if last is None else jnp.float32)}

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(u, state, params)
        return (optim.apply_updates(params, updates), state), None

    (params, state), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, length=steps))((params, tx.init(params)))
    return np.asarray(params["w"], np.float64), state


def test_small_steps_arrive():
    expected = float(jnp.bfloat16(1.1))
    assert (walked(None, jnp.bfloat16)[0] == 1.0).all()
    for name in ("int8", "int16", "kahan", "master"):
        assert (walked(MEMBERS[name], jnp.bfloat16)[0] == expected).all(), name
    w, _ = walked(MEMBERS["stochastic"], jnp.bfloat16)
    assert len({*w.tolist()}) > 2
    assert abs(w.mean() - 1.1) < 3e-3  # the standard error of 512 walks is 1.1e-3
    for name in ("int8", "int16", "kahan", "master"):
        w, _ = walked(MEMBERS[name], jnp.float16, steps=100, size=1e-4)
        assert (w == float(jnp.float16(1.01))).all(), name


@pytest.mark.parametrize("dtype", DTYPES, ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", MEMBERS)
def test_apply_updates_gives_the_rounded_parameter(name, dtype):
    """The update is the exact difference of two parameters, whatever the dtype of the gradients."""
    rng = np.random.default_rng(0)
    p = {"w": jnp.asarray(rng.normal(size=4096), dtype), "x": jnp.ones(3), "n": jnp.arange(2), "none": None}
    tx = optim.chain(optim.sgd(1.0), MEMBERS[name])
    state = tx.init(p)
    theta = np.asarray(p["w"], np.float64)
    for n in range(4):
        g = {"w": jnp.asarray(0.01 * rng.normal(size=4096), dtype), "x": jnp.ones(3), "n": None, "none": None}
        u, state = tx.update(g, state, p)
        assert u["w"].dtype == jnp.float32
        assert u["n"] is None
        new = optim.apply_updates(p, u)
        assert new["w"].dtype == dtype
        np.testing.assert_array_equal(
            np.asarray(p["w"], np.float64) + np.asarray(u["w"]), np.asarray(new["w"], np.float64)
        )
        np.testing.assert_array_equal(new["x"], p["x"] - 1)
        theta, p = theta - np.asarray(g["w"], np.float64), new
        ulp = 2.0 ** (np.floor(np.log2(np.abs(theta) + 1e-9)) - (7 if dtype == jnp.bfloat16 else 10))
        bound = {"stochastic": 4 + n, "kahan": 0.52, "master": 0.502, "int16": 0.502, "int8": 0.52}[name]
        assert (np.abs(np.asarray(p["w"], np.float64) - theta) <= bound * np.maximum(ulp, 2.0**-14)).all()


@pytest.mark.parametrize("name", ["int8", "int16", "master"])
def test_weight_decay_is_in_the_same_rounding(name):
    """A decay of 1e-4 a step is below half an ulp of every bfloat16 parameter."""
    p = {"w": jnp.full((8,), 1.0, jnp.bfloat16)}
    tx = optim.chain(optim.add_decayed_weights(1e-4), optim.scale(-1.0), MEMBERS[name])
    state, zero = tx.init(p), {"w": jnp.zeros((8,), jnp.bfloat16)}
    step = jax.jit(tx.update)
    for _ in range(100):
        u, state = step(zero, state, p)
        p = optim.apply_updates(p, u)
    far = np.abs(np.asarray(p["w"], np.float64) - float(jnp.bfloat16(0.99)))
    assert (far <= (2**-8 if name == "int8" else 0)).all()  # int8 rounds 6.5 of its units at every step


def test_places():
    with pytest.raises(ValueError, match=r"keep_residual rounds the parameters and must come last"):
        optim.chain(optim.keep_residual(), optim.scale(-1.0))
    with pytest.raises(ValueError, match=r"put this around the members before it"):
        optim.MultiSteps(optim.chain(optim.sgd(0.1), optim.keep_residual()), 2)
    tx = optim.chain(optim.MultiSteps(optim.sgd(0.1), 2), optim.keep_residual())
    masked = optim.chain(optim.sgd(0.1), optim.masked(optim.keep_residual(), {"w": True, "v": False}))
    p = {"w": jnp.ones(4, jnp.bfloat16), "v": jnp.ones(4, jnp.bfloat16)}
    for t in (tx, masked, optim.inject_hyperparams(optim.low_memory)(optim.sgd(0.1), slots=None)):
        u, _ = t.update(p, t.init(p), p)
        assert u["w"].dtype == jnp.float32
    with pytest.raises(ValueError, match="needs the parameters"):
        optim.keep_residual().update(p, optim.keep_residual().init(p))


def test_not_finite():
    p = {"w": jnp.asarray([1.0, 2.0, 3.0], jnp.bfloat16)}
    for name, last in MEMBERS.items():
        u, _ = last.update({"w": jnp.asarray([np.inf, np.nan, 1.0], jnp.float32)}, last.init(p), p)
        new = np.asarray(optim.apply_updates(p, u)["w"], np.float64)
        assert not np.isfinite(new[:2]).any(), name
        assert new[2] == 4, name


BYTES = [
    # weights' dtype, call, bytes of weights and state, with the gradient
    (jnp.float32, {"weights": "plain", "slots": None}, 12.00001, 16.00001),
    (jnp.float32, {"weights": "plain"}, 6.04, 10.04),
    (jnp.float32, {"weights": "plain", "slots": "int4", "block": 128}, 5.07, 9.07),
    (jnp.bfloat16, {"weights": "stochastic"}, 4.04, 6.04),
    (jnp.bfloat16, {}, 5.04, 7.04),
]


@pytest.mark.parametrize(("dtype", "options", "most", "with_gradient"), BYTES, ids=lambda x: str(x)[:30])
def test_bytes_of_a_parameter(dtype, options, most, with_gradient):
    params = {"w": jax.ShapeDtypeStruct((256, 4096), dtype)}
    n, size = 256 * 4096, jnp.dtype(dtype).itemsize
    state = optim.summary(optim.low_memory(optim.adamw(1e-3), **options), params).bytes / n
    assert most - 0.05 < size + state <= most
    assert size + state + size <= with_gradient


def test_low_memory_trains():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(64, 96)), jnp.float32)
    y = x @ jnp.asarray(rng.normal(size=(96, 128)), jnp.float32) / 10

    def loss(p):
        return jnp.mean((x @ p["w"].astype(jnp.float32) - y) ** 2)

    def final(tx, dtype):
        step = optim.make_step(loss, tx)
        p = {"w": jnp.zeros((96, 128), dtype)}
        state = tx.init(p)
        for _ in range(150):
            p, state, value = step(p, state)
        return float(value)

    plain = final(optim.adamw(3e-3), jnp.float32)
    small = final(optim.low_memory(optim.adamw(3e-3)), jnp.bfloat16)
    nearest = final(optim.adamw(3e-3), jnp.bfloat16)
    assert small < 1.1 * plain + 1e-4
    assert nearest > small


def test_check_numerics():
    p = {"w": jnp.full((64,), 1.0, jnp.bfloat16), "x": jnp.full((64,), 1.0)}
    tx = optim.sgd(1e-4)
    report = optim.check_numerics(tx, p, tx.init(p))
    assert report["w"].stuck == 1
    assert report["w"].lost == 1
    assert report["x"].stuck == 0
    assert report["x"].lost < 1e-3
    assert abs(report["w"].step - 1e-4) < 1e-6
    exact = optim.low_memory(tx, slots=None)
    assert optim.check_numerics(exact, p, exact.init(p))["w"].stuck == 0

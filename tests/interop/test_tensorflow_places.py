"""`TFOptimizer` in several threads, on several devices, and in compiled loops with donated buffers."""

import os
import re
import runpy
import threading
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")


@pytest.fixture(scope="module")
def tx():
    return optim.keras.TFOptimizer(tf.compat.v1.train.AdamOptimizer(0.1))


def step_of(tx, **options):
    def step(params, state, n):
        grads = jax.tree.map(lambda p: jnp.cos(p * (n + 1)), params)
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    return jax.jit(step, **options)


def run(step, params, state, steps=4):
    for n in np.arange(steps, dtype=np.float32):
        params, state = step(params, state, n)
    return params, state


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_threads(tx):
    starts = [{"w": jnp.linspace(0.0, 1.0, 5) * i} for i in range(4)]
    step = step_of(tx)
    separate = [run(step, p, tx.init(p), 20) for p in starts]
    together = [None] * 4

    def work(i):
        together[i] = run(step, starts[i], tx.init(starts[i]), 20)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(together, separate)


@pytest.mark.parametrize("kind", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("init", ["eager", "jitted"])
def test_sharded_parameters(tx, kind, init):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(kind,), devices=jax.devices()[:4])
    params = {"w": jnp.arange(8.0), "b": jnp.ones(3)}
    expected = run(step_of(tx), params, tx.init(params))
    places = {"w": jax.NamedSharding(mesh, jax.P("d")), "b": jax.NamedSharding(mesh, jax.P())}
    spread = jax.device_put(params, places)
    state = (jax.jit(tx.init) if init == "jitted" else tx.init)(spread)
    moved, after = run(step_of(tx), spread, state)
    equal((moved, after), expected)
    updates, _ = tx.update(spread, after, moved)  # eagerly too
    assert updates["w"].sharding.is_equivalent_to(places["w"], 1)
    if init == "eager":
        assert state.inner_state.slots["m"]["w"].sharding.is_equivalent_to(places["w"], 1)


def test_donation_and_cond(tx):
    params = {"w": jnp.arange(4.0)}
    expected = run(step_of(tx), params, tx.init(params))
    step = step_of(tx, donate_argnums=(0, 1))
    equal(run(step, jax.tree.map(jnp.copy, params), tx.init(params)), expected)

    @jax.jit
    def sometimes(params, state, n):
        def move():
            return step_of(tx)(params, state, n)

        return jax.lax.cond(n < 4, move, lambda: (params, state))

    equal(run(sometimes, params, tx.init(params), 7), expected)


def test_example(capsys):
    path = Path(__file__).parents[2] / "examples" / "native_tensorflow.py"
    runpy.run_path(str(path))["main"](["--steps", "60"])
    out = capsys.readouterr().out
    assert "the same numbers" in out
    assert 10 <= int(re.search(r"(\d+) of 50 weights", out)[1]) < 25

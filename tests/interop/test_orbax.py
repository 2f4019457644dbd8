"""Orbax: what is saved is restored onto other devices, and a run goes on as if it had not been broken."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import optim
from optim.interop.optax import convert_state

from ..every.rows import equal, grads, run, tree
from . import beside

ocp = pytest.importorskip("orbax.checkpoint", reason="Orbax is not installed")


def process(devices, *argv):
    """The example in a process that has so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = {**os.environ, "PYTHONPATH": str(beside.ROOT), "XLA_FLAGS": flags}
    command = [sys.executable, "-W", "error", beside.ROOT / "examples/checkpoint.py", *map(str, argv)]
    done = subprocess.run([*command, "--devices", str(devices)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = re.findall(r"^\d devices: loss (\S+), after (\d+) steps (\S+), (\w+)$", done.stdout, re.M)
    return float(found[0]), int(found[1]), float(found[2]), found[3], done.stdout


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """A run on four devices, whole, and one that was saved in the middle."""
    module, path = beside.load("checkpoint"), tmp_path_factory.mktemp("orbax") / "run"
    whole = module.main(["--devices", "4", "--steps", "12"])
    half = module.main([str(path), "--devices", "4", "--steps", "6"])
    kernel = half.state[0][0].mu["hidden"]["kernel"]
    assert len(kernel.sharding.device_set) == 4
    assert kernel.sharding.spec == PartitionSpec("d")
    return module, path, whole, half


def copied(path, tmp_path):
    subprocess.run(["cp", "-r", path, tmp_path / "run"], check=True)
    return tmp_path / "run"


def test_going_on_bit_for_bit(broken_off, tmp_path):
    """In another process with as many devices."""
    _, path, whole, half = broken_off
    first, step, last, digest, out = process(4, copied(path, tmp_path), "--steps", 6)
    assert out.startswith("resuming at step 6\n")
    assert (step, digest) == (12, whole.digest)
    assert whole.digest != half.digest
    assert first == pytest.approx(whole.losses[6], abs=1e-6)
    assert last == pytest.approx(whole.losses[-1], abs=1e-6)


@pytest.mark.parametrize("devices", [2, 1])
def test_going_on_with_other_devices(devices, broken_off, tmp_path):
    """Sums come in another order, so the numbers agree to their rounding."""
    _, path, whole, _ = broken_off
    first, step, last, _, _ = process(devices, copied(path, tmp_path), "--steps", 6)
    assert step == 12
    assert first == pytest.approx(whole.losses[6], rel=1e-5)
    assert last == pytest.approx(whole.losses[-1], rel=1e-4)


def test_restored_numbers_are_the_saved_ones(broken_off):
    """On two devices of those here, before any step: equal bit for bit, and cut in two."""
    module, path, _, half = broken_off
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    tx, params = module.make_optimizer(False), module.initial(mesh)
    params, state, step = module.restore(path, tx, params, jax.jit(tx.init)(params))
    assert step == 6
    equal((params, state), (half.params, half.state))
    assert len(state[0][0].nu["output"]["kernel"].sharding.device_set) == 2


def test_going_on_with_another_optimizer(broken_off, tmp_path):
    """A clip came in, and a schedule, which goes on at the step that the run is at."""
    module, path, _, half = broken_off
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    tx, params = module.make_optimizer(True), module.initial(mesh)
    _, state, _ = module.restore(path, tx, params, jax.jit(tx.init)(params))
    equal(state[1][0], half.state[0][0])
    told = optim.inspect(tx, state)
    rate = optim.cosine_decay_schedule(0.01, 200)
    assert int(state[1][-1].count) == int(told["step"]) == 6
    assert float(told["learning_rate"]) == pytest.approx(float(rate(5)))
    _, step, last, _, out = process(1, copied(path, tmp_path), "--steps", 6, "--schedule")
    assert step == 12
    assert last < half.losses[0]
    assert f"learning_rate {float(rate(11)):.4g}" in out


def test_a_state_as_it_is(tmp_path):
    """With its classes, keys and all, into a fresh one; and back on the way by name."""
    tx = optim.chain(optim.add_noise(0.1, 0.5, 3), optim.apply_if_finite(optim.adam(0.1), 3))
    params, state, _ = run(tx, tree(), 3)
    saved = {"params": params, "state": state, "named": optim.state_dict(tx, state)}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "a", saved)
        checkpointer.wait_until_finished()
        fresh = tx.init(params)
        target = {"params": params, "state": fresh, "named": optim.state_dict(tx, fresh)}
        restored = checkpointer.restore(tmp_path / "a", target)
    equal(restored["state"], state)
    equal(optim.load_state_dict(tx, fresh, restored["named"]), state)
    equal(run(tx, restored["params"], 2, restored["state"], start=3), run(tx, params, 2, state, start=3))


def test_an_optax_state_without_its_classes(tmp_path, standard_promotion):
    """As Orbax gives it where nobody says what it was: dicts, lists, and None for what is empty."""
    optax = pytest.importorskip("optax", reason="Optax is not installed")
    params, mask = tree(), {"w": True, "b": False, "deep": True}
    pairs = [
        lib.chain(lib.clip(1.0), lib.masked(lib.adam(lib.linear_schedule(0.1, 0.0, 5)), mask)) for lib in (optax, optim)
    ]
    other, ours = pairs
    _, state = other.update(grads(params), other.init(params), params)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "a", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "a")
    assert isinstance(restored, list | dict)
    converted = convert_state(restored, ours, params)
    equal(converted, convert_state(state, ours, params))
    u, _ = ours.update(grads(params, 1), converted, params)
    v, _ = other.update(grads(params, 1), state, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), u, v)


def test_a_fresh_state_that_is_cut_takes_what_is_whole():
    """Restored as NumPy arrays, the numbers go where the fresh state's are."""
    mesh = jax.make_mesh((8,), ("d",))
    along = NamedSharding(mesh, PartitionSpec("d"))
    tx, params = optim.adam(0.1), {"w": jax.device_put(jnp.ones((8, 2)), along)}
    state = tx.init(params)
    named = {k: np.asarray(x) + 1 if k != "version" else x for k, x in optim.state_dict(tx, state).items()}
    loaded = optim.load_state_dict(tx, state, named)
    assert loaded[0].mu["w"].sharding.is_equivalent_to(along, 2)
    np.testing.assert_array_equal(loaded[0].mu["w"], np.ones((8, 2)))

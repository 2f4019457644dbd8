"""Orbax: a saved run is restored on other devices, and continues as if it had not been interrupted."""

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
from ..flags import FAST
from . import examples

ocp = pytest.importorskip("orbax.checkpoint", reason="Orbax is not installed")


def process(devices, *argv):
    """Run the example in a process with `devices` devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {FAST}"
    env = {**os.environ, "PYTHONPATH": str(examples.ROOT), "XLA_FLAGS": flags}
    command = [sys.executable, "-W", "error", examples.ROOT / "examples/checkpoint.py", *map(str, argv)]
    done = subprocess.run([*command, "--devices", str(devices)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (numbers,) = re.findall(r"^\d devices: loss (\S+), after (\d+) steps (\S+), (\w+)$", done.stdout, re.M)
    return float(numbers[0]), int(numbers[1]), float(numbers[2]), numbers[3], done.stdout


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A complete run on four devices, and one that was saved half-way."""
    module, path = examples.load("checkpoint"), tmp_path_factory.mktemp("orbax") / "run"
    whole = module.main(["--devices", "4", "--steps", "12"])
    half = module.main([str(path), "--devices", "4", "--steps", "6"])
    kernel = half.state[0][0].mu["hidden"]["kernel"]
    assert len(kernel.sharding.device_set) == 4
    assert kernel.sharding.spec == PartitionSpec("d")
    return module, path, whole, half


def copied(path, tmp_path):
    subprocess.run(["cp", "-r", path, tmp_path / "run"], check=True)
    return tmp_path / "run"


def test_resuming_bit_for_bit(interrupted, tmp_path):
    """In another process with the same number of devices."""
    _, path, whole, half = interrupted
    first, step, last, digest, out = process(4, copied(path, tmp_path), "--steps", 6)
    assert out.startswith("resuming at step 6\n")
    assert (step, digest) == (12, whole.digest)
    assert whole.digest != half.digest
    assert first == pytest.approx(whole.losses[6], abs=1e-6)
    assert last == pytest.approx(whole.losses[-1], abs=1e-6)


@pytest.mark.parametrize("devices", [2, 1])
def test_resuming_on_other_devices(devices, interrupted, tmp_path):
    """The order of summation differs, so the numbers agree up to rounding."""
    _, path, whole, _ = interrupted
    first, step, last, _, _ = process(devices, copied(path, tmp_path), "--steps", 6)
    assert step == 12
    assert first == pytest.approx(whole.losses[6], rel=1e-5)
    assert last == pytest.approx(whole.losses[-1], rel=1e-4)


def test_restored_numbers_are_the_saved_ones(interrupted):
    """On two devices, before any step: equal bit for bit, and sharded over both."""
    module, path, _, half = interrupted
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    tx, params = module.make_optimizer(False), module.initial(mesh)
    params, state, step = module.restore(path, tx, params, jax.jit(tx.init)(params))
    assert step == 6
    equal((params, state), (half.params, half.state))
    assert len(state[0][0].nu["output"]["kernel"].sharding.device_set) == 2


def test_resuming_with_another_optimizer(interrupted, tmp_path):
    """With an additional clip, and a schedule that continues at the step of the run."""
    module, path, _, half = interrupted
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    tx, params = module.make_optimizer(True), module.initial(mesh)
    _, state, _ = module.restore(path, tx, params, jax.jit(tx.init)(params))
    equal(state[1][0], half.state[0][0])
    values = optim.inspect(tx, state)
    rate = optim.cosine_decay_schedule(0.01, 200)
    assert int(state[1][-1].count) == int(values["step"]) == 6
    assert float(values["learning_rate"]) == pytest.approx(float(rate(5)))
    _, step, last, _, out = process(1, copied(path, tmp_path), "--steps", 6, "--schedule")
    assert step == 12
    assert last < half.losses[0]
    assert f"learning_rate {float(rate(11)):.4g}" in out


def test_a_whole_state(tmp_path):
    """A state with its classes and PRNG keys is restored into a fresh one, and also by name."""
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
    """Without a target Orbax restores dicts, lists, and None for empty nodes."""
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


def test_a_sharded_state_loads_numpy_arrays():
    """The restored arrays get the sharding of the fresh state."""
    mesh = jax.make_mesh((8,), ("d",))
    along = NamedSharding(mesh, PartitionSpec("d"))
    tx, params = optim.adam(0.1), {"w": jax.device_put(jnp.ones((8, 2)), along)}
    state = tx.init(params)
    named = {k: np.asarray(x) + 1 if k != "version" else x for k, x in optim.state_dict(tx, state).items()}
    loaded = optim.load_state_dict(tx, state, named)
    assert loaded[0].mu["w"].sharding.is_equivalent_to(along, 2)
    np.testing.assert_array_equal(loaded[0].mu["w"], np.ones((8, 2)))

"""Every example runs with few steps, in this process where possible, and has the documented output and errors."""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import optim

from ..flags import FAST

ROOT = Path(__file__).parents[2]
EXAMPLES = ["digits", "custom_transform", "data_parallel", "low_memory", "plain_trees"]


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture
def custom_transform():
    """The registrations of the example are undone afterwards."""
    entries = dict(optim.core.registry._entries)
    yield load("custom_transform")
    optim.core.registry._entries.clear()
    optim.core.registry._entries.update(entries)


def run(name, *argv, cwd=None, **environment):
    """Run an example in a new process, without the virtual devices of the tests."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": FAST, **environment}
    command = [sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py", *argv]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def test_every_example_has_a_test():
    """Here, or in tests/interop if it needs another library."""
    there = "".join(path.read_text() for path in (ROOT / "tests/interop").glob("test_*.py"))
    here = [p.stem for p in (ROOT / "examples").glob("*.py") if not re.search(rf'"{p.stem}(\.py)?"', there)]
    assert sorted(here) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_help(name, capsys, request):
    module = request.getfixturevalue(name) if name in ("digits", "custom_transform") else load(name)
    with pytest.raises(SystemExit) as stop:
        module.main(["--help"])
    assert stop.value.code == 0
    out, err = capsys.readouterr()
    first_line = module.__doc__.splitlines()[0]
    assert out.startswith("usage:")
    assert first_line in " ".join(out.split())
    assert err == ""


# low_memory.py


def test_low_memory_prints_bytes_and_losses(capsys):
    runs = load("low_memory").main(["--steps", "60", "--width", "64"])
    plain, nearest, small = runs
    assert (plain.weights, small.weights, small.gradient) == (4, 2, 2)
    assert 8 <= plain.state < 8.01
    assert 3.03 < small.state < 3.2  # biases and their moments are float32
    assert abs(small.loss - plain.loss) < 0.05
    assert plain.loss < 4
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split("  ")[0] for line in out.splitlines()[1:]] == [run.name for run in (plain, nearest, small)]


# digits.py


def test_digits_learns(digits, capsys, tmp_path):
    png = tmp_path / "curves.png"
    specs = ["Nadam", "sgd:lr=0.1,momentum=0.9,nesterov=True"]
    runs = digits.main([*specs, "--epochs", "3", "--png", str(png)])
    assert [r.label for r in runs] == specs
    for r in runs:
        assert len(r.losses) == len(r.accuracies) == 3
        assert r.losses[0] > 2 * r.losses[-1] > r.final_loss > 0
        assert r.accuracies[-1] > 0.9
        assert r.steps_per_second > 0

    out, err = capsys.readouterr()
    assert err.strip() == ""  # no progress bar without a terminal
    for r in runs:
        (row,) = [line for line in out.splitlines() if r.label in line]
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert cells == [r.label, f"{r.final_loss:.6f}", f"{r.accuracies[-1]:.1%}", f"{r.steps_per_second:,.0f}"]
    assert out.endswith(f"learning curves: {png}\n")

    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = matplotlib.image.imread(png)
    assert picture.shape == (540, 1320, 4)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 10


@pytest.mark.slow
def test_digits_same_seed_same_numbers(digits, capsys, tmp_path, monkeypatch):
    short = ["adam", "--epochs", "1", "--hidden", "16", "--png", str(tmp_path / "x.png")]

    def numbers(*more):
        (r,) = digits.main([*short, *more])
        return r.final_loss, r.losses, r.accuracies

    first = numbers()
    assert capsys.readouterr().err.strip() == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich treat standard error as a terminal
    assert numbers() == first
    assert "100%" in capsys.readouterr().err
    assert numbers("--seed", "1") != first


ERRORS = {
    ("adaam",): "Unknown optimizer: adaam; did you mean 'adam' or 'nadam' or 'adamax'?",
    ("adam:lr=-1",): "adam:lr=-1: keras.Adam: lr must be >= 0, got -1.0",
    ("adam:lr=True",): "keras.Adam: lr must be a number, got True",
    ("sgd", "adam:foo=1"): "adam:foo=1: Unexpected keyword argument passed to optimizer: foo",
    ("adam:beta1=0.5",): "Unexpected keyword argument passed to optimizer: beta1; did you mean 'beta_1'?",
    ("adam:lr",): "expected key=value, got 'lr'",
    ("adam:",): "expected key=value, got ''",
    ("adam:lr=1,,",): "expected key=value, got ''",
    ("adam:lr=x",): "lr must be a number, True, False or None, got 'x'",
    ("adam:lr=1,lr=2",): "lr is given twice",
    ("",): "Unknown optimizer: ",
    ("--epochs", "0"): "argument --epochs: must be an integer from 1 to 10000, got '0'",
    ("--batch-size", "1438"): "argument --batch-size: must be an integer from 1 to 1437, got '1438'",
    ("--seed", "-1"): "argument --seed: must be an integer from 0 to 4294967295, got '-1'",
    ("--png", "missing/x.png"): "argument --png: cannot be written: missing/x.png",
    ("--bogus",): "unrecognized arguments: --bogus",
}


@pytest.mark.parametrize("argv", ERRORS, ids=" ".join)
def test_digits_errors(argv, digits, capsys):
    with pytest.raises(SystemExit) as stop:
        digits.main(argv)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith(f"{ERRORS[argv]}\n")


def test_digits_errors_in_a_process():
    done = run("digits", "adaam")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"digits.py: adaam: {ERRORS['adaam',]}\n"


def test_digits_raises_other_errors(digits, monkeypatch):
    def broken(*args):
        raise ValueError("a bug")

    monkeypatch.setattr(digits, "train", broken)
    with pytest.raises(ValueError, match=r"^a bug$"):
        digits.main(["adam"])


def test_digits_list(digits, capsys):
    """Every line is a valid argument, and shows the defaults."""
    assert digits.main(["--list"]) == []
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    for line, name in zip(lines, digits.OPTIMIZERS, strict=True):
        assert digits.optimizer(line).get_config() == optim.keras.get(name).get_config()


@pytest.fixture
def data(digits):
    images = np.random.default_rng(0).random((16, 64), np.float32)
    return digits.Batch(images, np.arange(16, dtype=np.int32) % 10)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam"])
def test_digits_step_is_traced_once(name, digits, data):
    tx, traces = optim.keras.get(name), []

    def update(*args):
        traces.append(args)
        return tx.update(*args)

    counted = optim.GradientTransformation(tx.init, update)
    args = argparse.Namespace(seed=0, hidden=8, batch_size=4, epochs=2)
    result = digits.train(name, counted, (data, data), args)
    assert len(traces) == 1
    assert len(result.losses) == 2


def test_digits_step_donates(digits, data):
    tx, params = optim.keras.Nadam(), digits.init_network(jax.random.key(0), 8)
    state = tx.init(params)
    digits.make_step(tx)(params, state, data)
    assert all(x.is_deleted() for x in jax.tree.leaves((params, state)))


@pytest.mark.slow
def test_digits_with_all_defaults(tmp_path):
    """In any directory; all seven exceed 90% test accuracy."""
    done = run("digits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    rows = re.findall(r"^│ (\w+) +│ +(\d+\.\d+) │ +(\d+\.\d)% │ +([\d,]+) │$", done.stdout, re.M)
    assert [name for name, *_ in rows] == ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam"]
    assert all(float(accuracy) > 90 for _, _, accuracy, _ in rows), rows
    assert (tmp_path / "digits.png").stat().st_size > 10_000


# custom_transform.py


def test_custom_transform(custom_transform, capsys):
    result = custom_transform.main(["--steps", "60"])
    assert result.first_loss > 3 * result.last_loss
    assert result.accuracy > 0.9

    out = capsys.readouterr().out
    assert repr(result.tx).startswith("chain(damp_disagreement(0.9), divide_by_largest_norm(), partition(")
    assert "warmup_cosine_decay_schedule" in repr(result.tx)
    assert repr(result.tx) in out
    (config,) = re.findall(r"^its config:\n(\{$.*^\})$", out, re.M | re.S)
    assert json.loads(config) == result.config
    assert optim.from_config(json.loads(config)) == result.tx
    assert f"test accuracy: {result.accuracy:.1%}" in out


def test_custom_rule(custom_transform):
    """The custom rule handles None and checks its arguments."""
    tx = custom_transform.damp_disagreement(0.5, factor=0.1)
    params = {"w": jnp.zeros(3), "frozen": None}
    state = tx.init(params)
    grads = [{"w": jnp.array([4.0, 4.0, 0.0]), "frozen": None}, {"w": jnp.array([4.0, -1.0, 1.0]), "frozen": None}]
    for g in grads:
        updates, state = tx.update(g, state)
    np.testing.assert_allclose(updates["w"], [4.0, -0.1, 1.0], rtol=1e-6)
    np.testing.assert_allclose(state.mean["w"], [3.0, 0.5, 0.5])
    assert updates["frozen"] is state.mean["frozen"] is None
    with pytest.raises(ValueError, match=r"^damp_disagreement: decay must be in \[0, 1\), got 1.5$"):
        custom_transform.damp_disagreement(1.5)


def test_custom_pair(custom_transform):
    tx = custom_transform.divide_by_largest_norm()
    state = tx.init(None)
    for g, expected in (([3.0, 4.0], [0.6, 0.8]), ([0.0, 1.0], [0.0, 0.2]), ([0.0, 0.0], [0.0, 0.0])):
        updates, state = tx.update(jnp.array(g), state)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_custom_groups(custom_transform):
    """Only the body has Adam's slots, only the head has momentum, and only the body's weights decay."""
    tx = custom_transform.make_optimizer(20)
    params = jax.tree.map(jnp.ones_like, custom_transform.init_network(jax.random.key(0)))
    state = tx.init(params)
    adam, sgd = (state[2].inner_states[k].inner_state[0] for k in ("adam", "sgd"))
    assert adam.mu["body"]["w"].shape == (30, 16)
    assert sgd.trace["head"]["w"].shape == (16, 1)
    assert adam.mu["head"] == sgd.trace["body"] == {"w": None, "b": None}
    for _ in range(2):  # the schedule's first rate is 0
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
    moved = jax.tree.map(lambda u: bool((u != 0).any()), updates)
    assert moved == {"body": {"w": True, "b": False}, "head": {"w": False, "b": False}}


# data_parallel.py


def differences(out, devices):
    lines = re.findall(rf"^(.*) on {devices} cpu devices: largest relative difference (\S+)$", out, re.M)
    assert [name for name, _ in lines] == ["pmap", "sharded jit"], out
    return [float(value) for _, value in lines]


def test_data_parallel():
    """Without the virtual devices of the tests, it makes eight itself."""
    done = run("data_parallel", "--steps", "20")
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    assert max(differences(done.stdout, devices=8)) < 1e-5
    before, after = map(float, re.search(r"loss (\S+) before, (\S+) after", done.stdout).groups())
    assert after < before


@pytest.mark.slow
def test_data_parallel_fails_beyond_tolerance(capsys):
    """Another order of summation gives other rounding. The number of devices is the environment's."""
    with pytest.raises(SystemExit) as stop:
        load("data_parallel").main(["--steps", "5", "--devices", "3", "--tolerance", "0"])
    assert stop.value.code == "the difference exceeds the tolerance of 0e+00"  # Python prints it and exits with 1
    assert 0 < max(differences(capsys.readouterr().out, devices=jax.device_count())) < 1e-5


# plain_trees.py


def test_plain_trees(capsys):
    """Attributes and keys give the same numbers, bit for bit."""
    dicts, classes = load("plain_trees").main(["--steps", "30"])
    assert dicts.losses == classes.losses
    assert dicts.losses[0] > 3 * dicts.losses[-1]
    for x, y, start in zip(dicts.last, classes.last, dicts.first, strict=True):
        np.testing.assert_array_equal(x, y)
        assert not np.array_equal(x, start)
    assert capsys.readouterr().out.count(f"{dicts.losses[-1]:.6f} at the last") == 2

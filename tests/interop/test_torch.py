"""`state_from_torch`: training that moves to JAX half-way gives the same numbers as PyTorch."""

import importlib.util
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.interop.torch import state_from_torch

from .pytorch import (
    CASES,
    FLAT,
    MAPPING,
    STEPS,
    as_params,
    continue_training,
    max_difference,
    network,
    step_decay,
    torch,
    train,
    trained,
)


@pytest.mark.parametrize("name", CASES)
def test_continues_like_pytorch(name, x64):
    make, tx = CASES[name]
    model = network()
    optimizer = make(model.named_parameters())
    train(model, optimizer, STEPS)
    params = as_params(model)
    stored = io.BytesIO()
    torch.save(optimizer.state_dict(), stored)
    stored.seek(0)
    state = state_from_torch(torch.load(stored), tx, params, FLAT, step=STEPS)
    fresh = tx.init(params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), fresh)
    before = jax.tree.map(np.array, (params, state))

    train(model, optimizer, STEPS)
    expected = as_params(model)
    jax.tree.map(np.testing.assert_array_equal, (params, state), before)  # no memory is shared with PyTorch
    moved, after = continue_training(tx, state, params)
    assert max_difference(moved, expected) < 1e-10
    assert optim.inspect(tx, after).get("step", 2 * STEPS) == 2 * STEPS
    if jax.tree.leaves(optim.tree.map(lambda x: x if x.ndim else None, fresh)):
        assert max_difference(continue_training(tx, fresh, params)[0], expected) > 1e-5  # the state matters


@pytest.mark.parametrize("inject", [False, True])
def test_a_schedule_continues(inject, x64):
    model = network()
    optimizer = torch.optim.AdamW(model.named_parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    train(model, optimizer, STEPS, scheduler)
    make = optim.inject_hyperparams(optim.adamw) if inject else optim.adamw
    tx, params = make(step_decay(0.1), weight_decay=0.01), as_params(model)
    state = state_from_torch(optimizer.state_dict(), tx, params, MAPPING)
    counts = [x for _, x in optim.tree.get_all_with_path(state, "count")]
    assert len(counts) == (3 if inject else 2)
    assert all(x == STEPS for x in counts)
    train(model, optimizer, STEPS, scheduler)
    assert max_difference(continue_training(tx, state, params)[0], as_params(model)) < 1e-10


def test_groups(x64):
    """Only weights decay, and each group has its own rate; a mask is accepted like a partition."""
    model = network()
    kinds = [[p for n, p in model.named_parameters() if n.endswith(kind)] for kind in ("weight", "bias")]
    groups = [{"params": kinds[0], "weight_decay": 0.1}, {"params": kinds[1], "weight_decay": 0.0, "lr": 0.02}]
    optimizer = torch.optim.AdamW(groups, 0.01)
    train(model, optimizer, STEPS)
    params, saved = as_params(model), optimizer.state_dict()
    label = optim.label_by_path([("*/kernel", "kernel"), ("*", "bias")])
    tx = optim.partition({"kernel": optim.adamw(0.01, weight_decay=0.1), "bias": optim.adam(0.02)}, label)
    by_index = {"hidden/kernel": (0, np.transpose), "out/kernel": (1, np.transpose), "hidden/bias": 2, "out/bias": 3}
    state = state_from_torch(saved, tx, params, by_index)
    faster = optim.partition({"kernel": optim.adamw(0.01, weight_decay=0.1), "bias": optim.adam(0.03)}, label)
    with pytest.raises(ValueError, match=r"learning rate of tx after 8 updates is 0\.03, PyTorch's is 0\.02 for 2"):
        state_from_torch(saved, faster, params, by_index)
    train(model, optimizer, STEPS)
    assert max_difference(continue_training(tx, state, params)[0], as_params(model)) < 1e-10

    saved["param_groups"][1]["lr"] = 0.01
    mask = {"hidden": {"kernel": True, "bias": False}, "out": {"kernel": True, "bias": False}}
    state_from_torch(saved, optim.adamw(0.01, weight_decay=0.1, mask=mask), params, by_index)
    with pytest.raises(ValueError, match=r"tx adds 0\.1 of the weights, PyTorch has weight_decay=0\.0 for 2"):
        state_from_torch(saved, optim.adamw(0.01, weight_decay=0.1), params, by_index)


def test_mappings_may_be_nested_flat_or_functions():
    saved, params = trained("adam")
    states = [
        state_from_torch(saved, optim.adam(0.01), params, mapping)
        for mapping in (MAPPING, FLAT, FLAT.__getitem__, {**FLAT, "out/bias": 3, "out/kernel": (2, lambda w: w.T)})
    ]
    for state in states[1:]:
        jax.tree.map(np.testing.assert_array_equal, state, states[0])
    np.testing.assert_array_equal(
        states[0][0].mu["hidden"]["kernel"], saved["state"][0]["exp_avg"].numpy().astype(np.float32).T
    )
    bare = {
        k: {i: {n: np.asarray(x) for n, x in s.items()} for i, s in v.items()} if k == "state" else v
        for k, v in saved.items()
    }
    jax.tree.map(np.testing.assert_array_equal, state_from_torch(bare, optim.adam(0.01), params, FLAT), states[0])
    same = state_from_torch(saved, optim.adam(0.01), {**params, "n": jnp.arange(3), "none": None}, FLAT)
    jax.tree.map(np.testing.assert_array_equal, same[0].nu["out"], states[0][0].nu["out"])


def test_bfloat16():
    model = network(torch.bfloat16)
    optimizer = torch.optim.Adam(model.named_parameters(), 0.01)
    model(torch.ones(4, 3, dtype=torch.bfloat16)).pow(2).mean().backward()
    optimizer.step()
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), as_params(model))
    state = state_from_torch(optimizer.state_dict(), optim.adam(0.01), params, FLAT)
    mu, nu = state[0].mu["out"]["bias"], state[0].nu["out"]["bias"]
    assert (mu.dtype, nu.dtype) == (jnp.bfloat16, jnp.float32)
    saved = optimizer.state_dict()["state"][3]
    assert float(mu[0]) == float(saved["exp_avg"][0]) != 0
    assert float(nu[0]) == float(saved["exp_avg_sq"][0]) != 0


def test_slots_keep_their_sharding():
    saved, params = trained("adam")
    mesh = jax.make_mesh((2,), ("d",), devices=jax.devices()[:2])
    spread = jax.NamedSharding(mesh, jax.P("d"))
    params["hidden"]["bias"] = jax.device_put(params["hidden"]["bias"], spread)
    state = state_from_torch(saved, optim.adam(0.01), params, FLAT)
    assert state[0].mu["hidden"]["bias"].sharding.is_equivalent_to(spread, 1)


def test_config_round_trip():
    """The equivalent of a PyTorch optimizer converts to JSON and back."""
    tx = CASES["rmsprop_centered"][1]
    assert optim.from_config(json.loads(json.dumps(optim.to_config(tx)))) == tx


# The example


def example(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example(capsys):
    result = example("from_torch").main(["--steps", "60"])
    assert result.jax_loss == pytest.approx(result.torch_loss, rel=1e-4)
    assert result.fresh_loss != pytest.approx(result.torch_loss, rel=1e-2)
    assert result.torch_loss < 0.9 * result.half_loss
    assert result.state[0].count == 120
    out, err = capsys.readouterr()
    assert out.count("\n") == 4
    assert f"60 more in JAX:     loss {result.jax_loss:.6f}, at step 120" in out
    assert err == ""


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), (["--steps", "0"], 2)])
def test_the_examples_arguments(argv, code, capsys):
    module = example("from_torch")
    with pytest.raises(SystemExit) as stop:
        module.main(argv)
    assert stop.value.code == code
    out, err = capsys.readouterr()
    assert (module.__doc__.splitlines()[0] in " ".join(out.split())) == (code == 0)
    assert err.endswith("argument --steps: must be at least 1\n") == (code == 2)

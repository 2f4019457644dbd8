"""Trajectories recorded from Keras 2.2.4 in float64 are reproduced, including weights and resumption."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

RECORDINGS = Path(__file__).parent / "recordings"
INDEX = json.loads((RECORDINGS / "keras_2_2_4.json").read_text())
CONFIGS = {c["name"]: c for c in INDEX["configs"] if not c["name"].startswith("tf_")}
SHAPES = [tuple(s) for s in INDEX["shapes"]]
TOLERANCE = 1e-11


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORDINGS / "keras_2_2_4.npz") as data:
        return dict(data)


def split(flat):
    cuts = np.cumsum([int(np.prod(s)) for s in SHAPES])[:-1]
    return [jnp.asarray(x.reshape(s)) for x, s in zip(np.split(flat, cuts), SHAPES, strict=True)]


def join(leaves):
    return np.concatenate([np.ravel(x) for x in leaves])


def replay(config, recorded, **changes):
    """The trajectory, the transformation, and the final state, with one jitted step at a time."""
    factory = getattr(optim.keras, config["optimizer"])
    tx = factory(**{**config["kwargs"], **changes})
    params = split(recorded["p0"])
    state = tx.init(params)
    traces = []

    @jax.jit
    def step(params, state, grads):
        traces.append(1)
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    path = [join(params)]
    for n, g in enumerate(recorded[f"grads{config['stream']}"]):
        if str(n) in config["lr_at"]:
            state = optim.tree.set(state, lr=config["lr_at"][str(n)])
        if n == config["resume"]:
            state = optim.keras.set_weights(tx, tx.init(params), optim.keras.get_weights(tx, state))
        params, state = step(params, state, split(g))
        path.append(join(params))
    assert len(traces) == 1
    return np.array(path), tx, state


def relative_error(path, recording):
    return np.max(np.abs(path - recording) / np.maximum(np.abs(recording), 1e-300))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_recording_is_reproduced(name, recorded, x64):
    config = CONFIGS[name]
    path, tx, state = replay(config, recorded)
    assert relative_error(path, recorded[f"traj__{name}"]) < TOLERANCE

    weights = optim.keras.get_weights(tx, state)
    assert [list(w.shape) for w in weights] == config["weight_shapes"]
    np.testing.assert_allclose(join(weights), recorded[f"state__{name}"], rtol=TOLERANCE, atol=1e-300)
    assert tx.get_config() == config["get_config"]


MUTATIONS = [
    ("sgd_momentum", {"momentum": 0.0}),
    ("sgd_nesterov", {"nesterov": False}),
    ("sgd_decay", {"decay": 0.0}),
    ("sgd_clipnorm", {"clipnorm": None}),
    ("rmsprop_rho_eps", {"epsilon": None}),
    ("adagrad_clipvalue", {"clipvalue": None}),
    ("adadelta_default", {"rho": 0.9}),
    ("adam_amsgrad", {"amsgrad": False}),
    ("adam_default_streamB", {"epsilon": 1e-8}),
    ("adamax_default", {"beta_2": 0.99}),
    ("nadam_sched", {"schedule_decay": 0.004}),
]


@pytest.mark.parametrize(("name", "change"), MUTATIONS, ids=[n for n, _ in MUTATIONS])
def test_recordings_detect_a_wrong_rule(name, change, recorded, x64):
    path, _, _ = replay(CONFIGS[name], recorded, **change)
    assert relative_error(path, recorded[f"traj__{name}"]) > 1e5 * TOLERANCE


def test_recordings_detect_a_lost_state(recorded, x64):
    config = {**CONFIGS["adam_resume30"], "resume": None}
    straight, _, _ = replay(config, recorded)
    np.testing.assert_allclose(straight, recorded["traj__adam_resume30"], rtol=1e-9)
    fresh = {**config, "lr_at": {}}
    params = split(recorded["traj__adam_resume30"][30])
    tx = optim.keras.Adam(**fresh["kwargs"])
    updates, _ = tx.update(split(recorded["gradsA"][30]), tx.init(params), params)
    assert relative_error(join(optim.apply_updates(params, updates)), recorded["traj__adam_resume30"][31]) > 1e-4

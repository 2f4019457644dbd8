"""`TFOptimizer` with TensorFlow: recordings, every optimizer alone and wrapped, and independent runs."""

import os
import pickle

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.keras import TFOptimizer

from ..golden.test_keras_recordings import INDEX, RECORDINGS, join, split

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
train = tf.compat.v1.train

TF_CONFIGS = {c["name"]: c for c in INDEX["configs"] if c["name"].startswith("tf_")}
OPTIMIZERS = {
    "gradient_descent": lambda: train.GradientDescentOptimizer(0.1),
    "momentum": lambda: train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adam": lambda: train.AdamOptimizer(0.1),
    "rmsprop": lambda: train.RMSPropOptimizer(0.1),
    "rmsprop_centered": lambda: train.RMSPropOptimizer(0.1, momentum=0.9, centered=True),
    "adagrad": lambda: train.AdagradOptimizer(0.1),
    "adadelta": lambda: train.AdadeltaOptimizer(1.0),
    "ftrl": lambda: train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
}
SLOTS = {
    "gradient_descent": set(),
    "momentum": {"momentum"},
    "nesterov": {"momentum"},
    "adam": {"m", "v"},
    "rmsprop": {"rms", "momentum"},
    "rmsprop_centered": {"rms", "momentum", "mg"},
    "adagrad": {"accumulator"},
    "adadelta": {"accum", "accum_update"},
    "ftrl": {"accum", "linear"},
}
EVERY = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.fixture
def params():
    return {"w": jnp.linspace(-1.0, 1.0, 6).reshape(3, 2), "deep": [jnp.array([0.5, -0.5]), jnp.array(0.75)]}


def grads_like(params, n=0):
    return jax.tree.map(lambda p: jnp.cos(p * (n + 1)) + jnp.asarray(0.1, p.dtype), params)


def run(tx, params, steps=4, state=None, start=0):
    state = tx.init(params) if state is None else state
    for n in range(start, start + steps):
        updates, state = tx.update(grads_like(params, n), state, params)
        params = optim.apply_updates(params, updates)
    return params, state


def alone(optimizer, params, steps=4):
    """The TensorFlow optimizer alone, on its own variables."""
    leaves, structure = jax.tree.flatten(params)
    with tf.device("/CPU:0"):
        variables = [tf.Variable(np.array(p)) for p in leaves]
        for n in range(steps):
            values = structure.unflatten([jnp.asarray(v.numpy()) for v in variables])
            grads = jax.tree.leaves(grads_like(values, n))
            optimizer.apply_gradients([(tf.constant(np.array(g)), v) for g, v in zip(grads, variables, strict=True)])
    return structure.unflatten([v.numpy() for v in variables])


def close(a, b, rtol=1e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-9), a, b)


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


# The recordings


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORDINGS / "keras_2_2_4.npz") as data:
        return dict(data)


def replay(config, recorded, **changes):
    kwargs = config["kwargs"]
    tx = TFOptimizer(getattr(train, kwargs["tf"])(**{**kwargs["kwargs"], **changes}))
    params = split(recorded["p0"])
    state = tx.init(params)
    path = [join(params)]

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    for g in recorded[f"grads{config['stream']}"]:
        params, state = step(params, state, split(g))
        path.append(join(params))
    return np.array(path), state


def relative_error(path, recording):
    return np.max(np.abs(path - recording) / np.abs(recording))


@pytest.mark.parametrize("name", sorted(TF_CONFIGS))
def test_recording_is_reproduced(name, recorded, x64):
    path, state = replay(TF_CONFIGS[name], recorded)
    assert path.dtype == np.float64
    assert relative_error(path, recorded[f"traj__{name}"]) < 1e-6
    assert 2 * state.count == TF_CONFIGS[name]["iterations_final"]  # Keras counted every update twice


def test_recordings_detect_other_hyperparameters(recorded, x64):
    assert len(TF_CONFIGS) == 2
    path, _ = replay(TF_CONFIGS["tf_gd"], recorded, learning_rate=0.01001)
    assert relative_error(path, recorded["traj__tf_gd"]) > 1e-5
    path, _ = replay(TF_CONFIGS["tf_adam"], recorded, epsilon=1e-4)
    assert relative_error(path, recorded["traj__tf_adam"]) > 1e-5


# Every optimizer


@EVERY
def test_steps_like_the_optimizer_alone(name, params):
    """Eager, jitted with one trace, and in a scan; the wrapped optimizer is not changed."""
    optimizer = OPTIMIZERS[name]()
    tx = TFOptimizer(optimizer)
    expected = alone(OPTIMIZERS[name](), params)
    eager, state = run(tx, params)
    close(eager, expected)
    assert set(state.inner_state.slots) == SLOTS[name]
    assert all(jax.tree.structure(s) == jax.tree.structure(params) for s in state.inner_state.slots.values())
    assert state.count == 4
    assert optim.inspect(tx, state)["step"] == 4

    traces = []

    @jax.jit
    def step(carry, n):
        traces.append(1)
        params, state = carry
        grads = jax.tree.map(lambda p: jnp.cos(p * (n + 1)) + 0.1, params)
        updates, state = tx.update(grads, state, params)
        return (optim.apply_updates(params, updates), state), None

    carry = (params, jax.jit(tx.init)(params))
    for n in np.arange(4, dtype=np.float32):
        carry, _ = step(carry, n)
    assert len(traces) == 1
    close(carry[0], eager)
    scanned, _ = jax.lax.scan(step, (params, tx.init(params)), np.arange(4, dtype=np.float32))
    close(scanned, carry)
    assert optimizer.variables() == []


@EVERY
def test_float64(name, params, x64):
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
    moved, state = run(TFOptimizer(OPTIMIZERS[name]()), params)
    close(moved, alone(OPTIMIZERS[name](), params), rtol=1e-12)
    assert all(x.dtype == jnp.float64 for x in jax.tree.leaves(state.inner_state.slots))


EQUIVALENT = {
    "gradient_descent": optim.sgd(0.1),
    "momentum": optim.sgd(0.1, momentum=0.9),
    "nesterov": optim.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optim.keras.Adam(0.1, epsilon=1e-8),
    "rmsprop": optim.rmsprop(0.1, 0.9, 1e-10, initial_scale=1.0),
    "adagrad": optim.chain(optim.scale_by_adagrad(0.1, 0.0), optim.scale(-0.1)),
    "adadelta": optim.keras.Adadelta(1.0, epsilon=1e-8),
}


@pytest.mark.parametrize("name", EQUIVALENT)
def test_equivalents_in_this_library(name, params):
    close(run(TFOptimizer(OPTIMIZERS[name]()), params)[0], run(EQUIVALENT[name], params)[0], rtol=2e-5)


@EVERY
def test_runs_are_independent(name, params):
    """Two runs, step by step in turn; one is pickled and continued by another wrapper."""
    tx = TFOptimizer(OPTIMIZERS[name]())
    other = jax.tree.map(lambda p: p * 2 + 0.3, params)
    separate = [run(tx, p, 4) for p in (params, other)]
    interleaved = [(p, tx.init(p)) for p in (params, other)]
    for n in range(4):
        interleaved = [run(tx, p, 1, s, start=n) for p, s in interleaved]
        if n == 1:
            stored = pickle.dumps(jax.tree.map(np.asarray, interleaved[0]))
    for a, b in zip(interleaved, separate, strict=True):
        equal(a, b)
    p, s = jax.tree.map(jnp.asarray, pickle.loads(stored))
    equal(run(TFOptimizer(OPTIMIZERS[name]()), p, 2, s, start=2), separate[0])


def test_an_update_does_not_change_its_arguments():
    tx = TFOptimizer(train.AdamOptimizer(0.1))
    params = {"w": jnp.ones((64, 64))}
    state = tx.init(params)
    grads = grads_like(params)
    before = jax.tree.map(np.array, (grads, state, params))
    first = tx.update(grads, state, params)
    again = tx.update(grads, state, params)
    equal((grads, state, params), before)
    equal(first, again)
    copy = jax.tree.map(np.array, first)
    tx.update(grads, first[1], params)
    equal(first, copy)


def test_a_large_tree_under_scan():
    """Large arrays are passed to the host without a copy."""
    tx = TFOptimizer(train.MomentumOptimizer(0.1, 0.5))
    params = {"w": jnp.ones((512, 1024)), "v": jnp.zeros((1024, 256))}

    def step(carry, _):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), carry[1], carry[0])
        return (optim.apply_updates(carry[0], updates), state), None

    (moved, state), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, length=10))((params, tx.init(params)))
    np.testing.assert_allclose(state.inner_state.slots["momentum"]["v"], 2 - 0.5**9, rtol=1e-5)
    np.testing.assert_allclose(moved["w"] - 1, moved["v"][:512, :1] * np.ones((1, 1024)), rtol=1e-5)


# Leaves


def test_leaves_of_every_kind(params):
    """None, integers and mixed precision; without a gradient a parameter and its slots are unchanged."""
    tx = TFOptimizer(train.AdamOptimizer(0.1))
    params = {
        "w": jnp.ones((2, 3)),
        "half": jnp.ones(2, jnp.bfloat16),
        "none": None,
        "n": jnp.arange(3),
        "empty": jnp.zeros((0, 2)),
        "scalar": jnp.asarray(2.0),
        "module": (jnp.ones(1), [None]),
    }
    grads = {
        "w": jnp.ones((2, 3), jnp.bfloat16),
        "half": jnp.ones(2),
        "none": None,
        "n": None,
        "empty": jnp.zeros((0, 2)),
        "scalar": None,
        "module": None,
    }
    state = tx.init(params)
    m = state.inner_state.slots["m"]
    assert (m["none"], m["n"], m["module"][1]) == (None, None, [None])
    assert m["half"].dtype == jnp.float32
    updates, after = jax.jit(tx.update)(grads, state, params)
    assert updates["w"].dtype == jnp.bfloat16
    assert updates["half"].dtype == jnp.float32
    assert (updates["scalar"], updates["module"]) == (None, (None, [None]))
    np.testing.assert_allclose(updates["half"], -0.1, rtol=1e-5)
    assert after.inner_state.slots["m"]["scalar"] == 0
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)

    nothing = jax.tree.map(lambda _: None, params)
    same, skipped = tx.update(nothing, after, params)
    assert jax.tree.leaves(same) == []
    equal(skipped.inner_state, after.inner_state)
    assert skipped.count == 2
    for tree in ({}, None, (), {"a": None}):
        state = tx.init(tree)
        assert tx.update(tree, state, tree)[0] == tree


def test_inside_a_chain(params):
    tx = optim.chain(optim.clip(0.5), TFOptimizer(train.GradientDescentOptimizer(0.1)), optim.scale(2.0))
    grads = grads_like(params)
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    close(updates, jax.tree.map(lambda g: -0.2 * jnp.clip(g, -0.5, 0.5), grads), rtol=1e-5)


def test_a_learning_rate_function(params):
    """It is called at every step, as in TensorFlow."""
    rate = [0.1]
    tx = TFOptimizer(train.GradientDescentOptimizer(lambda: rate[0]))
    state = tx.init(params)
    first, _ = tx.update(params, state, params)
    rate[0] = 0.2
    second, _ = tx.update(params, state, params)
    close(jax.tree.map(lambda u: 2 * u, first), second)


# Errors


@pytest.mark.parametrize(
    "mapped",
    [
        lambda f: jax.vmap(f),
        lambda f: jax.jit(jax.vmap(f)),
        lambda f: jax.vmap(jax.jit(f)),
        lambda f: jax.vmap(lambda g, p: jax.lax.scan(lambda c, _: (f(g, c), None), p, None, length=2)[0]),
    ],
)
def test_vmap_is_refused(mapped, params):
    tx = TFOptimizer(train.AdamOptimizer(0.1))
    two = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    state = tx.init(params)
    with pytest.raises(NotImplementedError, match=r"^keras.TFOptimizer: vmap would need one TensorFlow optimizer for"):
        mapped(lambda g, p: tx.update(g, state, p)[0])(two, two)
    with pytest.raises(NotImplementedError, match=r"^keras.TFOptimizer: vmap would need"):
        jax.vmap(tx.init)(two)
    rows = jax.lax.map(lambda p: tx.update(p, state, p)[0], two)
    equal(jax.tree.map(lambda x: x[1], rows), tx.update(params, state, params)[0])


def used():
    optimizer = train.AdamOptimizer(0.1)
    variable = tf.Variable(1.0)
    optimizer.apply_gradients([(tf.constant(1.0), variable)])
    return optimizer


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: TFOptimizer(3), TypeError, "keras.TFOptimizer: optimizer must be a tf.compat.v1.train.Optimizer, a"),
        (lambda: TFOptimizer(train.AdamOptimizer), TypeError, "got the class AdamOptimizer"),
        (
            lambda: TFOptimizer(used()),
            ValueError,
            "optimizer has variables of other parameters already; give a new Adam",
        ),
        (lambda: TFOptimizer(train.AdamOptimizer(0.1), clipnorm=1.0), TypeError, "passed to optimizer: clipnorm"),
        (lambda: TFOptimizer(train.AdamOptimizer(0.1)).get_config(), NotImplementedError, "no configuration in Keras"),
        (lambda: TFOptimizer(train.AdamOptimizer(0.1)).get_weights(), NotImplementedError, "no weights in Keras"),
        (
            lambda: optim.keras.serialize(optim.keras.get(train.AdamOptimizer(0.1))),
            NotImplementedError,
            "configuration",
        ),
        (lambda: optim.to_config(TFOptimizer(train.AdamOptimizer(0.1))), TypeError, "has no form in JSON"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert text in str(raised.value)


def test_errors_name_the_difference(params):
    tx = TFOptimizer(train.AdamOptimizer(0.1))
    state = tx.init(params)
    inner = state.inner_state
    slots, others = inner.slots, inner.others
    wrong = {
        r"updates\['w'\] has shape \(2,\), params\['w'\] has": lambda: tx.update(
            {**params, "w": jnp.ones(2)}, state, params
        ),
        r"update needs the parameters": lambda: tx.update(params, state),
        r"state must be a TFVariablesState, got \(\)": lambda: tx.update(
            params, state._replace(inner_state=()), params
        ),
        r"state.slots has \['m'\], the optimizer has \['m', 'v'\]": lambda: tx.update(
            params, state._replace(inner_state=inner._replace(slots={"m": slots["m"]})), params
        ),
        r"state.slots\['m'\]\['w'\] is float32\[2\], the optimizer has float32\[3, 2\] there": lambda: tx.update(
            params,
            state._replace(inner_state=inner._replace(slots={**slots, "m": {**slots["m"], "w": jnp.ones(2)}})),
            params,
        ),
        r"state.others\['beta1_power'\] is int32\[\], the optimizer has float32\[\]": lambda: tx.update(
            params,
            state._replace(inner_state=inner._replace(others={**others, "beta1_power": jnp.zeros((), jnp.int32)})),
            params,
        ),
    }
    for text, call in wrong.items():
        with pytest.raises((ValueError, TypeError), match=rf"^keras.TFOptimizer: {text}"):
            call()
    with tf.Graph().as_default(), pytest.raises(RuntimeError, match="only where TensorFlow runs eagerly"):
        TFOptimizer(train.AdamOptimizer(0.1)).init({"other": jnp.ones(7)})


def test_keras_get_wraps_it(params):
    tx = optim.keras.get(train.GradientDescentOptimizer(0.5))
    close(tx.update(params, tx.init(params), params)[0], jax.tree.map(lambda g: -0.5 * g, params))
    assert repr(tx).startswith("keras.TFOptimizer(<tensorflow.")

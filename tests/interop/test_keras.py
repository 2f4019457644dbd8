"""Keras 3 on JAX: models train with transformations, save and resume; its optimizers become transformations."""

import os
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

keras = pytest.importorskip("keras", reason="keras is not installed")

from optim.interop.keras import as_keras, from_keras  # noqa: E402

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # from Keras' variables
    pytest.mark.usefixtures("standard_promotion"),
]

KERAS = ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam"]
GROUPS = optim.label_by_path([("*/bias", "plain"), ("*", "decayed")])
TRANSFORMATIONS = {
    **{name: lambda name=name: getattr(optim.keras, name)() for name in KERAS},
    "chain": lambda: optim.chain(optim.clip_by_global_norm(0.1), optim.adamw(optim.linear_schedule(0.1, 0.0, 30))),
    "finite": lambda: optim.apply_if_finite(optim.adam(1e-2), 3),
    "injected": lambda: optim.inject_hyperparams(optim.adam)(1e-2, b1=optim.linear_schedule(0.8, 0.9, 5)),
    "noisy": lambda: optim.noisy_sgd(0.1, key=jax.random.key(3)),
    "groups": lambda: optim.partition({"plain": optim.sgd(0.1), "decayed": optim.adamw(0.1)}, GROUPS),
    "several": lambda: optim.MultiSteps(optim.adam(1e-2), 2).gradient_transformation(),
    "packed": lambda: optim.packed(optim.lion(1e-3)),
}


def data(rows=32, outputs=3):
    rng = np.random.default_rng(0)
    return rng.random((rows, 4), np.float32), rng.random((rows, outputs), np.float32)


def make_model(optimizer, **options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(3)])
    model.compile(loss="mean_squared_error", optimizer=optimizer, **options)
    return model


def fit(model, epochs=1, **options):
    return model.fit(*data(), batch_size=8, epochs=epochs, shuffle=False, verbose=0, **options)


def by_hand(tx, steps):
    """The same training as a loop with this library."""
    start = make_model("sgd")
    names = [v.path.partition("/")[2] for v in start.trainable_variables]
    params = [jnp.asarray(w) for w in start.get_weights()]
    x, y = data()

    def loss(params, x, y):
        w1, b1, w2, b2 = params.values()
        return jnp.mean((jnp.tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2)

    params = OrderedDict(zip(names, params, strict=True))
    state = tx.init(params)
    step = jax.jit(lambda p, s, x, y: tx.update(jax.grad(loss)(p, x, y), s, p))
    for i in range(steps):
        k = i % 4
        updates, state = step(params, state, x[8 * k : 8 * k + 8], y[8 * k : 8 * k + 8])
        params = optim.apply_updates(params, updates)
    return list(params.values())


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_fit_equals_a_loop(name):
    tx = TRANSFORMATIONS[name]()
    model = make_model(as_keras(tx))
    fit(model, 2)
    for a, b in zip(model.get_weights(), by_hand(tx, 8), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_saved_model_resumes_with_the_same_numbers(name, tmp_path):
    model = make_model(as_keras(TRANSFORMATIONS[name]()))
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.transformation == model.optimizer.transformation
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    fit(model)
    fit(loaded)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_process_resumes(tmp_path):
    """It only needs the import that the documentation names."""
    model = make_model(as_keras(optim.keras.SGD(momentum=0.9, decay=1e-3, nesterov=True)))
    fit(model)
    model.save(tmp_path / "model.keras")
    fit(model)
    code = f"""
import keras, numpy as np
from optim.interop.keras import Transformation
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
rng = np.random.default_rng(0)
x, y = rng.random((32, 4), np.float32), rng.random((32, 3), np.float32)
model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
np.savez({str(tmp_path / "weights.npz")!r}, *model.get_weights())
"""
    env = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=300)
    with np.load(tmp_path / "weights.npz") as weights:
        for a, b in zip(model.get_weights(), weights.values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "tx"),
    [("sgd", optim.keras.SGD()), ("Nadam", optim.keras.Nadam()), ("scale_by_adam", optim.scale_by_adam())],
)
def test_by_name(name, tx):
    assert as_keras(name).transformation == tx
    assert keras.optimizers.get(keras.optimizers.serialize(as_keras(name))).transformation == tx
    assert repr(as_keras(name)) == f"as_keras({tx!r})"


def test_the_trainer_compiles_one_program():
    traces = []

    @optim.stateless
    def record(updates, params):
        traces.append([isinstance(x, jax.core.Tracer) for x in updates.values()])
        return updates

    tx = optim.chain(record, optim.sgd(0.1))
    model = make_model(as_keras(tx))
    fit(model, 3)
    assert model.jit_compile
    assert not model.run_eagerly
    assert traces == [[True] * 4]


def test_no_callback_to_the_host():
    optimizer = as_keras(optim.adam(0.1))
    model = make_model(optimizer)
    fit(model)
    variables = [v.value for v in model.trainable_variables]
    state = [v.value for v in optimizer.variables]
    jaxpr = jax.make_jaxpr(optimizer.stateless_apply)(state, variables, variables)
    assert "callback" not in str(jaxpr)


@pytest.mark.parametrize("name", ["Adam", "finite", "injected", "noisy"])
def test_callbacks_read_and_set_the_learning_rate(name):
    model = make_model(as_keras(TRANSFORMATIONS[name]()))
    before = float(model.optimizer.learning_rate)
    history = fit(model, 3, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)]).history
    np.testing.assert_allclose(history["learning_rate"], [before / 2, before / 4, before / 8], rtol=1e-6)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.1, patience=0, min_delta=1e9)
    fit(model, 2, callbacks=[plateau])
    np.testing.assert_allclose(model.optimizer.learning_rate, before / 80, rtol=1e-6)


def test_setting_the_learning_rate_has_an_effect():
    optimizer = as_keras(optim.sgd(0.1))
    weights = keras.Variable([1.0, 2.0])
    optimizer.apply([jnp.ones(2)], [weights])
    np.testing.assert_allclose(weights, [0.9, 1.9], rtol=1e-6)
    optimizer.learning_rate = 1.0
    optimizer.apply([jnp.ones(2)])
    np.testing.assert_allclose(weights, [-0.1, 0.9], rtol=1e-5)


def test_inspect_tells_the_rate_that_keras_has_set():
    for tx in (optim.adam(1e-2), optim.inject_hyperparams(optim.adam)(1e-2), optim.keras.SGD(1e-2)):
        optimizer = as_keras(tx)
        make_model(optimizer)
        optimizer.build([keras.Variable(np.ones(2, np.float32))])
        optimizer.learning_rate = 0.25
        report = optim.inspect(optimizer.transformation, optimizer.state)
        assert float(report.get("learning_rate", report.get("lr"))) == 0.25, tx


def test_keras_error_for_a_bare_transformation_names_as_keras():
    with pytest.raises(ValueError, match=r"identifier: adam\(0.01\); did you mean optim.interop.keras.as_keras"):
        make_model(optim.adam(0.01))
    assert f"{optim.adam(0.01)}" == "adam(0.01)"


def test_a_schedule_can_be_read_but_not_set():
    model = make_model(as_keras(optim.adam(optim.linear_schedule(0.4, 0.0, 4))))
    fit(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    with pytest.raises(TypeError, match=r"the learning rate of adam.* cannot be set"):
        model.optimizer.learning_rate = 0.1
    with pytest.raises(TypeError, match="learning_rate must be a number"):
        as_keras("sgd").learning_rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)


OPTIONS = [
    {"clipnorm": 0.1},
    {"clipvalue": 0.01},
    {"global_clipnorm": 0.1},
    {"weight_decay": 0.1},
    {"use_ema": True, "ema_momentum": 0.5},
    {"gradient_accumulation_steps": 2},
    {"loss_scale_factor": 8.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o)))
def test_options_of_keras_optimizers(options):
    """Keras applies its options to a transformation as to its own optimizers; both are plain SGD."""
    ours, theirs = make_model(as_keras(optim.sgd(0.1), **options)), make_model(keras.optimizers.SGD(0.1, **options))
    for model in (ours, theirs):
        fit(model, 2)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_fit_ends_with_averaged_weights_and_can_continue(tmp_path):
    model = make_model(as_keras(optim.adam(0.1), use_ema=True, ema_momentum=0.5))
    fit(model)
    for v, average in zip(model.trainable_variables, model.optimizer._model_variables_moving_average, strict=True):
        np.testing.assert_array_equal(v, average)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(model)
    fit(loaded)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_loss_scaling():
    ours = make_model(keras.optimizers.LossScaleOptimizer(as_keras(optim.sgd(0.1))))
    theirs = make_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    for model in (ours, theirs):
        fit(model, 2)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
def test_untrained_variables_do_not_change():
    optimizer = as_keras(optim.adam(0.1))
    a, b = keras.Variable([1.0]), keras.Variable([1.0])
    optimizer.build([a, b])
    optimizer.apply([jnp.ones(1), None], [a, b])
    assert float(a[0]) != 1.0
    assert float(b[0]) == 1.0
    assert float(optim.tree.get(optimizer.state, "mu")["variable_1" if "variable_1" in str(b.path) else b.path][0]) == 0
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)])
    model.layers[1].trainable = False
    model.compile(loss="mse", optimizer=as_keras("adam"))
    kernel, moving = model.layers[1].kernel.numpy(), model.layers[0].moving_mean.numpy()
    fit(model)
    np.testing.assert_array_equal(model.layers[1].kernel, kernel)
    assert not np.array_equal(model.layers[0].moving_mean, moving)


def test_errors():
    with pytest.raises(TypeError, match="as_keras: tx must be a transformation"):
        as_keras(3)
    with pytest.raises(KeyError, match="adaam"):
        as_keras("adaam")
    with pytest.raises(TypeError, match="made by hand"):
        keras.optimizers.serialize(as_keras(optim.GradientTransformation(lambda p: (), lambda u, s, p=None: (u, s))))


# Keras optimizers as transformations

STATELESS = ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "AdamW", "Adamax", "Nadam", "Lion", "Ftrl", "Lamb"]


def tree():
    return {"w": jnp.linspace(-1.0, 1.0, 6).reshape(3, 2), "b": [jnp.asarray([0.5, -0.5]), None]}


def gradients(n):
    return jax.tree.map(lambda x: jnp.cos(x + n), tree())


@pytest.mark.parametrize("name", STATELESS)
def test_a_keras_optimizer_as_a_transformation(name):
    theirs = getattr(keras.optimizers, name)()
    tx = from_keras(getattr(keras.optimizers, name)())
    params, state = tree(), tx.init(tree())
    variables = [keras.Variable(x) for x in jax.tree.leaves(tree())]
    update = jax.jit(tx.update)
    for n in range(4):
        updates, state = update(gradients(n), state, params)
        params = optim.apply_updates(params, updates)
        theirs.apply(jax.tree.leaves(gradients(n)), variables)
    for a, b in zip(jax.tree.leaves(params), variables, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-6)


def test_from_keras_in_a_chain_under_scan_and_vmap():
    tx = optim.chain(optim.clip(0.5), from_keras("adam"))

    def run(params):
        def step(carry, n):
            params, state = carry
            updates, state = tx.update(jax.tree.map(lambda x: jnp.cos(x + n), params), state, params)
            return (optim.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(3.0))[0][0]

    one = run(tree())
    two = jax.vmap(run)(jax.tree.map(lambda x: jnp.stack([x, x]), tree()))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b[1], rtol=1e-6)
    ours = optim.adam(1e-3, eps=1e-7)
    theirs = from_keras(keras.optimizers.Adam(1e-3, epsilon=1e-7))
    ours, theirs = (t.update(gradients(0), t.init(tree()), tree())[0] for t in (ours, theirs))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3)  # (p + u) - p is rounded to the precision of p


def test_from_keras_without_gradients():
    tx = from_keras("adam")
    state = tx.init(tree())
    updates, new = tx.update({"w": jnp.ones((3, 2)), "b": [None, None]}, state, tree())
    assert updates["b"] == [None, None]
    for name, x in new.items():
        if "leaf1_" in name or "leaf0_" in name:
            assert np.array_equal(x, state[name]) == ("leaf0_" in name), name
    with pytest.raises(ValueError, match="from_keras: update needs the parameters"):
        tx.update(gradients(0), state)
    with pytest.raises(ValueError, match=re.escape("updates['c'] is not in params")):
        tx.update({**gradients(0), "c": 1.0}, state, tree())


# Keras missing, or on another backend


def test_without_keras_and_on_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match="as_keras: Keras runs on torch, expected jax: set KERAS_BACKEND=jax"):
        as_keras("sgd")
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=re.escape("from_keras: needs keras: pip install 'optim[keras]'")):
        from_keras("sgd")


def test_example(capsys):
    import runpy

    sys.argv, old = ["keras_model.py", "--epochs", "2"], sys.argv
    try:
        runpy.run_path(str(ROOT / "examples" / "keras_model.py"), run_name="__main__")
    finally:
        sys.argv = old
    out = capsys.readouterr().out
    assert "the same weights" in out
    assert "learning rates: 0.01, 0.005" in out

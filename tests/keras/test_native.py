"""`TFOptimizer` without TensorFlow: triples and pairs, which are traced, and its Keras API."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.example_libraries import optimizers as example_libraries

import optim
from optim import keras

TRIPLES = {
    "sgd": example_libraries.sgd(0.1),
    "momentum": example_libraries.momentum(0.1, 0.9),
    "nesterov": example_libraries.nesterov(0.1, 0.9),
    "adagrad": example_libraries.adagrad(0.1),
    "rmsprop": example_libraries.rmsprop(0.1),
    "rmsprop_momentum": example_libraries.rmsprop_momentum(0.1),
    "adam": example_libraries.adam(example_libraries.exponential_decay(0.1, 3, 0.5)),
    "adamax": example_libraries.adamax(0.1),
}


@pytest.fixture
def params():
    return {"w": jnp.linspace(-1.0, 1.0, 6).reshape(3, 2), "b": jnp.array([0.5, -0.5])}


def grads_like(params, n=0):
    return jax.tree.map(lambda p: jnp.cos(p * (n + 1)) + 0.1, params)


def run(tx, params, steps=5, state=None, start=0):
    tx = optim.with_extra_args_support(tx)
    state = tx.init(params) if state is None else state
    for n in range(start, start + steps):
        updates, state = tx.update(grads_like(params, n), state, params)
        params = optim.apply_updates(params, updates)
    return params, state


def close(a, b, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-7), a, b)


def primitives(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for value in eqn.params.values():
            for inner in jax.tree.leaves(value, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from primitives(inner)


@pytest.mark.parametrize("name", TRIPLES)
def test_a_triple_steps_like_the_triple_alone(name, params, standard_promotion):
    init, update, get_params = TRIPLES[name]
    tx = keras.TFOptimizer(TRIPLES[name])
    ours, state = run(tx, params)
    alone = init(params)
    for n in range(5):
        alone = update(n, grads_like(get_params(alone), n), alone)
    close(ours, get_params(alone))
    assert state.count == 5

    grads = grads_like(params)
    plain, _ = tx.update(grads, tx.init(params), params)
    two = jax.tree.map(lambda x: jnp.stack([x, x]), (grads, params))
    mapped, _ = jax.vmap(lambda g, p: tx.update(g, tx.init(p), p))(*two)
    close(jax.tree.map(lambda x: x[1], mapped), plain)
    assert not {p for p in primitives(jax.make_jaxpr(tx.update)(grads, state, params).jaxpr) if "callback" in p}


def test_a_triple_steps_from_the_given_parameters(params):
    """It stores no copy of them, which would differ from them if another member changes the update."""
    decaying = example_libraries.optimizer(
        lambda: (lambda x: x, lambda i, g, x: x - 0.5 * (g + x), lambda x: x),
    )
    tx = optim.chain(keras.TFOptimizer(decaying()), optim.scale(0.1))
    state = tx.init(params)
    assert jax.tree.leaves(state) == [0]
    moved, state = run(tx, params, 2, state)
    expected = params
    for n in range(2):
        expected = jax.tree.map(lambda p, g: p - 0.05 * (g + p), expected, grads_like(expected, n))
    close(moved, expected)


def test_a_triple_whose_parameters_are_computed(params):
    """Mirror descent stores the logarithm; the parameters are its exponential."""

    @example_libraries.optimizer
    def mirror():
        return jnp.log, lambda i, g, x: x - 0.1 * g, jnp.exp

    positive = jax.tree.map(lambda p: jnp.abs(p) + 1, params)
    tx = keras.TFOptimizer(mirror())
    moved, _ = run(tx, positive, 2)
    expected = positive
    for n in range(2):
        expected = jax.tree.map(lambda p, g: p * jnp.exp(-0.1 * g), expected, grads_like(expected, n))
    close(moved, expected)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_triple_without_gradients(name, params):
    tx = keras.TFOptimizer(TRIPLES[name])
    params = {**params, "none": None, "n": jnp.arange(3), "half": jnp.ones(2, jnp.bfloat16)}
    full = {"w": params["w"], "b": params["b"], "none": None, "n": None, "half": jnp.ones(2, jnp.float16)}
    _, state = tx.update(full, tx.init(params), params)
    updates, after = tx.update({**full, "w": None}, state, params)
    assert updates["w"] is None
    assert updates["n"] is None
    assert updates["half"].dtype == jnp.float16
    assert after.count == 2
    jax.tree.map(np.testing.assert_array_equal, after.inner_state["w"], state.inner_state["w"])
    alone, _ = tx.update({"b": full["b"]}, tx.init({"b": params["b"]}), {"b": params["b"]})
    first, _ = tx.update(full, tx.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, alone["b"], first["b"])
    for nothing in ({}, None, {"a": None}):
        state = tx.init(nothing)
        assert tx.update(nothing, state, nothing)[0] == nothing


def test_unpacked_triples_and_pairs_of_other_libraries(params, standard_promotion):
    close(run(keras.TFOptimizer(tuple(TRIPLES["adam"])), params)[0], run(keras.TFOptimizer(TRIPLES["adam"]), params)[0])
    for pair in (optax.adam(0.1), optim.adam(0.1), tuple(optim.adam(0.1))):
        tx = keras.TFOptimizer(pair)
        moved, state = run(tx, params)
        close(moved, run(pair, params)[0])
        assert state.count == 5
        assert optim.inspect(tx, state)["step"] == 5
        jaxpr = jax.make_jaxpr(tx.update)(params, state, params).jaxpr
        assert not {p for p in primitives(jaxpr) if "callback" in p}
        two = jax.tree.map(lambda x: jnp.stack([x, x]), params)
        jax.vmap(lambda p, tx=tx: tx.update(p, tx.init(p), p))(two)
    averaged = optim.chain(optim.sgd(0.1), optim.average_params(0.5))
    tx = keras.TFOptimizer(averaged)
    moved, state = run(tx, params)
    close(optim.eval_params(tx, state, moved), optim.eval_params(averaged, state.inner_state, moved))


def test_keras_api(params):
    tx = keras.TFOptimizer(optim.sgd(0.1))
    assert isinstance(tx, keras.KerasOptimizer)
    assert repr(tx) == "keras.TFOptimizer(sgd(0.1))"
    for call in (
        tx.get_config,
        tx.get_weights,
        lambda: tx.set_weights([]),
        lambda: keras.get_weights(tx, tx.init(params)),
        lambda: keras.set_weights(tx, tx.init(params), []),
        lambda: keras.serialize(tx),
    ):
        with pytest.raises(NotImplementedError, match=r"^keras.TFOptimizer: a native optimizer has no"):
            call()
    assert keras.get(tx) is tx


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: keras.TFOptimizer(optim.sgd(0.1), clipnorm=1.0), TypeError, "passed to optimizer: clipnorm"),
        (lambda: keras.TFOptimizer(optim.sgd(0.1), clipvalue=1.0), TypeError, "passed to optimizer: clipvalue"),
        (
            lambda: keras.TFOptimizer(optimizer=optim.sgd),
            TypeError,
            "optimizer must be a transformation (init, update)",
        ),
        (lambda: keras.TFOptimizer(optim.sgd), TypeError, "did you mean sgd(...)?"),
        (
            lambda: keras.TFOptimizer((1, 2, 3)),
            TypeError,
            "optimizer must be a transformation (init, update), got (1, 2",
        ),
        (lambda: keras.TFOptimizer(), TypeError, "keras.TFOptimizer: missing a required argument: 'optimizer'"),
        (lambda: keras.get("TFOptimizer"), TypeError, "keras.TFOptimizer: missing a required argument: 'optimizer'"),
        (lambda: keras.TFOptimizer((len, len, len)).init(jnp.ones(2)), TypeError, "must return an OptimizerState, as"),
        (
            lambda: keras.TFOptimizer(TRIPLES["adam"]).update(jnp.ones(2), (), None),
            TypeError,
            "keras.TFOptimizer: state must be a TFOptimizerState, got ()",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert text in str(raised.value)


def test_errors_of_a_triple(params):
    tx = keras.TFOptimizer(TRIPLES["momentum"])
    state = tx.init(params)
    with pytest.raises(ValueError, match=r"^keras.TFOptimizer: update needs the parameters"):
        tx.update(params, state)
    with pytest.raises(ValueError, match=r"updates\['b'\] has shape \(3,\), params\['b'\] has \(2,\)"):
        tx.update({**params, "b": jnp.ones(3)}, state, params)
    with pytest.raises(ValueError, match=r"state.inner_state is not shaped like params"):
        tx.update(params, state._replace(inner_state={"w": ()}), params)


def test_without_tensorflow(monkeypatch):
    """An optimizer that is neither a triple nor a pair requires TensorFlow."""
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as raised:
        keras.TFOptimizer(object())
    assert str(raised.value) == "keras.TFOptimizer: needs tensorflow: pip install 'optim[tensorflow]'"
    with pytest.raises(ValueError, match="Could not interpret optimizer identifier"):
        keras.get(object())

"""Run by test_tensorflow_keras.py with Keras on TensorFlow: optimizers alone and wrapped take the same steps."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf

import optim
from optim.keras import TFOptimizer

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
assert keras.config.backend() == "tensorflow"
assert tf.keras.optimizers.Adam is keras.optimizers.Adam

STEPS = 4
PARAMS = {"w": jnp.linspace(-1.0, 1.0, 6).reshape(3, 2), "b": jnp.array([0.5, -0.5], jnp.float32)}


def grads_like(params, n):
    return jax.tree.map(lambda p: jnp.cos(p * (n + 1)) + jnp.asarray(0.1, p.dtype), params)


def alone(optimizer):
    leaves, structure = jax.tree.flatten(PARAMS)
    variables = [keras.Variable(np.array(p), dtype=str(p.dtype)) for p in leaves]
    for n in range(STEPS):
        values = structure.unflatten([jnp.asarray(v.numpy()) for v in variables])
        grads = [tf.constant(np.array(g)) for g in jax.tree.leaves(grads_like(values, n))]
        optimizer.apply(grads, variables)
    return structure.unflatten([v.numpy() for v in variables])


K = keras.optimizers
SCHEDULE = K.schedules.ExponentialDecay(0.1, 2, 0.5)
OPTIMIZERS = [
    lambda: K.SGD(0.1, momentum=0.9, nesterov=True),
    lambda: K.RMSprop(0.1, centered=True, momentum=0.5),
    lambda: K.Adagrad(0.1),
    lambda: K.Adadelta(1.0),
    lambda: K.Adam(SCHEDULE, amsgrad=True),
    lambda: K.AdamW(0.1, weight_decay=0.1, clipnorm=1.0),
    lambda: K.Adamax(0.1),
    lambda: K.Nadam(0.1),
    lambda: K.Ftrl(0.1),
    lambda: K.Adafactor(0.1),
    lambda: K.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
    lambda: K.SGD(0.1, gradient_accumulation_steps=2),
]

for make in OPTIMIZERS:
    optimizer = make()
    tx = TFOptimizer(optimizer)
    step = jax.jit(tx.update)
    runs = [(PARAMS, tx.init(PARAMS)) for _ in range(2)]
    for n in range(STEPS):  # two runs, step by step in turn
        for i, (p, s) in enumerate(runs):
            updates, s = step(grads_like(p, n), s, p)
            runs[i] = optim.apply_updates(p, updates), s
    expected = alone(make())
    for params, state in runs:
        for x, y in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-9, err_msg=optimizer.name)
        assert state.count == STEPS
    assert not optimizer.built, optimizer.name

names = [set(TFOptimizer(K.Nadam(0.1)).init(PARAMS).inner_state.others) for _ in range(2)]
assert names == [{"iteration", "learning_rate", "variable"}] * 2  # Keras numbers its variables per process

tx = TFOptimizer(K.Adam(0.1))
state = tx.init(PARAMS)
assert set(state.inner_state.slots) == {"momentum", "velocity"}
assert state.inner_state.slots["momentum"]["w"].dtype == jnp.float64
assert set(state.inner_state.others) == {"iteration", "learning_rate"}
grads = grads_like(PARAMS, 0)
whole, _ = tx.update(grads, state, PARAMS)
halved, _ = tx.update(
    grads, optim.tree.set(state, learning_rate=0.05), PARAMS
)  # a variable of the optimizer can be set
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 2 * b, rtol=1e-6), whole, halved)
partial, after = tx.update({**grads, "b": None}, state, PARAMS)
assert partial["b"] is None
np.testing.assert_array_equal(partial["w"], whole["w"])
np.testing.assert_array_equal(after.inner_state.slots["velocity"]["b"], 0)

built = K.Adam(0.1)
built.build([keras.Variable(np.ones(2))])
for call, kind, text in (
    (lambda: TFOptimizer(built), ValueError, "optimizer has variables of other parameters already; give a new Adam"),
    (lambda: optim.keras.get(K.Adam(0.1)), ValueError, "; optim.keras.TFOptimizer takes it"),
    (lambda: jax.vmap(tx.init)({"w": jnp.ones((2, 3))}), NotImplementedError, "keras.TFOptimizer: vmap would need one"),
):
    with pytest.raises(kind) as raised:
        call()
    assert text in str(raised.value)
print("passed")

"""Run by test_tensorflow_keras.py with Keras on JAX: `TFOptimizer` rejects its optimizers."""

import keras
import pytest

import optim

assert keras.config.backend() == "jax"
with pytest.raises(TypeError) as raised:
    optim.keras.TFOptimizer(keras.optimizers.Adam())
assert str(raised.value) == (
    "keras.TFOptimizer: optimizer is one of Keras on jax, expected one of Keras on tensorflow; "
    "optim.interop.keras.from_keras(optimizer) makes a transformation of it"
)
print("passed")

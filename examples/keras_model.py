"""Keras 3 models with this library's optimizers: compile, fit, save, load and continue.

    KERAS_BACKEND=jax python examples/keras_model.py

The first model is the first example of Keras 2's guide to optimizers. The second has a chain with two groups of
parameters, and a Keras callback sets its learning rate.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras.layers import Activation, Dense

import optim
from optim.interop.keras import as_keras


def data(rows: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((rows, 10), np.float32), rng.random((rows, outputs), np.float32)


def first() -> keras.Model:
    model = keras.Sequential()
    model.add(Dense(64, kernel_initializer="uniform", input_shape=(10,)))
    model.add(Activation("tanh"))
    model.add(Activation("softmax"))

    sgd = as_keras(optim.keras.SGD(lr=0.01, decay=1e-6, momentum=0.9, nesterov=True))
    model.compile(loss="mean_squared_error", optimizer=sgd)
    return model


def grouped() -> keras.Model:
    groups = optim.label_by_path([("*/bias", "plain"), ("*", "decayed")])
    tx = optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.partition({"plain": optim.adam(0.01), "decayed": optim.adamw(0.01, weight_decay=0.01)}, groups),
    )
    model = keras.Sequential([keras.Input((10,)), Dense(32, activation="tanh"), Dense(4)])
    model.compile(loss="mean_squared_error", optimizer=as_keras(tx))
    return model


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    epochs = parser.parse_args(argv).epochs
    keras.utils.set_random_seed(0)

    x, y = data(256, 64)
    model = first()
    model.fit(x, y, epochs=epochs, verbose=0)
    print(f"first: loss {model.evaluate(x, y, verbose=0):.4f} after {int(model.optimizer.iterations)} steps")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.models.load_model(path)
    for m in (model, loaded):
        m.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
    same = all(np.array_equal(a, b) for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True))
    print(f"saved, loaded and trained further: {'the same weights' if same else 'DIFFERENT weights'}")

    x, y = data(256, 4)
    model = grouped()
    decay = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 * 0.5**epoch)
    history = model.fit(x, y, epochs=epochs, verbose=0, callbacks=[decay]).history
    print(f"grouped: loss {history['loss'][0]:.4f} to {history['loss'][-1]:.4f}")
    print("learning rates:", ", ".join(f"{rate:.2g}" for rate in history["learning_rate"]))


if __name__ == "__main__":
    main()

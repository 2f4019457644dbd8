"""A native TensorFlow optimizer inside a compiled JAX training step.

    python examples/native_tensorflow.py

FTRL with an L1 penalty fits a sparse linear model. Its step runs in TensorFlow, on the host. Its variables are the
transformation's state, so a run can be resumed from the state of any step, with the same numbers.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

import optim


def data(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A linear model in which only ten columns have a non-zero weight."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns), np.float32)
    weights = np.where(np.arange(columns) < 10, 2.0, 0.0).astype(np.float32)
    return x, x @ weights + 0.1 * rng.standard_normal(rows, np.float32)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args(argv).steps
    x, y = map(jnp.asarray, data(256, 50))

    ftrl = tf.compat.v1.train.FtrlOptimizer(0.5, l1_regularization_strength=40.0)
    tx = optim.chain(optim.clip_by_global_norm(100.0), optim.keras.TFOptimizer(ftrl))

    @jax.jit
    def run(w, state):
        def step(carry, _):
            w, state = carry
            loss, grads = jax.value_and_grad(lambda w: jnp.mean((x @ w - y) ** 2))(w)
            updates, state = tx.update(grads, state, w)
            return (optim.apply_updates(w, updates), state), loss

        return jax.lax.scan(step, (w, state), length=steps)

    w = jnp.zeros(x.shape[1])
    (w, state), losses = run(w, tx.init(w))
    print(f"loss {losses[0]:.3f} to {losses[-1]:.4f} in {steps} steps of one compiled program")
    print(f"{int((w != 0).sum())} of {w.size} weights are non-zero")
    first, again = run(w, state)[0][0], run(w, state)[0][0]
    print(f"resumed twice from one state: {'the same numbers' if (first == again).all() else 'DIFFERENT numbers'}")


if __name__ == "__main__":
    main()

"""Train a Flax Linen module with this library in Flax' `TrainState`.

    python examples/flax_linen.py

`TrainState` calls `tx.init` and `tx.update`, so it accepts any transformation. It needs the extra `flax`.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits

import optim


class Network(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(10, name="output")(jnp.tanh(nn.Dense(32, name="hidden")(x)))


def make_optimizer() -> optim.GradientTransformation:
    """Gradient clipping, then AdamW; biases have no weight decay."""
    groups = optim.label_by_path([("*/bias", "rest"), ("*", "decay")])
    return optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.partition({"decay": optim.adamw(0.01, weight_decay=0.01), "rest": optim.adam(0.01)}, groups),
    )


@jax.jit
def train_step(state: TrainState, images: Any, labels: Any) -> tuple[TrainState, jax.Array]:
    def loss_fn(params: Any) -> jax.Array:
        log_p = jax.nn.log_softmax(state.apply_fn({"params": params}, images))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def in_order(params: Any) -> list[np.ndarray]:
    return [np.asarray(params[layer][x]) for layer in ("hidden", "output") for x in ("kernel", "bias")]


def main(argv: Sequence[str] | None = None) -> Any:
    """Return the arrays before and after, the losses, and the final state."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of training (default %(default)s)")
    args = parser.parse_args(argv)
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:512].astype(np.float32) / 16, labels[:512].astype(np.int32)

    model = Network()
    params = model.init(jax.random.key(0), images)["params"]
    first = in_order(params)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=make_optimizer())
    losses = []
    for _ in range(args.steps):
        state, loss = train_step(state, images, labels)
        losses.append(float(loss))
    steps = optim.inspect(state.tx, state.opt_state)["step"]
    print(f"loss {losses[0]:.4f} at the first step, {losses[-1]:.6f} at the last, after {steps} steps")
    return first, in_order(state.params), losses, state


if __name__ == "__main__":
    main()

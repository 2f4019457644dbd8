"""Train a Flax NNX module with this library in `nnx.Optimizer`.

    python examples/flax_nnx.py

`nnx.Optimizer` stores parameters and state in variables. Variables are not part of a path: groups are selected by the
attributes of the module, `hidden/bias`, as in a dict. It needs the extra `flax`.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_digits

import optim


class Network(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 32, rngs=rngs)
        self.output = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.output(jnp.tanh(self.hidden(x)))


def make_optimizer() -> optim.GradientTransformation:
    """Gradient clipping, then AdamW; biases have no weight decay."""
    groups = optim.label_by_path([("*/bias", "rest"), ("*", "decay")])
    return optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.partition({"decay": optim.adamw(0.01, weight_decay=0.01), "rest": optim.adam(0.01)}, groups),
    )


@nnx.jit
def train_step(model: Network, optimizer: nnx.Optimizer, images: Any, labels: Any) -> jax.Array:
    def loss_fn(model: Network) -> jax.Array:
        log_p = jax.nn.log_softmax(model(images))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def in_order(model: Network) -> list[np.ndarray]:
    return [np.asarray(x[...]) for layer in (model.hidden, model.output) for x in (layer.kernel, layer.bias)]


def main(argv: Sequence[str] | None = None) -> Any:
    """Return the arrays before and after, the losses, and the final optimizer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of training (default %(default)s)")
    args = parser.parse_args(argv)
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:512].astype(np.float32) / 16, labels[:512].astype(np.int32)

    model = Network(nnx.Rngs(0))
    first = in_order(model)
    optimizer = nnx.Optimizer(model, make_optimizer(), wrt=nnx.Param)
    losses = [float(train_step(model, optimizer, images, labels)) for _ in range(args.steps)]
    steps = optim.inspect(optimizer.tx, optimizer.opt_state)["step"]
    print(f"loss {losses[0]:.4f} at the first step, {losses[-1]:.6f} at the last, after {steps} steps")
    return first, in_order(model), losses, optimizer


if __name__ == "__main__":
    main()

"""Train a Haiku network. Its parameters are a dict of dicts, so no adapter is needed.

    python examples/haiku_mlp.py

It needs the extra `haiku`.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import optim


def network(x: Any) -> Any:
    return hk.nets.MLP([32, 10], activation=jnp.tanh)(x)


def make_optimizer() -> optim.GradientTransformation:
    """Gradient clipping, then AdamW; biases, which Haiku calls `b`, have no weight decay."""
    groups = optim.label_by_path([("*/b", "rest"), ("*", "decay")])
    return optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.partition({"decay": optim.adamw(0.01, weight_decay=0.01), "rest": optim.adam(0.01)}, groups),
    )


def in_order(params: Any) -> list[np.ndarray]:
    return [np.asarray(params[f"mlp/~/linear_{i}"][x]) for i in (0, 1) for x in ("w", "b")]


def main(argv: Sequence[str] | None = None) -> Any:
    """Return the arrays before and after, the losses, and the final state."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of training (default %(default)s)")
    args = parser.parse_args(argv)
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:512].astype(np.float32) / 16, labels[:512].astype(np.int32)

    model, tx = hk.without_apply_rng(hk.transform(network)), make_optimizer()

    def loss_fn(params: Any, images: Any, labels: Any) -> jax.Array:
        log_p = jax.nn.log_softmax(model.apply(params, images))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    params = model.init(jax.random.key(0), images)
    first, losses = in_order(params), []
    step, state = optim.make_step(loss_fn, tx), tx.init(params)
    for _ in range(args.steps):
        params, state, loss = step(params, state, images, labels)
        losses.append(float(loss))
    steps = optim.inspect(tx, state)["step"]
    print(f"loss {losses[0]:.4f} at the first step, {losses[-1]:.6f} at the last, after {steps} steps")
    return first, in_order(params), losses, state


if __name__ == "__main__":
    main()

"""Train an Equinox module, which contains parameters, functions and numbers.

    python examples/equinox_module.py

`eqx.filter` replaces leaves that are not trained with None. The optimizer ignores them: they have no gradient, no slot
and no update. Groups are selected by the attributes of the module. It needs the extra `equinox`.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import optim


class Network(eqx.Module):
    hidden: eqx.nn.Linear
    output: eqx.nn.Linear
    activation: Callable[..., Any]  # a leaf that is not an array
    name: str = eqx.field(static=True)  # not a leaf

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key)
        self.hidden = eqx.nn.Linear(64, 32, key=keys[0])
        self.output = eqx.nn.Linear(32, 10, key=keys[1])
        self.activation = jnp.tanh
        self.name = "digits"

    def __call__(self, x: Any) -> Any:
        return self.output(self.activation(self.hidden(x)))


def make_optimizer() -> optim.GradientTransformation:
    """Gradient clipping, then AdamW; biases have no weight decay."""
    groups = optim.label_by_path([("*/bias", "rest"), ("*", "decay")])
    return optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.partition({"decay": optim.adamw(0.01, weight_decay=0.01), "rest": optim.adam(0.01)}, groups),
    )


TX = make_optimizer()


@eqx.filter_jit
def train_step(model: Network, state: Any, images: Any, labels: Any) -> tuple[Network, Any, jax.Array]:
    def loss_fn(model: Network) -> jax.Array:
        log_p = jax.nn.log_softmax(jax.vmap(model)(images))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    loss, grads = eqx.filter_value_and_grad(loss_fn)(model)
    updates, state = TX.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
    return eqx.apply_updates(model, updates), state, loss


def in_order(model: Network) -> list[np.ndarray]:
    """The arrays of `plain_trees`; Equinox' weights are (out, in)."""
    return [np.asarray(x) for layer in (model.hidden, model.output) for x in (layer.weight.T, layer.bias)]


def main(argv: Sequence[str] | None = None) -> Any:
    """Return the arrays before and after, the losses, and the final model and state."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of training (default %(default)s)")
    args = parser.parse_args(argv)
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:512].astype(np.float32) / 16, labels[:512].astype(np.int32)

    model = Network(jax.random.key(0))
    first, losses = in_order(model), []
    state = TX.init(eqx.filter(model, eqx.is_inexact_array))
    for _ in range(args.steps):
        model, state, loss = train_step(model, state, images, labels)
        losses.append(float(loss))
    steps = optim.inspect(TX, state)["step"]
    print(f"loss {losses[0]:.4f} at the first step, {losses[-1]:.6f} at the last, after {steps} steps")
    return first, in_order(model), losses, (model, state)


if __name__ == "__main__":
    main()

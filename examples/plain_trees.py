"""Train a network whose parameters are plain dicts, then the same network with dataclasses.

    python examples/plain_trees.py

Parameters can be any tree of arrays: dicts, lists, tuples, or a class registered with JAX, for example with
`register_dataclass`. Groups are selected by the paths of the leaves: keys of dicts and attributes of classes give the
same paths, so one optimizer works for both, and both give the same numbers. The images are scikit-learn's 8 x 8 digits.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import optim

Arrays = list[np.ndarray]


@jax.tree_util.register_dataclass
@dataclass
class Dense:
    kernel: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclass
class Network:
    hidden: Dense
    output: Dense


class Result(NamedTuple):
    """Weights and biases of both layers before and after training, and the loss at each step."""

    first: Arrays
    last: Arrays
    losses: list[float]


def make_optimizer() -> optim.GradientTransformation:
    """Gradient clipping, then AdamW; biases have no weight decay."""
    groups = optim.label_by_path([("*/bias", "rest"), ("*", "decay")])
    return optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.partition({"decay": optim.adamw(0.01, weight_decay=0.01), "rest": optim.adam(0.01)}, groups),
    )


def load(rows: int = 512) -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return images[:rows].astype(np.float32) / 16, labels[:rows].astype(np.int32)


def cross_entropy(logits: jax.Array, labels: Any) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))


def initial(seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = [(64, 32), (32,), (32, 10), (10,)]
    return [(rng.normal(size=s) * (0.1 if len(s) > 1 else 0)).astype(np.float32) for s in shapes]


def as_dict(arrays: Arrays) -> Any:
    w1, b1, w2, b2 = map(jnp.array, arrays)
    return {"hidden": {"kernel": w1, "bias": b1}, "output": {"kernel": w2, "bias": b2}}


def with_dict(params: Any, images: Any) -> jax.Array:
    hidden = jnp.tanh(images @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return hidden @ params["output"]["kernel"] + params["output"]["bias"]


def as_dataclass(arrays: Arrays) -> Network:
    w1, b1, w2, b2 = map(jnp.array, arrays)
    return Network(Dense(w1, b1), Dense(w2, b2))


def with_dataclass(params: Network, images: Any) -> jax.Array:
    hidden = jnp.tanh(images @ params.hidden.kernel + params.hidden.bias)
    return hidden @ params.output.kernel + params.output.bias


def in_order(params: Any) -> Arrays:
    """The arrays in the order of `initial`."""
    if isinstance(params, Network):
        layers: list[Any] = [params.hidden, params.output]
        return [np.asarray(x) for layer in layers for x in (layer.kernel, layer.bias)]
    return [np.asarray(params[layer][x]) for layer in ("hidden", "output") for x in ("kernel", "bias")]


def train(params: Any, logits: Callable[..., jax.Array], steps: int) -> Result:
    tx, (images, labels) = make_optimizer(), load()
    step = optim.make_step(lambda params, x, y: cross_entropy(logits(params, x), y), tx)
    first, state, losses = in_order(params), tx.init(params), []
    for _ in range(steps):
        params, state, loss = step(params, state, images, labels)
        losses.append(loss)
    return Result(first, in_order(params), [float(x) for x in losses])


def main(argv: Sequence[str] | None = None) -> list[Result]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of training (default %(default)s)")
    args = parser.parse_args(argv)
    results = []
    for name, make, logits in (("dicts", as_dict, with_dict), ("dataclasses", as_dataclass, with_dataclass)):
        results.append(train(make(initial()), logits, args.steps))
        losses = results[-1].losses
        print(f"{name}: loss {losses[0]:.4f} at the first step, {losses[-1]:.6f} at the last")
    return results


if __name__ == "__main__":
    main()

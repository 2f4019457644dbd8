"""Write your own transformations, and combine them with the library's.

    python examples/custom_transform.py

The example has two: one from a rule on one array, one from a pair of functions. Both are members of a chain with a
warm-up schedule, weight decay on some parameters, and another optimizer for the last layer. The chain trains a small
network to classify tumours as malignant or benign (569 patients, 30 measurements each, included in scikit-learn).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import optim
from optim import Range

Params = dict[str, dict[str, jax.Array]]


# First, a rule on one array. `g` is the gradient of one parameter, `mean` is the slot declared under that name. The
# rule returns the update and the new slot. The library handles trees, missing gradients, low precision and errors. A
# registered transformation prints as the call that made it, compares equal to an equal call, and has a config. The
# name `decay` has a known range; `factor` is a new name, so its range is declared.


class DampDisagreementState(NamedTuple):
    mean: optim.Updates


@optim.register(ranges={"factor": Range(0, 1, means="factor of the elements that disagree with their mean")})
def damp_disagreement(decay: float = 0.9, factor: float = 0.1) -> optim.GradientTransformation:
    """Multiply by `factor` the elements of the gradient whose sign differs from that of their running mean."""

    def rule(g: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = mean + (1 - decay) * (g - mean)
        return g * jnp.where(g * mean < 0, factor, 1.0), mean

    return optim.elementwise(rule, DampDisagreementState, mean=optim.Slot(decay=decay))


# Second, a pair of functions, for transformations that are not a rule on one array. The state is any pytree: here, one
# number.


@optim.register()
def divide_by_largest_norm() -> optim.GradientTransformation:
    """Divide by the largest global norm so far, so that updates shrink as the gradients do."""

    def init(params: Params) -> jax.Array:
        return jnp.zeros((), jnp.float32)

    def update(updates: Any, largest: jax.Array, params: Params | None = None) -> tuple[Any, jax.Array]:
        largest = jnp.maximum(largest, optim.global_norm(updates))
        return optim.tree.map(lambda u: u / jnp.maximum(largest, 1e-6), updates), largest

    return optim.GradientTransformation(init, update)


def make_optimizer(steps: int) -> optim.GradientTransformation:
    """Both custom transformations, then Adam with warm-up and decay for the body, SGD with momentum for the head.

    Labels and masks are trees of the parameters' structure. One leaf may stand for a whole branch.
    """
    rate = optim.warmup_cosine_decay_schedule(0.0, 0.01, warmup_steps=steps // 10, decay_steps=steps)
    decay = optim.add_decayed_weights(1e-3, mask={"body": {"w": True, "b": False}, "head": False})
    body = optim.chain(optim.scale_by_adam(), decay, optim.scale_by_learning_rate(rate))
    head = optim.sgd(0.1, momentum=0.9)
    return optim.chain(
        damp_disagreement(0.9),
        divide_by_largest_norm(),
        optim.partition({"adam": body, "sgd": head}, {"body": "adam", "head": "sgd"}),
    )


# The problem


def load(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and test data; every measurement has mean 0 and variance 1 over the training data."""
    x, y = load_breast_cancer(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, random_state=seed, stratify=y)
    mean, std = train_x.mean(axis=0), train_x.std(axis=0)
    train_x, test_x = (((x - mean) / std).astype(np.float32) for x in (train_x, test_x))
    return (train_x, train_y.astype(np.float32)), (test_x, test_y.astype(np.float32))


def init_network(key: jax.Array) -> Params:
    return {
        "body": {"w": jax.random.normal(key, (30, 16)) * 30**-0.5, "b": jnp.zeros(16)},
        "head": {"w": jnp.zeros((16, 1)), "b": jnp.zeros(1)},
    }


def logit(params: Params, x: jax.Array) -> jax.Array:
    hidden = jnp.tanh(x @ params["body"]["w"] + params["body"]["b"])
    return (hidden @ params["head"]["w"] + params["head"]["b"])[:, 0]


def loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean binary cross-entropy."""
    z = logit(params, x)
    return jnp.mean(jax.nn.softplus(z) - y * z)


@dataclass(frozen=True)
class Result:
    tx: optim.GradientTransformation
    config: dict[str, Any]
    first_loss: float
    last_loss: float
    accuracy: float


def main(argv: Sequence[str] | None = None) -> Result:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="steps on the whole training set (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split and the network (default %(default)s)")
    args = parser.parse_args(argv)
    if args.steps < 10:
        parser.error("argument --steps: must be at least 10")

    tx = make_optimizer(args.steps)
    config = optim.to_config(tx)
    assert optim.from_config(json.loads(json.dumps(config))) == tx
    print(f"the transformation:\n{tx}\n\nits config:\n{json.dumps(config, indent=2)}\n")

    training, test = load(args.seed)

    @jax.jit
    def step(params: Params, state: optim.OptState) -> tuple[Params, optim.OptState, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params, *training)
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    params = init_network(jax.random.key(args.seed))
    state = tx.init(params)
    losses = []
    for _ in range(args.steps):
        params, state, value = step(params, state)
        losses.append(value)
    accuracy = float(np.mean((logit(params, test[0]) > 0) == (test[1] > 0)))
    result = Result(tx, config, float(losses[0]), float(losses[-1]), accuracy)
    print(f"training loss: {result.first_loss:.4f} at the first step, {result.last_loss:.4f} at the last")
    print(f"test accuracy: {result.accuracy:.1%}")
    return result


if __name__ == "__main__":
    main()

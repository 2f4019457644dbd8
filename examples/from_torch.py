"""Train in PyTorch, stop half-way, and continue in JAX with the same numbers.

    python examples/from_torch.py

A small network learns two interleaved spirals with PyTorch's AdamW. Half-way the weights and the optimizer are saved.
Then both continue: PyTorch, and JAX with this library's `adamw` and the moments and counts of the file. Both end at the
same loss; with a fresh state the loss is different. It needs the extra `torch`.
"""

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import optim
from optim.interop.torch import state_from_torch

RATE, DECAY = 0.01, 0.05
HIDDEN = 32

# Leaf of the parameters in JAX -> its name in PyTorch, with a conversion, because PyTorch's weights are (out, in).
MAPPING = {
    "hidden": {"kernel": ("0.weight", np.transpose), "bias": "0.bias"},
    "out": {"kernel": ("2.weight", np.transpose), "bias": "2.bias"},
}


def spirals(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of two spirals, the second rotated by 180 degrees, and the spiral of each point."""
    t = np.linspace(0.5, 3.0, n)
    points = [np.stack([np.cos(3 * t + turn), np.sin(3 * t + turn)], axis=1) * t[:, None] for turn in (0.0, np.pi)]
    return np.concatenate(points).astype(np.float32), np.repeat([0.0, 1.0], n).astype(np.float32)[:, None]


# In PyTorch


def make_network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1))


def make_optimizer(network: torch.nn.Module) -> torch.optim.Optimizer:
    # Named parameters give the state dict their names.
    return torch.optim.AdamW(network.named_parameters(), RATE, weight_decay=DECAY)


def train_torch(network: Any, optimizer: Any, x: np.ndarray, y: np.ndarray, steps: int) -> float:
    points, labels = torch.from_numpy(x), torch.from_numpy(y)
    loss_fn = torch.nn.BCEWithLogitsLoss()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_fn(network(points), labels).backward()
        optimizer.step()
    return loss_fn(network(points), labels).item()


# In JAX


def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    z = hidden @ params["out"]["kernel"] + params["out"]["bias"]
    return jnp.mean(jax.nn.softplus(z) - y * z)


def params_from_torch(weights: dict[str, torch.Tensor]) -> Any:
    def one(place: Any) -> jax.Array:
        name, convert = place if isinstance(place, tuple) else (place, np.array)
        return jnp.array(convert(weights[name].numpy()))

    return jax.tree.map(one, MAPPING, is_leaf=lambda x: not isinstance(x, dict))


def train_jax(tx: Any, state: Any, params: Any, x: np.ndarray, y: np.ndarray, steps: int) -> tuple[float, Any]:
    step = optim.make_step(loss, tx)
    for _ in range(steps):
        params, state, _ = step(params, state, x, y)
    return float(loss(params, x, y)), state


@dataclass(frozen=True)
class Result:
    half_loss: float
    torch_loss: float
    jax_loss: float
    fresh_loss: float
    state: Any


def main(argv: Sequence[str] | None = None) -> Result:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="steps in each half (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the network (default %(default)s)")
    args = parser.parse_args(argv)
    if args.steps < 1:
        parser.error("argument --steps: must be at least 1")

    x, y = spirals(100)
    torch.manual_seed(args.seed)
    network = make_network()
    optimizer = make_optimizer(network)
    half_loss = train_torch(network, optimizer, x, y, args.steps)
    print(f"{args.steps} steps in PyTorch: loss {half_loss:.6f}")

    file = io.BytesIO()
    torch.save({"weights": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file)

    tx = optim.adamw(RATE, weight_decay=DECAY)
    params = params_from_torch(saved["weights"])
    state = state_from_torch(saved["optimizer"], tx, params, MAPPING)
    jax_loss, state = train_jax(tx, state, params, x, y, args.steps)
    torch_loss = train_torch(network, optimizer, x, y, args.steps)
    params = params_from_torch(saved["weights"])
    fresh_loss, _ = train_jax(tx, tx.init(params), params, x, y, args.steps)
    print(f"{args.steps} more in PyTorch: loss {torch_loss:.6f}")
    print(f"{args.steps} more in JAX:     loss {jax_loss:.6f}, at step {int(optim.inspect(tx, state)['step'])}")
    print(f"with a fresh state:    loss {fresh_loss:.6f}")
    return Result(half_loss, torch_loss, jax_loss, fresh_loss, state)


if __name__ == "__main__":
    main()

"""Train a model of characters twice: with float32 AdamW, and with bfloat16 weights and 8-bit moments.

    python examples/low_memory.py

Prints the bytes that weights, gradients and the optimizer's state take, and the loss on text that was not trained on.
The text is the source of Python's standard library.
"""

import argparse
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import optim

CONTEXT, CHARACTERS = 16, 128


class Run(NamedTuple):
    """Bytes for a parameter (weights, state, gradient), and the loss on the last part of the text."""

    name: str
    weights: float
    state: float
    gradient: float
    loss: float


def load(size: int = 1_000_000) -> np.ndarray:
    """The first characters of the standard library's modules, in the order of their names."""
    text, folder = bytearray(), Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(folder.glob("*.py")):
        text += path.read_bytes()
        if len(text) >= size:
            break
    return np.minimum(np.frombuffer(bytes(text[:size]), np.uint8), CHARACTERS - 1).astype(np.int32)


def initial(width: int, dtype: Any, seed: int = 0) -> dict[str, jax.Array]:
    """A network on the embeddings of the last characters: about 430,000 parameters at a width of 256."""
    rng = np.random.default_rng(seed)
    shapes = {"embedding": (CHARACTERS, 64), "hidden": (CONTEXT * 64, width), "deep": (width, width)}
    shapes |= {"output": (width, CHARACTERS)}
    made = {k: rng.normal(size=s) / (1 if k == "embedding" else s[0] ** 0.5) for k, s in shapes.items()}
    made |= {"bias": np.zeros(width), "deep_bias": np.zeros(width)}
    return {k: jnp.asarray(x, dtype) for k, x in made.items()}


def loss(params: Any, windows: jax.Array) -> jax.Array:
    """Cross-entropy of the last character of each window, in nats."""
    x = params["embedding"][windows[:, :-1]].reshape(len(windows), -1)
    x = jax.nn.gelu(x @ params["hidden"] + params["bias"])
    x = x + jax.nn.gelu(x @ params["deep"] + params["deep_bias"])
    logits = (x @ params["output"]).astype(jnp.float32)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), windows[:, -1:], axis=1))


def windows(text: np.ndarray, rng: np.random.Generator, n: int) -> Any:
    starts = rng.integers(0, len(text) - CONTEXT, n)
    return text[starts[:, None] + np.arange(CONTEXT + 1)]


def train(name: str, tx: optim.GradientTransformation, dtype: Any, width: int, steps: int) -> Run:
    text = load()
    rest = len(text) * 9 // 10
    params = initial(width, dtype)
    n = sum(p.size for p in jax.tree.leaves(params))
    weights = sum(p.nbytes for p in jax.tree.leaves(params)) / n
    step, state, rng = optim.make_step(loss, tx), tx.init(params), np.random.default_rng(0)
    size = optim.summary(tx, params).bytes / n
    for _ in range(steps):
        params, state, _ = step(params, state, windows(text[:rest], rng, 64))
    test = loss(params, jnp.asarray(windows(text[rest:], np.random.default_rng(1), 4096)))
    return Run(name, weights, size, weights, float(test))


def main(argv: Sequence[str] | None = None) -> list[Run]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1000, help="steps of training (default %(default)s)")
    parser.add_argument("--width", type=int, default=256, help="units in a layer (default %(default)s)")
    args = parser.parse_args(argv)
    rate = optim.warmup_cosine_decay_schedule(0.0, 2e-3, args.steps // 10, args.steps)
    adamw = optim.adamw(rate, weight_decay=0.01)
    choices: list[tuple[str, optim.GradientTransformation, Any]] = [
        ("float32", adamw, jnp.float32),
        ("bfloat16, as it is", adamw, jnp.bfloat16),
        ("bfloat16, low_memory", optim.low_memory(adamw), jnp.bfloat16),
    ]
    print(f"{'':22}  weights  state  gradient  bytes in all    loss")
    runs = []
    for name, tx, dtype in choices:
        run = train(name, tx, dtype, args.width, args.steps)
        total = run.weights + run.state + run.gradient
        print(f"{name:22}  {run.weights:7.2f}  {run.state:5.2f}  {run.gradient:8.2f}  {total:12.2f}  {run.loss:.4f}")
        runs.append(run)
    return runs


if __name__ == "__main__":
    main()

"""The parameter trees: the shapes of real models, and for small ones also the model.

This file needs no JAX, so that PyTorch's process does not load it.
"""

import functools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Forward = Callable[[Any, Any, Callable[[Any], Any]], Any]
"""(parameters, inputs, tanh) -> outputs, in the operators that JAX and PyTorch share."""
FOLDER = "BENCHMARKS_FOLDER"
"""The environment variable with the folder of the arrays that processes share."""
LARGE = 10_000_000
"""Trees of so many parameters are shared."""


@dataclass(frozen=True, eq=False)
class Tree:
    """The shapes of parameters, and a forward pass where the model is small enough to train."""

    name: str
    shapes: Any
    forward: Forward | None = None
    inputs: Shape = ()
    outputs: Shape = ()

    @property
    def flat(self) -> list[Shape]:
        """The shapes of the leaves, in the order of `jax.tree.leaves`."""
        return _leaves(self.shapes)

    def unflatten(self, leaves: list[Any]) -> Any:
        """The tree with these leaves."""
        return _build(self.shapes, iter(leaves))

    @property
    def size(self) -> int:
        return sum(math.prod(s) for s in self.flat)

    def params(self) -> list[np.ndarray]:
        """Small random numbers, like those of an initialiser. They are shared, so callers must copy them."""
        return self._shared("params", _params)

    def grads(self) -> list[np.ndarray]:
        """Random numbers away from zero. Near zero the update depends on how a library applies epsilon."""
        return self._shared("grads", _grads)

    def _shared(self, what: str, make: Callable[[int], np.ndarray]) -> list[np.ndarray]:
        """The leaves of one buffer. Processes share those of large trees in a file, which the first of them writes."""
        folder = os.environ.get(FOLDER)
        if folder is None or self.size < LARGE:
            return self._split(make(self.size))
        path = Path(folder, f"{self.name}-{what}.npy")
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".npy", delete=False) as file:
                np.save(file, make(self.size))
            os.replace(file.name, path)
        return self._split(np.load(path, mmap_mode="r"))

    def _split(self, buffer: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum([math.prod(s) for s in self.flat])
        return [x.reshape(s) for x, s in zip(np.split(buffer, ends[:-1]), self.flat, strict=True)]

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(2)
        return rng.standard_normal(self.inputs, np.float32), rng.standard_normal(self.outputs, np.float32)

    def loss(self, params: Any, batch: Any, tanh: Callable[[Any], Any]) -> Any:
        """The mean squared error of the model."""
        if self.forward is None:
            raise ValueError(f"{self.name} has no model, only shapes")
        inputs, targets = batch
        return ((self.forward(params, inputs, tanh) - targets) ** 2).mean()


@functools.lru_cache(maxsize=1)
def _params(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(size, np.float32) * np.float32(0.02)


@functools.lru_cache(maxsize=1)
def _grads(size: int) -> np.ndarray:
    uniform = np.random.default_rng(1).random(size, np.float32)
    return np.where(uniform < 0.5, uniform - np.float32(1.5), uniform + np.float32(0.5))


def _leaves(shapes: Any) -> list[Shape]:
    if isinstance(shapes, tuple):
        return [shapes]
    children = [shapes[k] for k in sorted(shapes)] if isinstance(shapes, dict) else shapes
    return [leaf for child in children for leaf in _leaves(child)]


def _build(shapes: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(shapes, tuple):
        return next(leaves)
    if isinstance(shapes, dict):
        return {k: _build(shapes[k], leaves) for k in sorted(shapes)}
    return [_build(x, leaves) for x in shapes]


def _dense(n: int, m: int) -> dict[str, Shape]:
    return {"w": (n, m), "b": (m,)}


def _mlp() -> Tree:
    def forward(params: Any, x: Any, tanh: Callable[[Any], Any]) -> Any:
        hidden, output = params["hidden"], params["output"]
        return tanh(x @ hidden["w"] + hidden["b"]) @ output["w"] + output["b"]

    return Tree("mlp", {"hidden": _dense(784, 512), "output": _dense(512, 10)}, forward, (64, 784), (64, 10))


def _narrow(layers: int = 300, width: int = 32) -> Tree:
    def forward(params: Any, x: Any, tanh: Callable[[Any], Any]) -> Any:
        for layer in params:
            x = x + layer["gain"] * tanh(x @ layer["w"] + layer["b"])
        return x

    shapes = [{**_dense(width, width), "gain": (width,)} for _ in range(layers)]
    return Tree("narrow", shapes, forward, (32, width), (32, width))


def _resnet50() -> Tree:
    def conv(size: int, n: int, m: int) -> dict[str, Shape]:
        return {"kernel": (size, size, n, m), "scale": (m,), "bias": (m,)}

    shapes: dict[str, Any] = {"stem": conv(7, 3, 64)}
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**stage
        for block in range(blocks):
            parts = {"a": conv(1, channels, inner), "b": conv(3, inner, inner), "c": conv(1, inner, 4 * inner)}
            if block == 0:
                parts["short"] = conv(1, channels, 4 * inner)
            shapes[f"stage{stage}_{block}"] = parts
            channels = 4 * inner
    return Tree("resnet50", shapes | {"head": _dense(channels, 1000)})


def _gpt2(width: int = 768, layers: int = 12) -> Tree:
    def norm() -> dict[str, Shape]:
        return {"scale": (width,), "bias": (width,)}

    def block() -> dict[str, Any]:
        return {
            "norm1": norm(),
            "qkv": _dense(width, 3 * width),
            "merge": _dense(width, width),
            "norm2": norm(),
            "up": _dense(width, 4 * width),
            "down": _dense(4 * width, width),
        }

    embeddings = {"tokens": (50257, width), "positions": (1024, width)}
    return Tree("gpt2", {**embeddings, "blocks": [block() for _ in range(layers)], "norm": norm()})


TINY = Tree("tiny", {"a": _dense(6, 7), "b": [(), (5,)]})
"""The tree on which the libraries are compared before anything is timed."""
SMALL = Tree("small", {"hidden": _dense(7, 5), "output": _dense(5, 3)})
"""The leaves of `mlp` with hardly an element: a step takes as long as its call."""
TREES = {t.name: t for t in (_mlp(), _resnet50(), _gpt2(), Tree("thousand", [(1000,)] * 1000), _narrow(), SMALL, TINY)}

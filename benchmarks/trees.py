"""The parameter trees: the shapes of real models, and for small ones also the model."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

Shape = tuple[int, ...]
Forward = Callable[[Any, Any, Callable[[Any], Any]], Any]
"""(parameters, inputs, tanh) -> outputs, in the operators that JAX and PyTorch share."""


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
        return jax.tree.leaves(self.shapes, is_leaf=_is_shape)

    @property
    def structure(self) -> Any:
        return jax.tree.structure(self.shapes, is_leaf=_is_shape)

    @property
    def size(self) -> int:
        return sum(math.prod(s) for s in self.flat)

    def params(self) -> list[np.ndarray]:
        """Small random numbers, like those of an initialiser. They are shared, so callers must copy them."""
        return _params(self)

    def grads(self) -> list[np.ndarray]:
        """Random numbers away from zero. Near zero the update depends on how a library applies epsilon."""
        return _grads(self)

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
def _params(tree: Tree) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s, np.float32) * np.float32(0.02) for s in tree.flat]


@functools.lru_cache(maxsize=1)
def _grads(tree: Tree) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    uniform = [rng.random(s, np.float32) for s in tree.flat]
    return [np.where(x < 0.5, x - np.float32(1.5), x + np.float32(0.5)) for x in uniform]


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple)


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


TREES = {t.name: t for t in (_mlp(), _resnet50(), _gpt2(), Tree("thousand", [(1000,)] * 1000), _narrow())}
TINY = Tree("tiny", {"a": _dense(6, 7), "b": [(), (5,)]})
"""The tree on which the libraries are compared before anything is timed."""

"""A lower bound for a step: the memory bandwidth, measured with one pass of AdamW, or with a copy on the device."""

import ctypes
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from .libraries import CEILING
from .optimizers import DECAY, EPS, Optimizer
from .trees import Tree

BYTES = 28
"""Bytes that AdamW moves per float32 parameter: it reads p, g, m, v and writes p, m, v."""

SOURCE = """
#include <math.h>
void adamw(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, long low, long high,
           float rate, float first, float second, float eps, float decay) {
    for (long i = low; i < high; i++) {
        float mi = m[i] + 0.1f * (g[i] - m[i]);
        float vi = v[i] + 0.001f * (g[i] * g[i] - v[i]);
        m[i] = mi;
        v[i] = vi;
        p[i] -= rate * (first * mi / (sqrtf(second * vi) + eps) + decay * p[i]);
    }
}
"""

Pass = Callable[..., None]


@functools.cache
def compiled() -> Pass | None:
    """The pass in C; None without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        source, library = Path(scratch, "adamw.c"), Path(scratch, "adamw.so")
        source.write_text(SOURCE)
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        built = subprocess.run([compiler, *flags, source, "-o", library, "-lm"], capture_output=True, check=False)
        if built.returncode:
            return None
        function = ctypes.CDLL(str(library)).adamw
    function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_long] * 2 + [ctypes.c_float] * 5
    function.restype = None

    def adamw(p: Any, g: Any, m: Any, v: Any, *rest: Any) -> None:
        function(p.ctypes.data, g.ctypes.data, m.ctypes.data, v.ctypes.data, *rest)

    return adamw


def chunked(p: Any, g: Any, m: Any, v: Any, low: int, high: int, *scalars: float, chunk: int = 16_384) -> None:
    """The same in NumPy, in chunks that stay in the cache."""
    rate, first, second, eps, decay = (np.float32(x) for x in scalars)
    for i in range(low, high, chunk):
        s = slice(i, min(i + chunk, high))
        m[s] += np.float32(0.1) * (g[s] - m[s])
        v[s] += np.float32(0.001) * (g[s] * g[s] - v[s])
        p[s] -= rate * (first * m[s] / (np.sqrt(second * v[s]) + eps) + decay * p[s])


class AdamwPass:
    """AdamW over one flat buffer, with as many threads as there are cores."""

    def __init__(self, tree: Tree, rate: float) -> None:
        self.tree, self.rate = tree, rate
        self.moved = BYTES * tree.size
        self.run = compiled() or chunked
        self.threads = os.cpu_count() or 1
        self.pool = ThreadPoolExecutor(self.threads)

    def load(self) -> None:
        self.arrays = [_flat(self.tree.params()), _flat(self.tree.grads())]
        self.arrays += [np.zeros(self.tree.size, np.float32) for _ in range(2)]
        self.t = 0

    def unload(self) -> None:
        self.arrays = []

    def step(self) -> None:
        self.t += 1
        scalars = (self.rate, 1 / (1 - 0.9**self.t), 1 / (1 - 0.999**self.t), EPS, DECAY)
        edges = [self.tree.size * i // self.threads for i in range(self.threads + 1)]
        parts = list(itertools.pairwise(edges))
        others = [self.pool.submit(self.run, *self.arrays, *part, *scalars) for part in parts[1:]]
        self.run(*self.arrays, *parts[0], *scalars)
        wait(others)

    def wait(self) -> None:
        """Nothing to do: every step waits."""

    def parameters(self) -> list[np.ndarray]:
        ends = np.cumsum([int(np.prod(s)) for s in self.tree.flat])
        return [x.reshape(s) for x, s in zip(np.split(self.arrays[0], ends[:-1]), self.tree.flat, strict=True)]

    def buffers(self) -> list[Any]:
        return [x.ctypes.data for x in self.arrays]

    def reused(self, before: list[Any]) -> bool:
        return self.buffers() == before

    def compilations(self) -> int:
        return 0


class DeviceCopy:
    """A copy between two buffers of the device."""

    def __init__(self, tree: Tree) -> None:
        import jax

        self.jax, self.tree = jax, tree
        self.moved = 8 * tree.size
        self.copy = jax.jit(jax.numpy.copy)

    def load(self) -> None:
        self.source, self.target = self.jax.numpy.zeros(self.tree.size, np.float32), None

    def unload(self) -> None:
        self.source = self.target = None

    def step(self) -> None:
        self.target = self.copy(self.source)

    def wait(self) -> None:
        self.jax.block_until_ready(self.target)

    def parameters(self) -> list[np.ndarray]:
        return [np.asarray(self.target)]

    def buffers(self) -> list[Any]:
        return []

    def reused(self, before: list[Any]) -> bool:
        return True

    def compilations(self) -> int:
        return 0


class Ceiling:
    def library(self) -> Any:
        return np

    def session(self, optimizer: Optimizer, tree: Tree, rate: float, *, train: bool, platform: str) -> Any:
        return AdamwPass(tree, rate) if platform == "cpu" else DeviceCopy(tree)


ADAPTERS = {CEILING: Ceiling()}


def _flat(leaves: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([x.ravel() for x in leaves])

"""Programs compiled for TPUs and GPUs that are only described, and what they move.

The compilers come as wheels: `pip install -e '.[tpu,gpu]'`. What is counted:

- moved: the bytes that the kernels of the entry computation read and write, each operand and result once a kernel.
  Exact on a GPU; on a TPU it also has copies between memories.
- received: the bytes of the results of collectives on one device; an asynchronous one counts where it is done.
- temporary: the bytes that the program allocates beside its arguments and results.
"""

import importlib.util
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# What libtpu would ask of a machine that is not there.
os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_ACCELERATOR_TYPE="v5litepod-4", TPU_WORKER_HOSTNAMES="localhost")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_MODULES = {"tpu": "libtpu", "gpu": "jax_plugins.xla_cuda13"}
_TPUS = {1: "v5e:2x2", 4: "v5e:2x2", 8: "v5e:2x4", 16: "v5e:4x4", 64: "v5e:8x8", 256: "v5e:16x16"}
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
_OPTIONS = {"gpu": {"xla_gpu_autotune_level": "0", "xla_backend_optimization_level": 3}, "tpu": None}

_WIDTHS = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2}
_SHAPE = re.compile(r"\b(pred|bf16|[fsuc][0-9]+[a-z0-9]*)\[([0-9,]*)\]")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)")
_COLLECTIVE = re.compile(
    r"\s*(?:ROOT )?%?[\w.-]+ = (.*?) "
    r"(all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|ragged-all-to-all)(-start|-done)?\("
)
_NO_KERNELS = {
    *("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "partition-id"),
    *("copy-done", "all-gather-done", "all-reduce-done", "async-done"),
}


def missing(platform: str) -> str | None:
    """Why there is no compiler for that platform, or None where there is one."""
    name = _MODULES[platform]
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    return None if found else f"no compiler for a {platform.upper()}: pip install 'optim[{platform}]'"


@lru_cache
def devices(platform: str, n: int) -> tuple[Any, ...]:
    """The first `n` devices of a TPU v5e topology, or `n` H100s of one host."""
    if platform == "tpu":
        return tuple(topologies.get_topology_desc(_TPUS[n], "tpu").devices[:n])
    shape: Any = f"1x1x{n}"
    described = topologies.get_topology_desc(shape, "cuda", target_config=_H100, topology=shape)
    return tuple(described.devices)


def mesh(platform: str, axis_type: AxisType = AxisType.Auto, **axes: int) -> Mesh:
    """A mesh of described devices: `mesh("tpu", fsdp=8, tp=2)`."""
    grid = np.array(devices(platform, math.prod(axes.values()))).reshape(*axes.values())
    return Mesh(grid, tuple(axes), axis_types=(axis_type,) * len(axes))


def struct(shape: tuple[int, ...], dtype: Any, mesh: Mesh, *spec: Any) -> jax.ShapeDtypeStruct:
    """An argument of that shape on a mesh."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*spec)))


def compile(f: Callable[..., Any], *args: Any, donate: tuple[int, ...] = (), **options: Any) -> "Program":
    """The program of `f` for the devices that the shardings of its arguments name."""
    device = min(jax.tree.leaves(args)[0].sharding.device_set, key=lambda d: d.id)
    platform = "tpu" if device.platform == "tpu" else "gpu"
    return finish(jax.jit(f, donate_argnums=donate, **options).lower(*args), platform)


def finish(lowered: Any, platform: str) -> "Program":
    """The program of what has been lowered for that platform."""
    return Program(platform, lowered.compile(compiler_options=_OPTIONS[platform]))


def nbytes(text: str) -> float:
    """The bytes of all shapes in a piece of HLO."""
    return sum(_width(d) * math.prod([int(n) for n in s.split(",") if n]) for d, s in _SHAPE.findall(text))


def _width(dtype: str) -> float:
    if dtype in _WIDTHS:
        return _WIDTHS[dtype]
    bits = re.match(r"[fsuc](\d+)", dtype)
    return int(bits[1]) / 8 if bits else 0


@dataclass(frozen=True)
class Program:
    """A compiled program and what can be read in it."""

    platform: str
    compiled: Any

    @cached_property
    def text(self) -> str:
        text: str = self.compiled.as_text()
        return text

    @property
    def shardings(self) -> Any:
        """The shardings of the results, in their tree."""
        return self.compiled.output_shardings

    @property
    def temporary(self) -> int:
        return int(self.compiled.memory_analysis().temp_size_in_bytes)

    @property
    def arguments(self) -> int:
        return int(self.compiled.memory_analysis().argument_size_in_bytes)

    @property
    def aliased(self) -> int:
        """The bytes of results that take the memory of donated arguments."""
        return int(self.compiled.memory_analysis().alias_size_in_bytes)

    @property
    def flops(self) -> float:
        return float(self.compiled.cost_analysis()["flops"])

    @cached_property
    def _kernels(self) -> list[float]:
        shapes: dict[str, float] = {}
        kernels = []
        for line in self.text[self.text.index("ENTRY") :].splitlines():
            if m := _INSTRUCTION.match(line):
                name, shape, op, rest = m.groups()
                shapes[name] = nbytes(shape)
                if op not in _NO_KERNELS:
                    operands = [a.lstrip("%") for a in re.findall(r"%?[\w.-]+", rest.split("), ")[0])]
                    kernels.append(shapes[name] + sum(shapes.get(a, 0) for a in operands))
        return kernels

    @property
    def kernels(self) -> int:
        return len(self._kernels)

    @property
    def moved(self) -> float:
        return sum(self._kernels)

    @cached_property
    def collectives(self) -> dict[str, tuple[int, float]]:
        """Kind of collective -> how many there are, and the bytes that a device receives from them."""
        found: dict[str, tuple[int, float]] = {}
        for line in self.text.splitlines():
            m = _COLLECTIVE.match(line)
            if m and m[3] != "-start":
                n, size = found.get(m[2], (0, 0.0))
                found[m[2]] = n + 1, size + nbytes(m[1])
        return found

    @property
    def received(self) -> float:
        return sum(size for _, size in self.collectives.values())

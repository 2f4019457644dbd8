"""Save a training run with Orbax, and resume it on other devices or with another optimizer.

    python examples/checkpoint.py runs/a --devices 4     # 20 steps, then a checkpoint
    python examples/checkpoint.py runs/a --devices 2     # 20 more, on two devices
    python examples/checkpoint.py runs/a --schedule      # 20 more, with gradient clipping and a decaying learning rate

The weights and the optimizer's state are sharded by rows over the devices. The state is saved by name
(`optim.state_dict`), so a different optimizer can load it: a new clip has no state to restore, and a new schedule
continues at the step of the run. It needs the extra `orbax`.
"""

import argparse
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

import optim


class Result(NamedTuple):
    params: Any
    state: Any
    step: int
    losses: list[float]
    digest: str
    """A checksum of parameters and state."""


def make_optimizer(schedule: bool) -> optim.GradientTransformation:
    if not schedule:
        return optim.chain(optim.adamw(0.01), optim.average_params(0.9))
    rate = optim.cosine_decay_schedule(0.01, 200)
    return optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(rate), optim.average_params(0.9))


def initial(mesh: Mesh) -> Any:
    rng = np.random.default_rng(0)
    by_rows, replicated = NamedSharding(mesh, PartitionSpec("d")), NamedSharding(mesh, PartitionSpec())
    kernels = [(rng.normal(size=s) * 0.1).astype(np.float32) for s in ((64, 32), (32, 10))]
    return {
        name: {
            "kernel": jax.device_put(k, by_rows),
            "bias": jax.device_put(np.zeros(k.shape[1], np.float32), replicated),
        }
        for name, k in zip(("hidden", "output"), kernels, strict=True)
    }


def loss_fn(params: Any, images: Any, labels: Any) -> jax.Array:
    hidden = jnp.tanh(images @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    log_p = jax.nn.log_softmax(hidden @ params["output"]["kernel"] + params["output"]["bias"])
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def batch(n: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The batch of step `n`; it depends on nothing else."""
    images, labels = load_digits(return_X_y=True)
    rows = np.random.default_rng(n).integers(len(labels), size=size)
    return images[rows].astype(np.float32) / 16, labels[rows].astype(np.int32)


def save(path: Path, tx: Any, params: Any, state: Any, step: int) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        saved = {"params": params, "state": optim.state_dict(tx, state), "step": np.asarray(step)}
        checkpointer.save(path, saved, force=True)


def restore(path: Path, tx: Any, params: Any, state: Any) -> tuple[Any, Any, int]:
    """The saved run with the shardings of `params` and `state`; other arrays are replicated."""
    mesh = params["hidden"]["kernel"].sharding.mesh
    replicated = NamedSharding(mesh, PartitionSpec())
    fresh = {"params": params, "state": optim.state_dict(tx, state), "step": np.asarray(0)}
    with ocp.StandardCheckpointer() as checkpointer:
        stored = checkpointer.metadata(path).item_metadata

        def place(x: Any, like: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(like, "sharding", replicated))

        target = {
            "params": jax.tree.map(place, stored["params"], fresh["params"]),
            "state": {name: place(x, fresh["state"].get(name)) for name, x in stored["state"].items()},
            "step": place(stored["step"], None),
        }
        saved = checkpointer.restore(path, target)
    return saved["params"], optim.load_state_dict(tx, state, saved["state"]), int(saved["step"])


def main(argv: Sequence[str] | None = None) -> Result:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, help="path of the checkpoint; without it nothing is saved")
    parser.add_argument("--devices", type=int, default=1, help="number of devices, a power of 2 (default %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="number of steps (default %(default)s)")
    parser.add_argument("--schedule", action="store_true", help="use gradient clipping and a decaying learning rate")
    args = parser.parse_args(argv)
    # This must run before JAX initialises its devices. A number set in the environment takes precedence.
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", args.devices)
    devices = jax.devices()[: args.devices]
    mesh = jax.make_mesh((args.devices,), ("d",), axis_types=(AxisType.Auto,), devices=devices)

    tx, params, first = make_optimizer(args.schedule), initial(mesh), 0
    state = jax.jit(tx.init)(params)
    if args.path is not None and args.path.exists():
        params, state, first = restore(args.path.resolve(), tx, params, state)
        print(f"resuming at step {first}")
    step, losses = optim.make_step(loss_fn, tx), []
    for n in range(first, first + args.steps):
        params, state, loss = step(params, state, *batch(n))
        losses.append(float(loss))
    if args.path is not None:
        save(args.path.resolve(), tx, params, state, first + args.steps)
    bits = b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves((params, state)))
    result = Result(params, state, first + args.steps, losses, f"{zlib.crc32(bits):08x}")
    print(f"{args.devices} devices: loss {losses[0]:.6f}, after {result.step} steps {losses[-1]:.6f}, {result.digest}")
    print(", ".join(f"{name} {float(x):.4g}" for name, x in optim.inspect(tx, state).items()))
    return result


if __name__ == "__main__":
    main()

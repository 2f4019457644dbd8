"""Train on one device, then data-parallel with `jax.pmap` and with a sharded batch, and compare the parameters.

    python examples/data_parallel.py                  # all accelerators, or 8 virtual CPU devices
    python examples/data_parallel.py --devices 2      # 2 virtual CPU devices, without accelerators

An optimizer needs no changes: `update` is a pure function, and devices with the same gradients and the same state take
the same step. All three runs use the same batches, so their parameters only differ by the order of summation. The
script fails if the difference is larger.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

import optim

Params = dict[str, dict[str, jax.Array]]
Batch = tuple[Any, Any]

TX = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(1e-3))


def make_batches(steps: int, size: int, seed: int) -> list[Batch]:
    """Random batches of scikit-learn's digits, with pixels scaled to [0, 1]."""
    images, labels = load_digits(return_X_y=True)
    images, labels = images.astype(np.float32) / 16, labels.astype(np.int32)
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(labels), size=(steps, size))
    return [(images[rows], labels[rows]) for rows in picks]


def init_network(key: jax.Array, hidden: int = 32) -> Params:
    w1, w2 = jax.random.split(key)
    return {
        "hidden": {"w": jax.random.normal(w1, (64, hidden)) * 64**-0.5, "b": jnp.zeros(hidden)},
        "output": {"w": jax.random.normal(w2, (hidden, 10)) * hidden**-0.5, "b": jnp.zeros(10)},
    }


def loss(params: Params, batch: Batch) -> jax.Array:
    """Mean cross-entropy over the batch, or over this device's part of it.

    The network is smooth: at the kink of a ReLU, rounding can change a whole gradient.
    """
    images, labels = batch
    hidden = jnp.tanh(images @ params["hidden"]["w"] + params["hidden"]["b"])
    log_p = jax.nn.log_softmax(hidden @ params["output"]["w"] + params["output"]["b"])
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def apply(params: Params, state: optim.OptState, grads: Params) -> tuple[Params, optim.OptState]:
    updates, state = TX.update(grads, state, params)
    return optim.apply_updates(params, updates), state


def step(params: Params, state: optim.OptState, batch: Batch) -> tuple[Params, optim.OptState]:
    """One step on one device; with a sharded batch, the same step on all of them."""
    return apply(params, state, jax.grad(loss)(params, batch))


def wait_on_cpu(results: Any) -> Any:
    """Wait for `results` on virtual CPU devices.

    These devices share their threads: queued steps could block the threads that an earlier all-reduce needs.
    """
    return jax.block_until_ready(results) if jax.default_backend() == "cpu" else results


# Three ways to run it


def on_one_device(params: Params, batches: list[Batch]) -> Params:
    train_step = jax.jit(step, donate_argnums=(0, 1))
    params, state = jax.tree.map(jnp.copy, params), TX.init(params)
    for batch in batches:
        params, state = train_step(params, state, batch)
    return params


def with_pmap(params: Params, batches: list[Batch]) -> Params:
    """Parameters and state are replicated, the batch is split; gradients are averaged before the update.

    Clipping needs the norm of the whole batch's gradient, so the average comes first.
    """
    n = jax.device_count()

    def local_step(params: Params, state: optim.OptState, batch: Batch) -> tuple[Params, optim.OptState]:
        return apply(params, state, jax.lax.pmean(jax.grad(loss)(params, batch), axis_name="devices"))

    train_step = jax.pmap(local_step, axis_name="devices", donate_argnums=(0, 1))
    params = jax.tree.map(lambda x: jnp.stack([x] * n), params)
    params, state = jax.pmap(lambda p: (p, TX.init(p)))(params)
    for batch in batches:
        parts = jax.tree.map(lambda x: x.reshape(n, -1, *x.shape[1:]), batch)
        params, state = wait_on_cpu(train_step(params, state, parts))
    for copies in jax.tree.leaves(jax.device_get(params)):
        assert (copies == copies[0]).all(), "the copies on the devices differ"
    return jax.tree.map(lambda x: x[0], params)


def with_sharding(params: Params, batches: list[Batch]) -> Params:
    """The unchanged step of one device; for a sharded batch the compiler inserts the sums over devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))
    replicated, by_rows = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
    train_step = jax.jit(step, donate_argnums=(0, 1), out_shardings=replicated)
    params = jax.device_put(params, replicated, may_alias=False)  # do not donate the caller's arrays
    state = jax.jit(TX.init, out_shardings=replicated)(params)
    for batch in batches:
        params, state = wait_on_cpu(train_step(params, state, jax.device_put(batch, by_rows)))
    return params


def difference(params: Params, reference: Params) -> float:
    """The largest difference in any array, relative to the array's largest absolute value."""

    def of_leaf(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))

    return max(jax.tree.leaves(jax.tree.map(of_leaf, jax.device_get(params), jax.device_get(reference))))


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run all three and return the differences; exit with 1 if one exceeds the tolerance."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--devices", type=int, default=8, help="number of virtual CPU devices (default %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="steps of training (default %(default)s)")
    parser.add_argument("--rows", type=int, default=16, help="rows per device and step (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the network and the batches (default %(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest difference (default %(default)s)")
    args = parser.parse_args(argv)
    if min(args.devices, args.steps, args.rows) < 1:
        parser.error("--devices, --steps and --rows must be at least 1")

    # This must run before JAX initialises its devices. A number set in the environment takes precedence. The number of
    # accelerators does not change.
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", args.devices)
    n, size = jax.device_count(), args.rows * jax.device_count()
    batches = make_batches(args.steps, size, args.seed)
    params = init_network(jax.random.key(args.seed))

    print(f"{args.steps} steps of {size} rows with {TX}")
    single = on_one_device(params, batches)
    print(f"one device: loss {loss(params, batches[-1]):.4f} before, {loss(single, batches[-1]):.4f} after")
    differences = {}
    for name, run in (("pmap", with_pmap), ("sharded jit", with_sharding)):
        differences[name] = difference(run(params, batches), single)
        print(f"{name} on {n} {jax.default_backend()} devices: largest relative difference {differences[name]:.1e}")
    if not max(differences.values()) <= args.tolerance:
        sys.exit(f"the difference exceeds the tolerance of {args.tolerance:.0e}")
    return differences


if __name__ == "__main__":
    main()

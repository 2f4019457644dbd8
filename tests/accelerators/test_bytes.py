"""Bytes that steps move, keep beside their arguments, and exchange, a parameter: this library beside Optax."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType

import optim

from .programs import compile, finish, mesh, struct

SHAPE, COUNT = (1024, 1024), 4
SIZE = COUNT * SHAPE[0] * SHAPE[1]

OPTIMIZERS = {
    "adamw": lambda lib: lib.adamw(1e-3),
    "clip + adamw": lambda lib: lib.chain(lib.clip_by_global_norm(1.0), lib.adamw(1e-3)),
    "lamb": lambda lib: lib.lamb(1e-3),
    "lion": lambda lib: lib.lion(1e-3),
    "adafactor": lambda lib: lib.adafactor(1e-3),
}
MOVED = {"adamw": 28.0, "clip + adamw": 32.0, "lamb": 40.0, "lion": 20.0, "adafactor": 28.0}
"""Bytes a float32 parameter that a GPU moves: AdamW reads and writes parameter and moments, and reads the gradient."""


def step(lib, tx, on):
    params = {f"w{i}": struct(SHAPE, jnp.float32, on) for i in range(COUNT)}
    state = jax.tree.map(lambda x: struct(x.shape, x.dtype, on), jax.eval_shape(tx.init, params))

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return lib.apply_updates(params, updates), state

    with jax.numpy_dtype_promotion("standard"):  # Optax's needs it
        return compile(step, params, state, params, donate=(0, 1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_moves_no_more_than_its_formula_needs(name, platform):
    ours, theirs = (step(lib, OPTIMIZERS[name](lib), mesh(platform, d=1)) for lib in (optim, optax))
    if platform == "gpu":
        # Beside the parameters there are the partial sums of norms, a row of a matrix at a time.
        rows = 0.12
        assert ours.moved / SIZE <= MOVED[name] + rows
        assert ours.moved <= theirs.moved + rows * SIZE
        if name != "lamb":  # whose update is a matrix that its own norm scales
            assert ours.temporary / SIZE < 0.01
    elif name in ("adamw", "lion"):
        assert ours.temporary == 0


def loss(params, x):
    for w in params.values():
        x = jnp.tanh(x @ w)
    return jnp.mean(x.astype(jnp.float32) ** 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_a_sharded_optimizer_scatters_gradients_and_gathers_parameters(platform, dtype):
    """ZeRO-1: clip + AdamW, parameters whole on every device, the batch divided among them."""
    n, width = {"gpu": 8, "tpu": 16}[platform], jnp.dtype(dtype).itemsize
    axis_type = AxisType.Auto if dtype == jnp.float32 else AxisType.Explicit
    on = mesh(platform, axis_type, data=n)
    params = {f"w{i}": struct(SHAPE, dtype, on) for i in range(COUNT)}
    tx = optim.sharded(optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3)), "data")
    with jax.set_mesh(on):
        homes = compile(tx.init, params).shardings
        made = jax.eval_shape(tx.init, params)
        state = jax.tree.map(lambda x, home: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=home), made, homes)
        lowered = optim.make_step(loss, tx).lower(params, state, struct((n * 8, SHAPE[0]), dtype, on, "data"))
        program = finish(lowered, platform)
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(made)) / SIZE
    assert program.arguments / SIZE < width + held / n + 0.02
    received = {kind: size / SIZE for kind, (_, size) in program.collectives.items()}
    assert received.pop("all-gather") == pytest.approx(width, abs=1e-3)
    if platform == "gpu":
        assert received.pop("reduce-scatter") == pytest.approx(width / n, abs=1e-3)
        assert received.pop("all-reduce", 0) < 1e-3
        assert program.temporary / SIZE < (width + width / n) * 1.01
    else:
        assert received.pop("all-reduce") == pytest.approx(width, abs=1e-3)
    assert received == {}

"""Micro-batches: results, memory, custom accumulators, gradients per example."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.microbatching import AccumulationType, Accumulator, micro_grad, micro_vmap, microbatch, reshape_batch_axis

SUM, MEAN = AccumulationType.SUM, AccumulationType.MEAN
LARGEST = Accumulator(
    lambda x: jnp.full(x.shape, -jnp.inf, x.dtype),
    lambda carry, x, i: jnp.maximum(carry, x),
    lambda carry: 2 * carry,
    lambda xs: xs.max(axis=0),
)
X = jnp.asarray([3.0, 1.0, 4.0, 1.5, 9.0, 2.0])


def test_every_kth_example():
    x = jnp.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(reshape_batch_axis(x, 2, 1)[0], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(reshape_batch_axis({"a": x}, 3, -1)["a"][1], [[6, 8, 10], [7, 9, 11]])
    seen = microbatch(lambda x: x[None], 0, 2, AccumulationType.CONCAT)(X)
    np.testing.assert_array_equal(seen, reshape_batch_axis(X, 2))


def test_as_optax():
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    if not hasattr(optax, "microbatching"):
        pytest.skip("this Optax has no microbatching")
    batch = {"x": jnp.linspace(-1, 1, 24).reshape(8, 3), "y": jnp.linspace(0, 1, 8)}

    def loss(w, batch):
        return jnp.mean((jnp.sum(batch["x"] * w, axis=-1) - batch["y"]) ** 2), batch["y"]

    def all_of_them(of):
        kinds = of.AccumulationType
        arguments = {"has_aux": True, "microbatch_size": 2, "metrics_fn": jnp.max, "num_real_microbatches": 3}
        grads = of.micro_grad(loss, accumulator=(kinds.SUM, kinds.RUNNING_MEAN), transform_fn=twice, **arguments)
        concat, total = kinds.CONCAT, kinds.SUM
        parts = of.microbatch(lambda x, y: (x + y, jnp.sum(x)), (0, 1), 2, (concat, total), num_real_microbatches=2)
        return grads(jnp.ones(3), batch), parts(X, 2 * X), of.micro_vmap(jnp.square, microbatch_size=3)(X)

    def twice(grads):
        return grads, grads**2

    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(lambda: all_of_them(optax.microbatching))()
    ours = jax.jit(lambda: all_of_them(optim.microbatching))()
    assert type(ours[0][1])._fields == type(theirs[0][1])._fields
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), jax.tree.leaves(ours), jax.tree.leaves(theirs)
    )


def test_an_accumulator_of_the_users():
    assert float(microbatch(jnp.max, 0, 2, LARGEST)(X)) == 18
    kinds = (SUM, {"square": LARGEST})
    both = micro_vmap(lambda x: (x, {"square": x**2}), microbatch_size=3, accumulator=kinds)
    total, largest = jax.jit(both)(X)
    assert float(total) == X.sum()
    assert float(largest["square"]) == 162


def test_means_count_what_was_evaluated():
    def mean(n, kind=MEAN):
        return float(micro_vmap(jnp.square, microbatch_size=2, accumulator=kind, num_real_microbatches=n)(X))

    rows = np.asarray(reshape_batch_axis(X, 2)) ** 2
    np.testing.assert_allclose([mean(2), mean(2, AccumulationType.RUNNING_MEAN)], rows[:2].mean(), rtol=1e-6)
    assert mean(0) == 0
    np.testing.assert_allclose([mean(None), mean(7)], rows.mean(), rtol=1e-6)


def test_half_precision_sums_do_not_stop():
    """4096 ones in float16: a sum in float16 stops at 2048."""
    ones = jnp.ones(4096, jnp.float16)
    parts = [microbatch(jnp.sum, 0, 1, kind)(ones) for kind in (SUM, MEAN, AccumulationType.RUNNING_MEAN)]
    assert [float(x) for x in parts] == [4096, 1, 1]
    assert {str(x.dtype) for x in parts} == {"float16"}


def test_arguments_without_a_batch_axis_and_keywords():
    f = micro_vmap(lambda x, scale, *, y: x * scale + y, (1, None), microbatch_size=2)
    x = jnp.arange(8.0).reshape(2, 4)
    np.testing.assert_allclose(f(x, 2.0, y=jnp.arange(4.0)), 2 * x.T + np.arange(4.0)[:, None])
    np.testing.assert_allclose(micro_vmap(jnp.add)(X, X), 2 * X)  # one axis for all
    chunked = micro_vmap(jnp.square, vmap_fn=lambda f, i, o: jax.vmap(f, i, o, axis_name="batch"), microbatch_size=2)
    np.testing.assert_allclose(chunked(X), X**2)


def test_clipped_gradients_per_example():
    x = jnp.linspace(-2, 2, 12).reshape(4, 3)
    w = jnp.asarray([0.5, -1.0, 2.0])

    def loss(w, x):
        assert x.shape == (3,)
        return (x @ w) ** 2

    each = np.asarray(2 * (x @ w)[:, None] * x)
    norms = np.linalg.norm(each, axis=1)
    clip = functools.partial(optim.projections.projection_l2_ball, scale=1.0)
    clipped = micro_grad(loss, transform_fn=clip, metrics_fn=jnp.linalg.norm, keep_batch_dim=False, microbatch_size=2)
    grads, (values, metrics, aux) = jax.jit(clipped)(w, x)
    np.testing.assert_allclose(grads, (each / np.maximum(norms, 1)[:, None]).sum(0), rtol=1e-5)
    np.testing.assert_allclose(values, (x @ w) ** 2, rtol=1e-5)
    np.testing.assert_allclose(metrics, norms, rtol=1e-5)
    assert aux is None
    assert optim.experimental.microbatching is optim.microbatching


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_a_sharded_batch_needs_no_communication(kind):
    """Each of two devices evaluates its part of every micro-batch."""
    types = (getattr(jax.sharding.AxisType, kind),)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=types)
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    batch = jax.device_put(jnp.arange(24.0).reshape(8, 3), rows)
    f = jax.jit(microbatch(jnp.tanh, 0, 4, AccumulationType.CONCAT))
    program = f.lower(batch).compile()
    words = ("all-gather", "all-to-all", "all-reduce", "collective-permute")
    assert not any(word in program.as_text() for word in words)
    np.testing.assert_allclose(program(batch), np.tanh(batch), rtol=1e-6)
    assert program(batch).sharding.is_equivalent_to(rows, 2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: micro_vmap(jnp.sum, out_axes=1), "micro_vmap: out_axes must be 0, got 1"),
        (lambda: micro_vmap(jnp.sum, {"a": 0}), "micro_vmap: in_axes must be an int or a tuple of ints and None"),
        (lambda: micro_vmap(jnp.add, (0,))(X, X), "micro_vmap: in_axes must have one axis for each of 2 arguments"),
        (lambda: micro_vmap(jnp.sum, microbatch_size=4)(X), "micro_vmap: microbatch_size 4 must divide the batch of 6"),
        (lambda: micro_grad(jnp.sum, microbatch_size=4)(1.0, X), "micro_grad: microbatch_size 4 must divide"),
        (lambda: micro_grad(jnp.sum, accumulator="sum"), "micro_grad: accumulator must be an AccumulationType"),
        (lambda: microbatch(jnp.sum, 0, 2, AccumulationType.CONCAT)(X), "CONCAT needs results with a first axis"),
        (lambda: microbatch(jnp.add, (0, 1), 2, in_axes=(0,)), "in_axes must have one axis for each of argnums"),
        (lambda: microbatch(jnp.sum, 0, 2, in_axes=1)(X), "a batched argument has no axis 1"),
        (lambda: reshape_batch_axis(X, 4), "reshape_batch_axis: microbatch_size 4 must divide the batch of 6"),
    ],
)
def test_mistakes(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()

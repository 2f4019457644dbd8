"""Measures on the way, private gradients, parts of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close, grads, tree

PER_EXAMPLE = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.asarray([1.0, -2.0, 0.0])}
PARAMS = {"a": jnp.ones(2), "b": jnp.ones(())}


def test_monitor_and_snapshot_are_told_by_name():
    measures = {"size": optim.global_norm, "smooth": optim.measure_with_ema(optim.global_norm, 0.5)}
    tx = optim.chain(optim.monitor(measures), optim.scale(0.5), optim.snapshot("after", optim.global_norm))
    params, norms = tree(), []
    state, step = tx.init(params), jax.jit(tx.update)
    assert float(optim.inspect(tx, state)["size"]) == 0
    for n in range(3):
        u, state = step(grads(params, n), state)
        norms.append(float(optim.global_norm(grads(params, n))))
        close(u, jax.tree.map(lambda g: 0.5 * g, grads(params, n)))
    told = optim.inspect(tx, state)
    assert float(told["size"]) == pytest.approx(norms[-1], rel=1e-6)
    assert float(told["after"]) == pytest.approx(norms[-1] / 2, rel=1e-6)
    mean = sum(0.5 * 0.5 ** (2 - i) * n for i, n in enumerate(norms)) / (1 - 0.5**3)
    assert float(told["smooth"]) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("bound", [0.0, 1.0, 3.0, np.inf])
def test_per_example_clips(bound):
    flat = np.concatenate([np.asarray(PER_EXAMPLE["a"]), np.asarray(PER_EXAMPLE["b"])[:, None]], 1)
    norms = np.linalg.norm(flat, axis=1)
    clipped = flat * np.where(norms > bound, bound / np.where(norms > 0, norms, 1), 1)[:, None]
    sums, count = optim.per_example_global_norm_clip(PER_EXAMPLE, bound)
    np.testing.assert_allclose(np.append(sums["a"], sums["b"]), clipped.sum(0), rtol=1e-6, atol=1e-7)
    assert int(count) == int((norms > bound).sum())


@pytest.mark.parametrize("uniform", [True, False])
def test_per_example_layer_clip_is_optax(uniform, standard_promotion):
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    for bound in (0.5, 2.0):
        ours = optim.per_example_layer_norm_clip(PER_EXAMPLE, bound, uniform)
        other = optax.per_example_layer_norm_clip(PER_EXAMPLE, bound, uniform)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, other)


def test_private_aggregate_is_optax(standard_promotion):
    contrib = pytest.importorskip("optax.contrib", reason="Optax is a test dependency")
    args = {"l2_norm_clip": 1.0, "noise_multiplier": 0.5}
    ours, other = (lib.differentially_private_aggregate(**args, key=3) for lib in (optim, contrib))
    state, state_other = ours.init(PARAMS), other.init(PARAMS)
    for _ in range(2):
        u, state = jax.jit(ours.update)(PER_EXAMPLE, state, PARAMS)
        v, state_other = other.update(PER_EXAMPLE, state_other)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), u, v)
    assert jax.tree.structure(u) == jax.tree.structure(PARAMS)


def test_dpsgd_descends_without_noise_and_keeps_its_config():
    tx = optim.dpsgd(0.5, 1e6, 0.0, 1, momentum=0.0)
    u, _ = tx.update(PER_EXAMPLE, tx.init(PARAMS), PARAMS)
    close(u, {"a": -0.5 * PER_EXAMPLE["a"].mean(0), "b": -0.5 * PER_EXAMPLE["b"].mean()})
    assert optim.from_config(optim.to_config(tx)) == tx
    assert repr(tx) == "dpsgd(0.5, 1000000.0, 0.0, 1, momentum=0.0)"


def test_private_gradients_of_the_wrong_shape():
    tx = optim.differentially_private_aggregate(1.0, 0.5)
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match=r"same number of examples .* grads\['a'\] has 2, grads\['b'\] has 3"):
        tx.update({**PER_EXAMPLE, "a": jnp.ones((2, 2))}, state, PARAMS)
    with pytest.raises(ValueError, match=r"updates\['a'\] has shape \(3, 3\), expected \(examples, \*\(2,\)\)"):
        tx.update({**PER_EXAMPLE, "a": jnp.ones((3, 3))}, state, PARAMS)
    u, _ = tx.update({**PER_EXAMPLE, "b": None}, state, PARAMS)
    assert u["b"] is None


KINDS = [optim.AccumulationType.SUM, optim.AccumulationType.MEAN, optim.AccumulationType.RUNNING_MEAN]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_microbatches_add_up(kind):
    def loss(w, batch, scale):
        return scale * jnp.sum((batch["x"] @ w - batch["y"]) ** 2)

    batch = {"x": jnp.arange(24.0).reshape(8, 3) / 10, "y": jnp.linspace(-1, 1, 8)}
    w = jnp.asarray([0.5, -1.0, 0.25])
    whole = jax.value_and_grad(loss)(w, batch, 2.0)
    parts = jax.jit(optim.microbatch(jax.value_and_grad(loss), 1, 2, kind))(w, batch, 2.0)
    expected = whole if kind is optim.AccumulationType.SUM else jax.tree.map(lambda x: x / 4, whole)
    close(parts, expected, rtol=1e-5)


def test_microbatches_side_by_side_along_another_axis_by_name_and_cut_short():
    def f(x, *, y):
        return x + 1, jnp.sum(y), {"n": None}

    x, y = jnp.arange(6), jnp.arange(12.0).reshape(2, 6)
    concat, total = optim.AccumulationType.CONCAT, optim.AccumulationType.SUM
    parts = optim.microbatch(f, 0, 2, (concat, total, total), argnames="y", in_axes=(0, 1))
    a, b, c = parts(x, y=y)
    np.testing.assert_array_equal(a, x + 1)
    assert float(b) == 66
    assert c == {"n": None}
    short = optim.microbatch(f, 0, 2, (concat, total, total), argnames="y", in_axes=(0, 1), num_real_microbatches=2)
    a, b, _ = short(x, y=y)
    # Micro-batch i of 3 has the examples i and i + 3.
    np.testing.assert_array_equal(a, [1, 2, 0, 4, 5, 0])
    assert float(b) == float(y[:, [0, 1, 3, 4]].sum())
    assert optim.microbatch(f, 0, None) is f


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: optim.microbatch(jnp.sum, 0, 4)(jnp.ones(6)),
            "microbatch: microbatch_size 4 must divide the batch of 6",
        ),
        (lambda: optim.microbatch(jnp.sum, 0, 0), "microbatch_size must be an integer >= 1, got 0"),
        (
            lambda: optim.microbatch(jnp.add, (0, 1), 2)(jnp.ones(4), jnp.ones(6)),
            r"the batched arguments have the sizes \[4, 6\], expected one size",
        ),
        (
            lambda: optim.microbatch(jnp.sum, 0, 2, "sum"),
            "accumulator must be an AccumulationType, an Accumulator or a tree of them, got 'sum'",
        ),
    ],
)
def test_microbatch_errors(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()

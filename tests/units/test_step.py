"""Whole steps: what they compute, what they donate, how often they are traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import optim

from ..every.rows import close, grads, tree


def loss_fn(params, x):
    return jnp.sum((x @ params["w"] + params["b"]) ** 2) * params["deep"]["s"] ** 2


X = jnp.asarray(np.linspace(-1, 1, 12).reshape(4, 3), jnp.float32)


def by_hand(tx, params, n, loss_fn=loss_fn, **extra):
    state, losses = tx.init(params), []
    for _ in range(n):
        loss, g = jax.value_and_grad(loss_fn)(params, X)
        u, state = tx.update(g, state, params, **extra)
        params = optim.apply_updates(params, u)
        losses.append(loss)
    return params, state, losses


def test_make_update_is_update_and_apply():
    tx = optim.chain(optim.clip_by_global_norm(0.5), optim.adamw(0.1))
    apply, params, expected = optim.make_update(tx), tree(), tree()
    state, other = tx.init(params), tx.init(expected)
    for n in range(3):
        u, other = tx.update(grads(expected, n), other, expected)
        expected = optim.apply_updates(expected, u)
        params, state = apply(params, state, grads(expected, n))
    close(params, expected)
    close(state, other)


def test_make_step_is_the_loop_by_hand():
    tx = optim.adam(0.1)
    step, params = optim.make_step(loss_fn, tx), tree()
    expected, _, losses = by_hand(tx, tree(), 3)
    state = tx.init(params)
    for loss in losses:
        params, state, now = step(params, state, X)
        np.testing.assert_allclose(now, loss, rtol=1e-5)
    close(params, expected, rtol=1e-5)


@pytest.mark.parametrize("donate", [True, False])
def test_buffers_are_donated(donate):
    tx, params = optim.adam(0.1), tree()
    state, g = tx.init(params), grads(params)
    optim.make_update(tx, donate=donate)(params, state, g)
    assert [x.is_deleted() for x in jax.tree.leaves((params, state[0].mu, g))] == [donate] * 6 + [False] * 3
    params = tree()
    state = tx.init(params)
    optim.make_step(loss_fn, tx, donate=donate)(params, state, X)
    assert all(x.is_deleted() is donate for x in jax.tree.leaves((params, state[0].mu)))


def test_one_trace():
    traces = []

    def schedule(count):
        traces.append(count)
        return 0.1 / (1.0 + count.astype(float))

    tx = optim.adam(schedule)
    apply, step = optim.make_update(tx), optim.make_step(loss_fn, tx)
    params, state = tree(), tx.init(tree())
    for n in range(3):
        params, state = apply(params, state, grads(params, n), value=float(n))
    assert len(traces) == 1
    for _ in range(3):
        params, state, _ = step(params, state, X)
    assert len(traces) == 2


def test_aux_complex_and_integer_parameters():
    def loss(params, target):
        z = params["z"] * params["n"]
        return jnp.sum(jnp.abs(z - target) ** 2), {"z": z}

    params = {"z": jnp.asarray([1 + 1j, 2 - 1j], jnp.complex64), "n": jnp.asarray(2)}
    target = jnp.asarray([1j, 1 + 0j], jnp.complex64)
    tx = optim.sgd(0.05)
    with jax.numpy_dtype_promotion("standard"):
        step, state = optim.make_step(loss, tx, has_aux=True, donate=False), tx.init(params)
        losses = []
        for _ in range(60):
            params, state, (value, aux) = step(params, state, target)
            losses.append(float(value))
    assert losses[-1] < 1e-6 < losses[0]  # descent, since the gradient is conjugated
    np.testing.assert_allclose(aux["z"], target, atol=1e-3)
    assert params["n"] == 2


def test_extra_arguments_reach_the_update():
    seen = {}

    def update(updates, state, params=None, *, value, grad, value_fn):
        seen.update(value=value, grad=grad, again=value_fn(params))
        return updates, state

    tx = optim.chain(optim.GradientTransformation(lambda p: (), update), optim.scale(-0.1))
    step = jax.disable_jit()(optim.make_step(loss_fn, tx, donate=False))
    params = tree()
    _, _, loss = step(params, tx.init(params), X)
    np.testing.assert_allclose(seen["value"], loss)
    np.testing.assert_allclose(seen["again"], loss, rtol=1e-6)
    close(seen["grad"], jax.grad(loss_fn)(params, X))

    def with_words(updates, state, params=None, *, mode):
        return jax.tree.map(lambda g: g if mode == "keep" else 0 * g, updates), state

    apply = optim.make_update(optim.GradientTransformation(lambda p: (), with_words), donate=False)
    close(apply(params, (), grads(params), mode="drop")[0], params)


def test_gradients_are_averaged_over_an_axis():
    tx, params = optim.adam(0.1), tree()
    devices = jax.devices()[:4]
    step = optim.make_step(loss_fn, tx, axis_name="batch", donate=False)
    mesh = Mesh(np.array(devices), ("batch",))
    spread = jax.shard_map(
        step, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec("batch")), out_specs=PartitionSpec()
    )
    x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("batch")))
    new, _, loss = jax.jit(spread)(params, tx.init(params), x)
    whole, _, losses = by_hand(tx, params, 1, lambda p, x: loss_fn(p, x) / 4)
    np.testing.assert_allclose(loss, losses[0], rtol=1e-5)
    close(new, whole, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: optim.make_update(optim.adam), r"make_update: tx must be .* did you mean adam\(...\)\?"),
        (lambda: optim.make_step(1, optim.adam(0.1)), "make_step: loss_fn must be a function, got 1"),
        (lambda: optim.make_step(loss_fn, 3), "make_step: tx must be a transformation"),
    ],
)
def test_errors(call, sentence):
    with pytest.raises(TypeError, match=sentence):
        call()

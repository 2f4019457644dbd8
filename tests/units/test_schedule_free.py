"""Schedule-free learning: where to evaluate, what the weights are, what the base may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close, finite, grads, run, tree

optax = pytest.importorskip("optax", reason="Optax is a test dependency")

RATE = optim.linear_schedule(0.0, 0.5, 3)
SF = optim.schedule_free


def rate(count):
    """As `RATE`, in JAX alone."""
    return jnp.minimum(jnp.asarray(count, jnp.float32) / 3, 1) * 0.5


def sequences(steps, learning_rate, b1, power):
    """x, y and z on one array by the paper's lines, from the gradients of the sweep."""
    x = y = z = np.asarray(tree()["w"], np.float64)
    total = largest = 0.0
    for n in range(steps):
        eta = float(learning_rate(n))
        largest = max(largest, eta)
        total += largest**power
        z = z - eta * np.asarray(grads(tree(), n)["w"], np.float64)
        share = largest**power / total if total else 0.0
        x = (1 - share) * x + share * z
        y = (1 - b1) * z + b1 * x
    return x, y, z


@pytest.mark.parametrize(("b1", "power"), [(0.9, 2.0), (0.4, 0.5), (1.0, 0.0)])
def test_average_is_the_papers(b1, power):
    tx = SF(optim.sgd(RATE), RATE, b1, power)
    params, state, _ = run(tx, tree(), 6)
    x, y, z = sequences(6, rate, b1, power)
    for got, expected in (
        (params, y),
        (state.z, z),
        (optim.schedule_free_eval_params(state, params), x),
        (optim.eval_params(tx, state, params), x),
    ):
        np.testing.assert_allclose(got["w"], expected, rtol=1e-5, atol=1e-6)
    assert int(state.step_count) == 7


def test_optax_with_its_schedule_a_step_late(standard_promotion):
    """Optax weighs update n with the learning rate of n + 1: given the schedule one late it does as we do."""
    ours = SF(optim.sgd(RATE), RATE, 0.8)
    other = optax.contrib.schedule_free(optax.sgd(rate), lambda count: rate(count - 1), 0.8)
    params = params_other = tree()
    state, state_other = ours.init(params), other.init(params)
    for n in range(5):
        u, state = ours.update(grads(params, n), state, params)
        v, state_other = other.update(grads(params, n), state_other, params_other)
        params, params_other = optim.apply_updates(params, u), optax.apply_updates(params_other, v)
        close(params, params_other, rtol=1e-5, atol=1e-6)
    x = optax.contrib.schedule_free_eval_params(state_other, params_other)
    close(optim.schedule_free_eval_params(state, params), x, rtol=1e-5, atol=1e-6)
    plain = optax.contrib.schedule_free(optax.sgd(rate), rate, 0.8)
    late = plain.init(params)
    for n in range(2):
        _, late = plain.update(grads(params, n), late, params)
    assert float(late.weight_sum) > float(run(ours, tree(), 2)[1].weight_sum)


def test_no_warmup():
    plain = run(optim.schedule_free_sgd(0.1), tree(), 3)
    close(run(optim.schedule_free_sgd(0.1, warmup_steps=0), tree(), 3), plain)
    assert not np.allclose(plain[0]["w"], tree()["w"])


def test_eval_params_inside_others():
    inner = optim.schedule_free_sgd(0.1, b1=0.5)
    params, state, _ = run(inner, tree(), 3)
    expected = optim.schedule_free_eval_params(state, params)
    assert not np.allclose(expected["w"], params["w"])
    for tx in (
        optim.chain(optim.identity(), inner),
        optim.inject_hyperparams(optim.schedule_free_sgd)(0.1, b1=0.5),
        optim.masked(inner, True),
    ):
        params, state, _ = run(tx, tree(), 3)
        close(jax.jit(optim.schedule_free_eval_params)(state, params), expected, rtol=1e-5)
        close(optim.eval_params(tx, state, params), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="needs one ScheduleFreeState in its state, got 0"):
        optim.schedule_free_eval_params(optim.adam(0.1).init(tree()), tree())
    with pytest.raises(ValueError, match="needs one ScheduleFreeState in its state, got 2"):
        optim.schedule_free_eval_params((inner.init(tree()),) * 2, tree())


def test_eval_params_of_a_part():
    """Where there is no z the parameters stay; elsewhere they keep their dtype."""
    params = {"w": jnp.ones(2, jnp.bfloat16), "none": None, "n": jnp.arange(2), "c": jnp.ones(2, jnp.complex64)}
    g = {"w": jnp.ones(2, jnp.bfloat16), "none": None, "n": None, "c": jnp.full(2, 1j, jnp.complex64)}
    tx = optim.schedule_free_sgd(0.25, b1=0.5)
    state = tx.init(params)
    assert state.z["w"].dtype == jnp.float32
    for _ in range(2):
        u, state = tx.update(g, state, params)
        params = optim.apply_updates(params, u)
    x = optim.schedule_free_eval_params(state, params)
    assert {k: v is None or v.dtype for k, v in x.items()} == {k: v is None or v.dtype for k, v in params.items()}
    np.testing.assert_array_equal(x["n"], params["n"])
    # z goes 0.75, 0.5 and x their mean: 0.75, 0.625
    np.testing.assert_allclose(np.asarray(x["w"], np.float32), 0.625)
    np.testing.assert_allclose(x["c"], 1 - 0.375j, rtol=1e-6)


def test_b1_at_zero():
    with pytest.raises(ValueError, match=r"schedule_free_sgd: b1 must be in \(0, 1\], got 0.0"):
        optim.schedule_free_sgd(b1=0.0)

    @jax.jit
    def traced(b1):
        tx = optim.schedule_free_sgd(0.1, b1=b1)
        u, state = tx.update(grads(tree()), tx.init(tree()), tree())
        return u, optim.schedule_free_eval_params(state, optim.apply_updates(tree(), u))

    u, x = traced(jnp.zeros(()))
    close(u, jax.tree.map(lambda g: -0.1 * g, grads(tree())), rtol=1e-5)
    close(x, optim.apply_updates(tree(), u))
    assert finite((u, x))


def test_dtype_of_z():
    params = {"w": jnp.ones(3), "h": jnp.ones(3, jnp.float16)}
    assert {k: z.dtype for k, z in optim.schedule_free_sgd().init(params).z.items()} == dict.fromkeys(
        params, jnp.float32
    )
    tx = optim.schedule_free_adamw(0.1, state_dtype=jnp.bfloat16)
    state = tx.init(params)
    u, new = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert all(z.dtype == jnp.bfloat16 for z in jax.tree.leaves((state.z, new.z)))
    assert u["w"].dtype == jnp.float32


def plain_sgd():
    """A pair by hand, whose update asks for an extra argument."""

    def update(updates, state, params=None, *, size):
        return jax.tree.map(lambda g: -size * g, updates), state

    return (lambda params: (), update)


def test_the_base_is_any_pair(standard_promotion):
    expected = run(SF(optim.sgd(0.1), 0.1), tree(), 3)[0]
    close(run(SF(optax.sgd(0.1), 0.1), tree(), 3)[0], expected)
    tx, params = SF(plain_sgd(), 0.1), tree()
    state = tx.init(params)
    for n in range(3):
        u, state = tx.update(grads(params, n), state, params, size=0.1, more=1)
        params = optim.apply_updates(params, u)
    close(params, expected)


def test_it_tells_of_itself():
    tx = SF(optim.sgd(0.1, momentum=0.5), 0.1)
    state = tx.init(tree())
    told = optim.inspect(tx, state)
    assert told["learning_rate"] == 0.1
    assert set(told) >= {"b1", "weight_sum", "step_count", "max_lr"}
    fields = {name: size for m in optim.summary(tx, tree()).members for name, _, size in m.fields}
    assert fields["z"] == fields["trace"] == 36
    with pytest.raises(TypeError, match=r"schedule_free: state must be a ScheduleFreeState, got \(\)"):
        tx.update(tree(), (), tree())

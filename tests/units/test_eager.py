"""Updates outside `jit`: compiled once for equal transformations, and never where they cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close, grads, tree


@pytest.fixture
def counted():
    """A schedule, and the list that grows with each call of it: a trace, or a step that is not compiled."""
    calls = []

    def schedule(count):
        calls.append(count)
        return 0.1 / (1.0 + count.astype(float))

    return schedule, calls


def steps(tx, n, params=None, **extra):
    params = tree() if params is None else params
    state = tx.init(params)
    for i in range(n):
        u, state = tx.update(grads(params, i), state, params, **extra)
        params = optim.apply_updates(params, u)
    return params, state


def test_one_trace_for_many_steps_and_equal_transformations(counted):
    schedule, calls = counted
    steps(optim.adam(schedule), 4)
    assert len(calls) == 1
    steps(optim.adam(learning_rate=schedule, b1=0.9), 2)
    assert len(calls) == 1
    steps(optim.adam(schedule, b1=0.8), 2)
    assert len(calls) == 2
    steps(optim.adam(schedule), 2, tree(jnp.bfloat16))
    assert len(calls) == 3


def test_an_array_is_an_input_of_the_program(counted):
    schedule, calls = counted

    def make(b1, rate):
        return optim.chain(optim.scale_by_adam(b1=b1), optim.masked(optim.scale(rate), True), optim.sgd(schedule))

    results = [
        steps(make(jnp.float32(b1), jnp.asarray(rate)), 2)[0] for b1, rate in ((0.5, 1.0), (0.9, 1.0), (0.9, 2.0))
    ]
    assert len(calls) == 1
    for (b1, rate), ours in zip(((0.5, 1.0), (0.9, 1.0), (0.9, 2.0)), results, strict=True):
        close(ours, steps(make(b1, rate), 2)[0], rtol=1e-5)
    assert not np.allclose(results[0]["w"], results[1]["w"])


def test_eager_is_the_jitted_update():
    tx, params = optim.chain(optim.clip_by_global_norm(0.5), optim.adamw(0.1)), tree()
    state = tx.init(params)
    close(tx.update(grads(params), state, params), jax.jit(tx.update)(grads(params), state, params))


def test_a_schedule_that_looks_at_the_count_still_works():
    def by_hand(count):
        return 0.1 if count < 2 else 0.01

    params, state = steps(optim.sgd(by_hand), 3)
    expected = tree()
    for n, rate in enumerate((0.1, 0.1, 0.01)):
        expected = jax.tree.map(lambda p, g, r=rate: p - r * g, expected, grads(expected, n))
    close(params, expected)
    assert int(optim.inspect(optim.sgd(by_hand), state)["step"]) == 3


def test_a_mask_that_looks_at_values_still_works():
    tx, params = optim.masked(optim.scale(0.0), lambda p: jax.tree.map(lambda x: bool((x > 0).all()), p)), tree()
    u, _ = tx.update(grads(params), tx.init(params), params)
    np.testing.assert_array_equal(u["deep"]["s"], 0)
    np.testing.assert_array_equal(u["w"], grads(params)["w"])


def test_another_library_is_run_as_it_is(standard_promotion):
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    seen = []

    def update(updates, state, params=None):
        seen.append(any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(updates)))
        return updates, state

    tx = optim.chain(optim.scale(1.0), optax.GradientTransformation(lambda p: (), update))
    steps(tx, 2)
    assert seen == [False, False]


def test_extra_arguments_are_data_or_part_of_the_program(counted):
    schedule, calls = counted
    tx = optim.sgd(schedule)
    for value in (0.5, 0.25, jnp.float32(1.0)):
        steps(tx, 1, value=jnp.asarray(value, jnp.float32))
    assert len(calls) == 1
    steps(tx, 2, value_fn=abs)
    assert len(calls) == 2
    steps(tx, 1, value_fn={"unhashable": [abs]})


def test_under_transformations_nothing_is_compiled_apart():
    tx, params = optim.adam(0.1), tree()
    state = tx.init(params)
    outer = jax.make_jaxpr(lambda g: tx.update(g, state, params))(grads(params))
    assert "update" not in {e.params.get("name") for e in outer.eqns}
    many = jax.tree.map(lambda g: jnp.stack([g, 2 * g]), grads(params))
    u = jax.vmap(lambda g: tx.update(g, state, params)[0])(many)
    close(jax.tree.map(lambda x: x[0], u), tx.update(grads(params), state, params)[0])
    empty = optim.scale(1.0).init(params)
    slope = jax.grad(lambda rate: optim.scale(rate).update(grads(params), empty)[0]["deep"]["s"])
    close(slope(0.5), grads(params)["deep"]["s"])


def test_errors_are_those_of_the_update():
    tx, params = optim.adam(0.1), tree()
    with pytest.raises(
        ValueError, match=r"adam: updates\['w'\] has shape \(3, 1\), state.mu\['w'\] has \(3, 2\)|params"
    ):
        tx.update({**grads(params), "w": jnp.ones((3, 1))}, tx.init(params), params)

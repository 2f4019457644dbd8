"""A line search that finds no step of sufficient decrease."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

SEARCHES = {
    "zoom": optim.scale_by_zoom_linesearch(3, initial_guess_strategy="one"),
    "backtracking": optim.scale_by_backtracking_linesearch(2, store_grad=True),
}


def narrow_valley(p):
    """Falls for 1e-3, then rises steeply: three evaluations do not reach the valley from a step of 1."""
    x = p["x"]
    return jnp.sum(jnp.where(x > 0, -x, 0) + 1e4 * x * x)


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES)
def search(request):
    return request.param


def stepped(tx, loss, params, state=None):
    state = tx.init(params) if state is None else state
    value, grad = jax.value_and_grad(loss)(params)
    updates, state = jax.jit(lambda g, s, p, v: tx.update(g, s, p, value=v, grad=g, value_fn=loss))(
        grad, state, params, value
    )
    return optim.apply_updates(params, updates), state


def test_the_loss_never_rises_and_inspect_says_that_the_search_failed(search):
    tx = optim.chain(optim.scale(-1.0), search)
    start = {"x": jnp.array([1e-5])}
    params, state = stepped(tx, narrow_valley, start)
    assert narrow_valley(params) <= narrow_valley(start)
    np.testing.assert_array_equal(params["x"], start["x"])
    assert bool(optim.inspect(tx, state)["search_failed"])
    assert not bool(optim.inspect(tx, tx.init(start))["search_failed"])
    np.testing.assert_allclose(state[1].grad["x"], jax.grad(narrow_valley)(start)["x"], rtol=1e-6)


def test_of_the_points_it_has_seen_it_takes_the_lowest(search):
    """A sine that falls less than its slope at the start promises."""
    seen = []

    def height(x):
        return 10.0 - 0.01 * np.sin(x)

    def loss(p):
        x = p["x"][0]
        jax.debug.callback(lambda x: seen.append(float(x)), x)
        return 10.0 - 0.01 * jnp.sin(x)

    tx = optim.chain(optim.scale(-100.0), search)
    start = {"x": jnp.array([0.0])}
    params, _ = stepped(tx, loss, start)
    jax.effects_barrier()
    assert height(float(params["x"][0])) <= min(map(height, seen)) + 1e-6


def test_lbfgs_drops_its_memory_after_a_step_of_zero():
    tx = optim.scale_by_lbfgs(4)
    params = {"x": jnp.array([1.0, 2.0])}
    state = tx.init(params)
    scales = jnp.array([1.0, 30.0])
    for _ in range(3):
        updates, state = tx.update({"x": scales * params["x"]}, state, params)
        params = {"x": params["x"] - 0.5 * updates["x"]}
    assert int(jnp.sum(state.weights_memory > 0)) == 2
    _, state = tx.update({"x": scales * params["x"]}, state, params)
    updates, state = tx.update({"x": scales * params["x"]}, state, params)
    np.testing.assert_array_equal(state.weights_memory, 0)
    grad = np.asarray(scales * params["x"])
    np.testing.assert_allclose(updates["x"], grad * min(1, 1 / np.linalg.norm(grad)), rtol=1e-6)


def test_lbfgs_after_a_clip_goes_on_falling():
    """The clip leaves a direction that the memory turns uphill; without a reset the search fails for ever."""
    tx = optim.chain(
        optim.clip(0.05),
        optim.scale_by_lbfgs(5),
        optim.scale(-1.0),
        optim.scale_by_zoom_linesearch(3, initial_guess_strategy="one"),
    )

    def loss(p):
        x, y = p["x"]
        return (1 - x) ** 2 + 100 * (y - x * x) ** 2

    params, state, losses = {"x": jnp.array([-1.2, 1.0])}, None, []
    for _ in range(60):
        params, state = stepped(tx, loss, params, state)
        losses.append(float(loss(params)))
    assert all(b <= a for a, b in zip([24.2, *losses], losses, strict=False))
    assert losses[-1] < 4.0

"""Line searches on what a user may bring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close

pytestmark = pytest.mark.slow


def loss(params, target, scale=1.0):
    return scale * sum(jnp.sum(jnp.square(p - target)) for p in jax.tree.leaves(params))


SEARCHES = [
    optim.scale_by_zoom_linesearch(20),
    optim.scale_by_backtracking_linesearch(20, store_grad=True),
]
EITHER = pytest.mark.parametrize("search", SEARCHES, ids=["zoom", "backtracking"])


@EITHER
def test_value_and_grad_are_evaluated_if_they_are_not_given(search):
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    value, grad = jax.value_and_grad(loss)(params, 0.25)
    down, state = jax.tree.map(jnp.negative, grad), search.init(params)
    given = search.update(down, state, params, value=value, grad=grad, value_fn=loss, target=0.25)
    for more in ({}, {"value": value}, {"grad": grad}):
        close(search.update(down, state, params, value_fn=loss, target=0.25, **more), given)


@EITHER
def test_value_fn_gets_the_arguments_that_it_names(search):
    params, state = jnp.array([1.0, -2.0]), search.init(jnp.zeros(2))
    seen = []

    def open_ended(params, **kwargs):
        seen.append(sorted(kwargs))
        return loss(params, kwargs["target"])

    u, new = search.update(-params, state, params, value_fn=loss, target=0.0, nonsense=jnp.ones(3))
    close(search.update(-params, state, params, value_fn=open_ended, target=0.0, other=1.0), (u, new))
    assert set(map(tuple, seen)) == {("other", "target")}
    doubled, new_doubled = search.update(-params, state, params, value_fn=loss, target=0.0, scale=2.0)
    close((doubled, new_doubled.value), (u, 2 * new.value))


@EITHER
def test_errors(search):
    params, state, name = jnp.ones(2), search.init(jnp.ones(2)), search.call.name
    with pytest.raises(TypeError, match=rf"^{name}: update needs value_fn: call update\(updates, state, params, value"):
        search.update(params, state, params, value=jnp.ones(()), grad=params)
    with pytest.raises(TypeError, match=f"^{name}: .*value_fn=...\\); got 'f'"):
        search.update(params, state, params, value_fn="f")
    with pytest.raises(TypeError, match=f"^{name}: the loss must be a real scalar, got an array of shape"):
        search.update(params, state, params, value_fn=loss, target=0.0, value=jnp.ones(2), grad=params)
    with pytest.raises(ValueError, match=f"^{name}: .*grad"):
        search.update({"a": params}, state, {"a": params}, value_fn=loss, target=0.0, value=1.0, grad={"b": params})


@EITHER
def test_where_nothing_is_finite_it_stays_and_later_goes_on(search):
    """Where the loss is not finite however short the step, parameters, value and gradient stay."""
    params = jnp.array([1.0, -2.0])

    def walled(p, wall):
        return jnp.where(jnp.all(p == params), loss(p, 0.0), jnp.where(wall, jnp.nan, loss(p, 0.0)))

    state = search.init(params)
    u, state = search.update(-params, state, params, value_fn=walled, wall=True)
    np.testing.assert_array_equal(u, 0)
    assert float(state.value) == 5.0
    assert np.isinf(state.info.decrease_error)
    close(state.grad, 2 * params)
    u, state = search.update(-params, state, params, value_fn=walled, wall=False)
    close(u, -params)
    assert state.learning_rate == 1


@EITHER
def test_the_gradient_that_stays_is_as_jax_gives_it(search):
    z = jnp.array([1 + 2j], jnp.complex64)

    def alone(p):
        return jnp.where(jnp.all(p == z), jnp.sum(jnp.square(jnp.abs(p))), jnp.nan)

    down = -jnp.conj(jax.grad(alone)(z))
    _, state = search.update(down, search.init(z), z, value=alone(z), grad=-down, value_fn=alone)
    close(state.grad, jax.grad(alone)(z))


@EITHER
def test_complex_parameters(search):
    """Gradients and directions are conjugated as any update is; the state keeps what `jax.grad` gives."""
    target = jnp.array([1 + 2j, 3 - 1j], jnp.complex64)

    def off(z):
        return jnp.sum(jnp.square(jnp.abs(z - target)) * jnp.array([1.0, 3.0]))

    z = jnp.zeros(2, jnp.complex64)
    grad = jnp.conj(jax.grad(off)(z))
    u, state = search.update(-grad, search.init(z), z, value=off(z), grad=grad, value_fn=off)
    slope = jax.grad(lambda a: off(z + a * u))
    assert off(z + u) < off(z)
    if search is SEARCHES[0]:
        np.testing.assert_allclose(slope(1.0), 0, atol=1e-3)  # the minimum: the loss is a parabola along the direction
    close((state.value, state.grad), jax.value_and_grad(off)(z + u), rtol=1e-5)


@EITHER
def test_what_is_not_searched_is_still_seen(search):
    """A frozen leaf, an integer and a missing one: the loss sees them, the gradient is of all that are trainable."""
    params = {"w": jnp.ones(2), "frozen": jnp.ones(2, jnp.bfloat16), "n": jnp.arange(2), "none": None}

    def value_fn(p):
        assert p["none"] is None
        return jnp.sum(jnp.square(p["w"] - p["n"].astype(float))) + jnp.sum(p["frozen"].astype(float))

    u = {"w": jnp.array([-1.0, 0.0]), "frozen": None, "n": None, "none": None}
    state = search.init(params)
    out, new = jax.jit(lambda u, s, p: search.update(u, s, p, value_fn=value_fn))(u, state, params)
    assert out["frozen"] is None
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    np.testing.assert_array_equal(new.grad["frozen"], 1)
    close(out["w"], u["w"])
    close(search.update({**u, "n": np.zeros(2, jax.dtypes.float0)}, state, params, value_fn=value_fn)[0]["w"], u["w"])


@EITHER
def test_verbose_prints_each_result(search, capsys):
    made = optim.get(search.call.name, *search.call.args, **{**search.call.kwargs, "verbose": True})
    params = jnp.ones(2)
    made.update(-params, made.init(params), params, value_fn=loss, target=0.0)
    jax.effects_barrier()
    assert f"{search.call.name}: 1 steps, learning rate 1.0, value 0.0, decrease error 0.0" in capsys.readouterr().out


@EITHER
def test_injected_hyperparameters(search):
    name = search.call.name
    made = optim.inject_hyperparams(getattr(optim, name))(20, slope_rtol=0.9)
    params, plain = jnp.ones(2), getattr(optim, name)(20, slope_rtol=0.1)
    state = optim.tree.set(made.init(params), slope_rtol=0.1)
    ours, _ = made.update(-3 * params, state, params, value_fn=loss, target=0.0)
    close(ours, plain.update(-3 * params, plain.init(params), params, value_fn=loss, target=0.0)[0])


@EITHER
def test_one_trace_for_many_steps(search):
    traces, traced = [], []

    def value_fn(params, target):
        traces.append(1)
        return loss(params, target)

    tx = optim.chain(optim.sgd(0.3), search)
    value_and_grad = optim.value_and_grad_from_state(value_fn)
    params = {"w": jnp.ones((2, 3)), "b": jnp.array(2.0)}
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        value, grad = value_and_grad(params, 0.5, state=state)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn, target=0.5)
        return optim.apply_updates(params, updates), state

    for _ in range(5):
        params, state = step(params, state)
        traced.append(len(traces))
    assert len(set(traced)) == 1

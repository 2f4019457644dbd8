"""The value and the gradient that a line search has left."""

import jax
import jax.numpy as jnp
import pytest

import optim

from ..every.rows import close

SEARCHES = [
    optim.scale_by_zoom_linesearch(20),
    optim.scale_by_backtracking_linesearch(20, store_grad=True),
]
EITHER = pytest.mark.parametrize("search", SEARCHES, ids=["zoom", "backtracking"])


def loss(params, target, scale=1.0):
    return scale * sum(jnp.sum(jnp.square(p - target)) for p in jax.tree.leaves(params))


@EITHER
def test_value_and_grad_from_state(search):
    """Evaluated before the first update and never again; of the dtypes that the loss gives."""
    evaluations = []

    def value_fn(p, target, name="x"):
        jax.debug.callback(lambda: evaluations.append(name))
        return loss(p, target).astype(jnp.bfloat16)

    params = {"w": jnp.ones(2, jnp.bfloat16), "n": None}
    value_and_grad = optim.value_and_grad_from_state(value_fn)
    state = search.init(params)
    value, grad = value_and_grad(params, 0.5, name="y", state=state)
    jax.effects_barrier()
    assert evaluations == ["y"]
    assert value.dtype == grad["w"].dtype == jnp.bfloat16
    updates, state = search.update(grad, state, params, value_fn=value_fn, target=0.5)
    moved = optim.apply_updates(params, updates)
    jax.effects_barrier()
    before = len(evaluations)
    left = value_and_grad(moved, 0.5, name="y", state=state)
    assert (jax.tree.structure(left), left[0].dtype) == (jax.tree.structure((value, grad)), value.dtype)
    jax.effects_barrier()
    assert len(evaluations) == before
    close(left, jax.value_and_grad(loss)(moved, 0.5), rtol=1e-2)


def test_value_and_grad_from_state_finds_them_in_a_chain_and_inside_jit():
    tx = optim.named_chain(("adam", optim.adam(0.1)), ("search", SEARCHES[0]))
    params = jnp.ones(2)
    value_and_grad = optim.value_and_grad_from_state(loss)

    @jax.jit
    def step(params, state):
        value, grad = value_and_grad(params, target=0.5, state=state)
        u, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss, target=0.5)
        return optim.apply_updates(params, u), state, value

    state, values = tx.init(params), []
    for _ in range(4):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_value_and_grad_from_state_refuses():
    name = "value_and_grad_from_state"
    with pytest.raises(TypeError, match=f"^{name}: value_fn must be a function, got 3"):
        optim.value_and_grad_from_state(3)
    plain = optim.scale_by_backtracking_linesearch(3)
    for state in (plain.init(jnp.ones(2)), optim.adam(0.1).init(jnp.ones(2))):
        with pytest.raises(ValueError, match=f"^{name}: the state holds no value and gradient; .*store_grad=True"):
            optim.value_and_grad_from_state(loss)(jnp.ones(2), 0.0, state=state)

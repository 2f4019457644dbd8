"""Steps that are left out: nothing of them reaches the inner state or a derivative, whatever vmap runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close, equal, grads, tree

PARAMS = tree()
WRAPPED = {
    "apply_if_finite": optim.apply_if_finite(optim.adam(0.1), 5),
    "conditionally_mask": optim.conditionally_mask(optim.adam(0.1), lambda step: step != 1),
    "conditionally_transform": optim.conditionally_transform(optim.adam(0.1), lambda step: step != 1),
}


def with_nan(g):
    return {**g, "w": g["w"].at[1, 0].set(jnp.nan)}


def finite(tree_):
    return all(np.all(np.isfinite(x)) for x in jax.tree.leaves(tree_))


@pytest.mark.parametrize("name", WRAPPED)
def test_a_step_left_out_is_as_if_it_had_not_been(name):
    tx, inner = WRAPPED[name], optim.adam(0.1)
    state, inner_state = tx.init(PARAMS), inner.init(PARAMS)
    for n in range(4):
        g = with_nan(grads(PARAMS)) if n == 1 else grads(PARAMS, n)
        u, state = tx.update(g, state, PARAMS)
        if n == 1:
            wanted = g if name == "conditionally_transform" else jax.tree.map(jnp.zeros_like, g)
        else:
            wanted, inner_state = inner.update(g, inner_state, PARAMS)
        close(u, wanted, rtol=1e-5)
        close(state.inner_state, inner_state, rtol=1e-5)


@pytest.mark.parametrize("name", WRAPPED)
def test_vmap_and_derivatives(name):
    tx = WRAPPED[name]
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), grads(PARAMS), with_nan(grads(PARAMS)))
    state = jax.vmap(lambda _: tx.init(PARAMS))(jnp.arange(2))
    if name != "apply_if_finite":
        state = state._replace(step=jnp.arange(2, dtype=jnp.int32))

    def total(g, state):
        u, state = tx.update(g, state, PARAMS)
        u = jax.tree.map(lambda x: jnp.where(jnp.isnan(x), 0, x), u)  # what passes as it is may be NaN
        u2, state = tx.update(grads(PARAMS, 1), state._replace(**kept), PARAMS)
        return sum(jnp.sum(x) for x in jax.tree.leaves((u, u2))), state.inner_state

    kept = {} if name == "apply_if_finite" else {"step": jnp.int32(2)}

    def whole(both):
        values, inner = jax.vmap(total)(both, state)
        return jnp.sum(values), (values, inner)

    (_, (values, inner)), slopes = jax.jit(jax.value_and_grad(whole, has_aux=True))(both)
    assert finite((values, inner, slopes))
    assert [int(x) for x in inner[0].count] == [2, 1]


def test_apply_if_finite_counts():
    tx = optim.apply_if_finite(optim.sgd(0.1), 1)
    state, told = tx.init(PARAMS), []
    for bad in (False, True, False, True, True, False):
        u, state = tx.update(with_nan(grads(PARAMS)) if bad else grads(PARAMS), state, PARAMS)
        told.append((int(state.notfinite_count), bool(state.last_finite), int(state.total_notfinite), bool(finite(u))))
    assert told == [
        (0, True, 0, True),
        (1, False, 1, True),
        (0, True, 1, True),
        (1, False, 2, True),
        (2, False, 3, False),  # too many in a row: let through
        (0, True, 3, True),
    ]


def test_a_condition_that_is_concrete_needs_no_branch():
    tx = optim.conditionally_mask(optim.sgd(0.1), lambda step: True)
    text = str(jax.make_jaxpr(tx.update)(grads(PARAMS), tx.init(PARAMS), PARAMS))
    assert "cond" not in text


@pytest.mark.parametrize("name", WRAPPED)
def test_one_of_two_branches_is_compiled_in(name):
    tx = WRAPPED[name]
    text = str(jax.make_jaxpr(tx.update)(grads(PARAMS), tx.init(PARAMS), PARAMS))
    assert "cond[" in text


def test_a_member_from_elsewhere_keeps_its_dtypes():
    """One whose state follows its updates' dtype would not fit the other branch."""

    def update(updates, state, params=None):
        return updates, jax.tree.map(lambda s, u: s.astype(u.dtype) + u, state, updates)

    pair = (lambda params: jax.tree.map(jnp.zeros_like, params), update)
    params, g = tree(jnp.bfloat16), tree(jnp.float32)
    for tx in (optim.apply_if_finite(pair, 2), optim.MultiSteps(pair, 2)):
        state = tx.init(params)
        _, new = jax.jit(tx.update)(g, state, params)
        assert [x.dtype for x in jax.tree.leaves(new)] == [x.dtype for x in jax.tree.leaves(state)]


def test_frozen_parameters_have_no_slots():
    mask = {"w": True, "b": False, "deep": False}
    for given in (mask, lambda params: mask):
        tx = optim.selective_transform(optim.adam(0.1), freeze_mask=given)
        state = tx.init(PARAMS)
        assert not any(x.shape == (3, 2) for x in jax.tree.leaves(state))
        u, _ = tx.update(grads(PARAMS), state, PARAMS)
        assert not np.any(u["w"])
        assert np.all(u["b"] != 0)
        assert optim.summary(tx, PARAMS).bytes == 4 + 2 * 4 * 3
    u, state = optim.freeze(mask).update(grads(PARAMS), optim.freeze(mask).init(PARAMS), PARAMS)
    assert not np.any(u["w"])
    equal(u["b"], grads(PARAMS)["b"])
    assert jax.tree.leaves(state) == []


def test_extra_arguments_reach_those_who_want_them():
    def pair():
        def update(updates, state, params=None, *, factor=1.0):
            return jax.tree.map(lambda u: factor * u, updates), state

        return (lambda params: (), update)

    for tx in (
        optim.apply_if_finite(pair(), 2),
        optim.conditionally_mask(pair(), lambda step: True),
        optim.conditionally_transform(pair(), lambda step, **extra: extra["factor"] > 1, True),
        optim.flatten(pair()),
        optim.split_real_and_imaginary(pair()),
        optim.lookahead(pair(), 5, 0.5),
        optim.MultiSteps(pair(), 1),
        optim.selective_transform(pair(), freeze_mask=False),
        optim.sam(pair(), pair(), 1),
    ):
        u, _ = tx.update(grads(PARAMS), tx.init(PARAMS), PARAMS, factor=3.0, unknown=1)
        close(u, jax.tree.map(lambda g: 3 * g, grads(PARAMS)))


@pytest.mark.parametrize("make", [optim.conditionally_mask, optim.conditionally_transform])
def test_a_condition_on_an_extra_argument_it_needs(make):
    def large(step, loss, **extra):
        return loss > 1.0

    tx = make(optim.scale(2.0), large, forward_extra_args=True)
    g = {"w": jnp.ones(2)}
    for loss, expected in ((2.0, 2.0), (0.5, 0.0 if make is optim.conditionally_mask else 1.0)):
        u, _ = tx.update(g, tx.init(g), g, loss=jnp.float32(loss), other=1)
        np.testing.assert_array_equal(u["w"], expected)
    with pytest.raises(TypeError, match="should_transform_fn must be a function of the step, got the function"):
        make(optim.scale(2.0), large)

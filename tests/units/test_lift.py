"""The lift: slots, scalars, keys, and what a rule may ask for."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim


class AnchorState(NamedTuple):
    count: Any
    anchor: Any
    distance: Any


def anchored():
    """Pull towards the starting point, by a tree-wide distance: every feature of the lift at once."""

    def scalars(updates, params, t, distance, value):
        return {"distance": jnp.maximum(distance, optim.global_norm(updates)), "pull": value / t.astype(jnp.float32)}

    def rule(g, p, anchor, pull, distance):
        return g + pull * (p - anchor) / (1 + distance), anchor

    return optim.treewise(
        rule,
        AnchorState,
        scalars=scalars,
        anchor=optim.Slot(init=lambda p: p),
        distance=optim.StateScalar(0.0),
    )


def test_slots_of_parameters_and_scalars():
    params = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([[3.0]], jnp.bfloat16)}
    tx = anchored()
    state = tx.init(params)
    assert state.anchor["a"].unsafe_buffer_pointer() != params["a"].unsafe_buffer_pointer()
    assert state.anchor["b"].dtype == jnp.bfloat16
    moved = jax.tree.map(lambda p: p + 1, params)
    u, state = jax.jit(tx.update)(params, state, moved, value=jnp.float32(2.0))
    norm = np.sqrt(1 + 4 + 9)
    np.testing.assert_allclose(u["a"], np.array([1.0, 2.0]) + 2.0 / (1 + norm), rtol=1e-6)
    assert state.distance == pytest.approx(norm, rel=1e-6)
    assert state.count == 1
    with pytest.raises(TypeError, match=r"update needs value: call update\(updates, state, params, value=\.\.\.\)"):
        tx.update(params, state, moved)
    with pytest.raises(ValueError, match="update needs the parameters: call"):
        tx.update(params, state, value=1.0)


def test_keys_differ_by_leaf():
    tx = optim.add_noise(1.0, 0.0, 0)
    zeros = {"a": jnp.zeros(100), "b": jnp.zeros(100)}
    u, state = tx.update(zeros, tx.init(zeros))
    assert not np.array_equal(u["a"], u["b"])
    again, _ = tx.update(zeros, state)
    assert not np.array_equal(u["a"], again["a"])
    both = np.concatenate([u["a"], u["b"]])
    assert abs(both.mean()) < 0.3
    assert both.std() == pytest.approx(1.0, abs=0.2)


def test_slot_policy():
    def dtype(slot, of="float32"):
        return slot.make(jnp.ones(2, of)).dtype

    assert dtype(optim.Slot(), "bfloat16") == jnp.bfloat16
    assert dtype(optim.Slot(decay=0.9), "float16") == jnp.float16
    assert dtype(optim.Slot(decay=0.999), "bfloat16") == jnp.float32
    assert dtype(optim.Slot(decay=jnp.float32(0.9)), "bfloat16") == jnp.float32
    assert dtype(optim.Slot(real=True), "bfloat16") == jnp.float32
    assert dtype(optim.Slot(real=True), "complex64") == jnp.float32
    assert dtype(optim.Slot(), "complex64") == jnp.complex64
    assert dtype(optim.Slot(dtype="float32"), "complex64") == jnp.complex64
    assert dtype(optim.Slot(real=True, dtype="bfloat16")) == jnp.bfloat16


def test_complex_and_real_do_not_mix():
    tx = optim.adam(0.1)
    params = {"z": jnp.ones(2, jnp.complex64)}
    with pytest.raises(ValueError, match=r"adam: updates\['z'\] is float32, params\['z'\] is complex64"):
        tx.update({"z": jnp.ones(2)}, tx.init(params), params)


def test_a_gradient_where_nothing_was_is_an_error():
    tx = optim.adam(0.1)
    state = tx.init({"a": jnp.ones(2), "b": None})
    with pytest.raises(ValueError, match=r"updates\['b'\] is an array, state.mu\['b'\] is None: its parameter"):
        tx.update({"a": jnp.ones(2), "b": jnp.ones(2)}, state)
    with pytest.raises(ValueError, match=r"scale: updates\['b'\] is an array, params\['b'\] is None"):
        optim.scale(1.0).update({"b": jnp.ones(2)}, optim.EmptyState(), {"b": None})


def test_a_failed_call_changes_nothing():
    tx = optim.adam(0.1)
    params = {"a": jnp.ones(2)}
    state = tx.init(params)
    before = jax.tree.map(np.asarray, state)
    with pytest.raises(ValueError, match="has shape"):
        tx.update({"a": jnp.ones(3)}, state, params)
    jax.tree.map(np.testing.assert_array_equal, state, before)
    assert optim.adam(0.1).update(params, state, params)[1][0].count == 1
    with pytest.raises(ValueError, match=r"^sgd: learning_rate"):  # the name of the failed call is forgotten
        optim.sgd(-1.0)


class MeanState(NamedTuple):
    mean: Any


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (lambda g, mean: (g, jnp.sum(mean)), r"the rule's mean has shape \(\), expected \(2,\)"),
        (lambda g, mean: (jnp.sum(g), mean), r"the rule's update has shape \(\), expected \(2,\)"),
        (lambda g, mean: g, r"the rule must return the update and its slots mean, got an array of shape \(2,\)"),
    ],
)
def test_what_a_rule_returns_is_checked(rule, sentence):
    tx = optim.elementwise(rule, MeanState, mean=optim.Slot())
    with pytest.raises(ValueError, match=sentence):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_too_many_slots():
    class Two(NamedTuple):
        a: Any
        b: Any

    tx = optim.elementwise(lambda g, a, b: (g, (a, b, b)), Two, a=optim.Slot(), b=optim.Slot())
    with pytest.raises(ValueError, match=r"the rule must return the slots \(a, b\)"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_what_a_rule_asks_for_is_checked_when_it_is_lifted():
    with pytest.raises(TypeError, match="the rule asks for 'foo'; there are g, mean, p, t"):
        optim.elementwise(lambda g, foo: g, MeanState, mean=optim.Slot())
    with pytest.raises(TypeError, match=r"MeanState has the fields \['mean'\], declared are \['m'\]"):
        optim.elementwise(lambda g, m: (g, m), MeanState, m=optim.Slot())
    with pytest.raises(TypeError, match="the rule asks for 't', but MeanState has no count"):
        optim.elementwise(lambda g, mean, t: (g, mean), MeanState, mean=optim.Slot())
    tx = optim.elementwise(lambda g, factor: g * factor, scalars=lambda updates: {"other": 1.0})
    with pytest.raises(TypeError, match="the rule asks for 'factor', which scalars did not return"):
        tx.update(jnp.ones(2), optim.EmptyState())

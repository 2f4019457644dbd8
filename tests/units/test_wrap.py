"""A rule around another transformation: what `wrap` carries so that the rule need not."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close, equal, grads, run, tree


def cautious(inner):
    """A user's wrapper: keep the updates whose sign is that of the gradient."""
    return optim.wrap(inner, lambda u, g: jnp.where(u * g > 0, u, 0.0))


class MeanState(NamedTuple):
    base: Any
    count: Any
    mean: Any


def averaged(inner, **options):
    """Pass updates on and average the parameters, for evaluation."""

    def rule(u, p, mean, t):
        return u, mean + (p + u - mean) / t.astype(jnp.float32)

    slots = {"mean": optim.Slot(init=lambda p: p, decay=1.0)}
    return optim.wrap(inner, rule, MeanState, evaluate=lambda mean: mean, **slots, **options)


def test_a_rule_sees_the_update_and_the_gradient():
    tx, params = cautious(optim.trace(0.9)), tree()
    trace, state, plain_state = optim.trace(0.9), tx.init(params), optim.trace(0.9).init(params)
    equal(state, plain_state)  # without slots the state is that of the inner transformation
    for n in range(3):
        g = grads(params, n)
        u, state = tx.update(g, state, params)
        expected, plain_state = trace.update(g, plain_state, params)
        close(u, jax.tree.map(lambda e, g: jnp.where(e * g > 0, e, 0), expected, g))
        equal(state, plain_state)
    assert tx.grain == "elementwise"
    assert optim.inspect(tx, state) == optim.inspect(trace, state)


def test_none_and_dtypes_are_carried():
    """A gradient that is None gave JAX's own text in a wrapper written by hand."""
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(3), "c": None}
    tx = averaged(cautious(optim.adam(0.1)))
    state = tx.init(params)
    assert state.mean["a"].dtype == jnp.float32
    u, new = jax.jit(tx.update)({"a": jnp.ones(2, jnp.bfloat16), "b": None, "c": None}, state, params)
    assert (u["b"], u["c"], u["a"].dtype) == (None, None, jnp.bfloat16)
    equal(new.mean["b"], state.mean["b"])
    assert int(new.count) == 1


def test_complex_leaves_are_pairs_of_real_ones():
    params, g = jnp.asarray([1 + 2j]), jnp.asarray([3 - 4j])
    tx = optim.wrap(optim.identity(), lambda u, g: jnp.where(g > 0, u, 0.0))
    np.testing.assert_array_equal(tx.update(g, tx.init(params), params)[0], [3 + 0j])


def test_evaluation_parameters_through_chains_and_groups():
    tx = optim.partition({"a": averaged(optim.sgd(0.1)), "b": optim.sgd(0.1)}, {"w": "a", "b": "b", "deep": "a"})
    params, state, _ = run(tx, tree(), 3)
    evaluated = optim.eval_params(tx, state, params)
    expected, at = [], tree()
    for n in range(3):
        at = jax.tree.map(lambda p, g: p - 0.1 * g, at, grads(at, n))
        expected.append(at)
    np.testing.assert_allclose(evaluated["w"], np.mean([p["w"] for p in expected], axis=0), rtol=1e-6)
    equal(evaluated["b"], params["b"])


def test_scalars_see_whole_trees():
    def scalars(updates, inner_updates, params):
        return {"factor": optim.global_norm(updates) / optim.global_norm(inner_updates)}

    tx = optim.wrap(optim.scale(0.5), lambda u, factor: u * factor, grain="treewise", scalars=scalars)
    params = tree()
    u, _ = tx.update(grads(params), tx.init(params), params)
    close(u, grads(params))
    assert tx.grain == "treewise"


def test_checkpoints_name_the_slots():
    tx, params = averaged(optim.adam(0.1)), tree()
    _, state, _ = run(tx, params, 2)
    d = optim.state_dict(tx, state)
    assert "mean/mean/w" in d or any(name.endswith("mean/w") for name in d)
    equal(optim.load_state_dict(tx, tx.init(params), d), state)
    assert optim.summary(tx, params).bytes == (3 * 9) * 4 + 2 * 4


def test_mistakes():
    class Two(NamedTuple):
        first: Any
        second: Any

    class Own(NamedTuple):
        mean: Any

    params = tree()
    cases = {
        "wrap: inner must be a transformation (init, update), got the function adam; did you mean adam(...)?": (
            lambda: optim.wrap(optim.adam, lambda u: u)
        ),
        "Two must have one field that is not declared, for the state of inner; got first, second": (
            lambda: optim.wrap(optim.adam(0.1), lambda u: u, Two)
        ),
        "Own must have one field that is not declared, for the state of inner; got none": (
            lambda: optim.wrap(optim.adam(0.1), lambda u, mean: (u, mean), Own, mean=optim.Slot())
        ),
        "slots need a state class: wrap(inner, rule, State, mean=...)": (
            lambda: optim.wrap(optim.adam(0.1), lambda u, mean: (u, mean), mean=optim.Slot())
        ),
        "the rule asks for 'v'; there are g, p, t, u": lambda: optim.wrap(optim.adam(0.1), lambda u, v: u),
        "updates['w'] has shape (1,), params['w'] has (3, 2)": (
            lambda: cautious(optim.sgd(0.1)).update({**params, "w": jnp.ones(1)}, (), params)
        ),
        "state must be a MeanState, got ()": lambda: optim.chain(averaged(optim.sgd(0.1))).update(
            params, ((),), params
        ),
    }
    for sentence, mistake in cases.items():
        with pytest.raises((TypeError, ValueError)) as error:
            mistake()
        assert sentence in str(error.value), str(error.value)

"""MultiSteps: windows, what is left out of them, the last one, and where it may stand."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import avals, close, equal, grads, tree

PARAMS = tree()


def with_nan(g):
    return {**g, "w": g["w"].at[1, 0].set(jnp.nan)}


def steps(tx, gs, state=None):
    state, out = tx.init(PARAMS) if state is None else state, []
    for g in gs:
        u, state = tx.update(g, state, PARAMS)
        out.append(u)
    return out, state


def mean(*gs):
    return jax.tree.map(lambda *x: sum(x) / len(x), *gs)


def test_a_bad_micro_batch_does_not_erase_its_partners():
    tx, inner = optim.MultiSteps(optim.trace(0.9), 3, nonfinite="skip"), optim.trace(0.9)
    g = [grads(PARAMS, n) for n in range(6)]
    out, state = steps(tx, [g[0], with_nan(g[1]), g[2], g[3], g[4], with_nan(g[5])])
    first, inner_state = inner.update(mean(g[0], g[2]), inner.init(PARAMS), PARAMS)
    second, inner_state = inner.update(mean(g[3], g[4]), inner_state, PARAMS)
    close(out[2], first)
    close(out[5], second)
    for n in (0, 1, 3, 4):
        assert not any(np.any(x) for x in jax.tree.leaves(out[n]))
    close(state.inner_opt_state, inner_state)
    assert int(state.gradient_step) == 2
    propagated, _ = steps(optim.MultiSteps(optim.trace(0.9), 3), [g[0], with_nan(g[1]), g[2]])
    assert np.isnan(propagated[2]["w"][1, 0])


def test_a_window_without_any_gradient_takes_no_step():
    tx = optim.MultiSteps(optim.adam(0.1), 2, nonfinite="skip")
    g = grads(PARAMS)
    out, state = steps(tx, [with_nan(g), with_nan(g)])
    equal(state.inner_opt_state, tx.init(PARAMS).inner_opt_state)
    assert (int(state.mini_step), int(state.gradient_step)) == (0, 0)
    out, state = steps(tx, [g, g], state)
    assert tx.has_updated(state)
    assert np.all(out[1]["w"] != 0)
    out, state = steps(tx, [with_nan(g), with_nan(g)], state)
    assert not tx.has_updated(state)
    assert int(state.gradient_step) == 1
    assert not np.any(out[1]["w"])


def test_both_ways_of_leaving_out():
    """A micro-step that the function skips does not count; one that is not finite does, as nothing."""
    judge = functools.partial(optim.skip_large_updates, max_squared_norm=1e4)
    tx = optim.MultiSteps(optim.trace(0.0), 2, should_skip_update_fn=judge, nonfinite="skip")
    g = [grads(PARAMS, n) for n in range(2)]
    large = jax.tree.map(lambda x: 1e6 * x, g[0])
    out, state = steps(tx, [large, g[0], large, g[1]])
    close(out[3], mean(*g))
    assert tx.has_updated(state)
    _, state = steps(tx, [large], state)
    assert not tx.has_updated(state)


def test_has_updated():
    tx = optim.MultiSteps(optim.sgd(0.1), 2, should_skip_update_fn=optim.skip_not_finite)
    state, told = tx.init(PARAMS), []
    for g in (grads(PARAMS), grads(PARAMS), with_nan(grads(PARAMS)), grads(PARAMS), grads(PARAMS)):
        _, state = tx.update(g, state, PARAMS)
        told.append(bool(tx.has_updated(state)))
    assert told == [False, True, False, False, True]


@pytest.mark.parametrize("use_grad_mean", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_flush(use_grad_mean, compiled):
    """The last, shorter window: the mean, or the sum, over the micro-steps that there are."""
    tx = optim.MultiSteps(optim.adam(0.1), 4, use_grad_mean)
    flush = jax.jit(tx.flush) if compiled else tx.flush
    g = [grads(PARAMS, n) for n in range(6)]
    _, state = steps(tx, g)
    inner = optim.adam(0.1)
    total = [jax.tree.map(lambda *x: sum(x) / (len(x) if use_grad_mean else 1), *part) for part in (g[:4], g[4:])]
    inner_state = inner.init(PARAMS)
    for part in total:
        wanted, inner_state = inner.update(part, inner_state, PARAMS)
    u, flushed = flush(state, PARAMS)
    close(u, wanted, rtol=1e-5)
    close(flushed.inner_opt_state, inner_state, rtol=1e-5)
    assert (int(flushed.mini_step), int(flushed.gradient_step)) == (0, 2)
    assert not any(np.any(x) for x in jax.tree.leaves(flushed.acc_grads))
    assert avals(flushed) == avals(state)
    u, again = flush(flushed, PARAMS)
    assert not any(np.any(x) for x in jax.tree.leaves(u))
    equal(again, flushed)


def test_flush_passes_extra_arguments_and_parameters():
    tx = optim.MultiSteps(optim.chain(optim.add_decayed_weights(0.5), optim.reduce_on_plateau(0.5, patience=1)), 3)
    state = tx.init(PARAMS)
    for value in (1.0, 1.0):
        _, state = tx.update(grads(PARAMS), state, PARAMS, value=value)
    u, state = tx.flush(state, PARAMS, value=1.0)
    close(u, jax.tree.map(lambda g, p: g + 0.5 * p, grads(PARAMS), PARAMS))
    with pytest.raises(ValueError, match="MultiSteps: update needs the parameters"):
        tx.flush(tx.update(grads(PARAMS), state, PARAMS, value=1.0)[1], value=1.0)


def test_one_trace_in_a_scan_and_the_same_numbers():
    tx = optim.chain(optim.clip_by_global_norm(1.0), optim.MultiSteps(optim.adam(0.1), 3, nonfinite="skip"))
    gs = jax.tree.map(lambda *x: jnp.stack(x), *[grads(PARAMS, n) for n in range(7)])
    traces = []

    def step(carry, g):
        traces.append(1)
        params, state = carry
        u, state = tx.update(g, state, params)
        return (optim.apply_updates(params, u), state), u

    (params, state), _ = jax.jit(lambda: jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), gs))()
    count = len(traces)
    looped = (PARAMS, tx.init(PARAMS))
    for n in range(7):
        looped, _ = step(looped, jax.tree.map(lambda x, n=n: x[n], gs))
    close((params, state), looped)
    assert count <= 2


def test_the_accumulator_is_at_least_float32():
    params = tree(jnp.bfloat16)
    assert optim.MultiSteps(optim.sgd(0.1), 2).init(params).acc_grads["w"].dtype == jnp.float32
    narrow = optim.MultiSteps(optim.sgd(0.1), 2, accumulator_dtype=jnp.bfloat16)
    assert narrow.init(params).acc_grads["w"].dtype == jnp.bfloat16
    tx, small = optim.MultiSteps(optim.sgd(1.0), 256, False), jax.tree.map(lambda p: jnp.full_like(p, 2**-8), params)
    step, state = jax.jit(tx.update), tx.init(params)
    for _ in range(256):
        u, state = step({**small, "w": small["w"] + (state.mini_step == 0).astype(jnp.bfloat16)}, state, params)
    assert u["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(u["w"].astype(jnp.float32), -2.0)


def test_a_none_gradient_keeps_what_is_accumulated():
    tx = optim.MultiSteps(optim.adam(0.1), 2)
    _, state = steps(tx, [grads(PARAMS)])
    u, new = tx.update({**grads(PARAMS, 1), "b": None}, state, PARAMS)
    assert u["b"] is None
    np.testing.assert_array_equal(new.acc_grads["b"], grads(PARAMS)["b"])
    assert not np.any(new.acc_grads["w"])
    assert not np.any(new.inner_opt_state[0].mu["b"])


def test_it_is_a_class_and_a_transformation():
    tx = optim.MultiSteps(optim.adam(0.1), every_k_schedule=2)
    assert isinstance(tx, optim.MultiSteps)
    assert isinstance(tx, optim.GradientTransformation)
    assert tx.gradient_transformation() is tx
    assert tx.inner_opt == optim.adam(0.1)
    assert repr(tx) == "MultiSteps(adam(0.1), every_k_schedule=2)"
    assert copy.deepcopy(tx) == tx == optim.from_config(optim.to_config(tx))
    assert isinstance(optim.from_config(optim.to_config(tx)), optim.MultiSteps)
    replaced = optim.replace(tx, "adam", learning_rate=0.2)
    assert replaced == optim.MultiSteps(optim.adam(0.2), every_k_schedule=2)
    assert isinstance(replaced, optim.MultiSteps)
    told = optim.inspect(tx, tx.init(PARAMS))
    assert told["learning_rate"] == 0.1
    assert {"step", "mini_step", "gradient_step"} <= told.keys()


def test_vmap_of_windows_that_differ():
    """Under vmap both branches run: neither values nor derivatives take anything from the other."""
    tx = optim.MultiSteps(optim.adam(0.1), 2, nonfinite="skip")
    g = grads(PARAMS)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), g, with_nan(g))
    state = jax.vmap(lambda _: tx.init(PARAMS))(jnp.arange(2))

    def total(g, state):
        u, state = tx.update(g, state, PARAMS)
        u2, state = tx.update(grads(PARAMS, 1), state, PARAMS)
        return sum(jnp.sum(x) for x in jax.tree.leaves((u, u2))), state

    def whole(both):
        values, after = jax.vmap(total)(both, state)
        return jnp.sum(values), (values, after)

    (_, (values, after)), slopes = jax.value_and_grad(whole, has_aux=True)(both)
    assert np.all(np.isfinite(values))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((slopes, after)))

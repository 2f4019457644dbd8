"""Faults that users of this field have met for years, one by one; tests/every asks for most of them in every row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import optim

from ..every.rows import ROWS, avals, finite, grads, tree


def stepped(tx, params, steps=1, scale=1.0, **extra):
    state = tx.init(params)
    for n in range(steps):
        u, state = tx.update(jax.tree.map(lambda g: scale * g, grads(params, n)), state, params, **extra)
        params = optim.apply_updates(params, u)
    return params, state, u


def test_a_zero_gradient_in_float16_is_no_nan():
    for tx in (optim.adam(0.1), optim.rmsprop(0.1), optim.adabelief(0.1), optim.yogi(0.1), optim.lamb(0.1)):
        params, state, u = stepped(tx, tree(jnp.float16), scale=0.0)
        assert finite((params, state, u)), tx


def test_the_states_dtypes_are_fixed_at_init():
    params = tree(jnp.bfloat16)
    for tx in (optim.adam(0.1), optim.lion(0.1), optim.sgd(0.1, 0.9), optim.adafactor(0.1)):
        state = tx.init(params)
        g = jax.tree.map(lambda p: p.astype(jnp.float32), params)
        assert avals(tx.update(g, state, params)[1]) == avals(state), tx


def test_injected_hyperparameters_are_not_rounded_to_the_parameters_dtype():
    tx = optim.inject_hyperparams(optim.adam)(1e-3)
    params, state, _ = stepped(tx, tree(jnp.bfloat16), 2)
    assert state.hyperparams["b2"].dtype == jnp.float32
    assert float(state.hyperparams["b2"]) == pytest.approx(0.999, abs=1e-7)
    assert finite((params, state))


def test_a_gradient_of_none_leaves_its_parameter_and_slots():
    params = tree()
    tx = optim.adamw(0.1)
    _, state, _ = stepped(tx, params)
    u, new = tx.update({**grads(params), "b": None}, state, params)
    assert u["b"] is None
    np.testing.assert_array_equal(new[0].mu["b"], state[0].mu["b"])
    np.testing.assert_array_equal(optim.apply_updates(params, u)["b"], params["b"])


def test_a_compiled_init_keeps_shardings():
    mesh = jax.make_mesh((8,), ("d",))
    along = NamedSharding(mesh, PartitionSpec("d"))
    params = {"w": jax.device_put(jnp.ones((16, 3)), along)}
    state = jax.jit(optim.adam(0.1).init)(params)
    assert state[0].mu["w"].sharding.is_equivalent_to(along, 2)


@pytest.mark.parametrize("name", ["dog", "dowg", "prodigy", "madgrad", "cocob"])
def test_states_share_no_buffer_with_the_parameters(name):
    args = (0.1,) if name == "madgrad" else ()
    tx, params = optim.get(name, *args), tree()
    state = tx.init(params)
    step = jax.jit(lambda p, s, g: tx.update(g, s, p), donate_argnums=(0, 1))
    u, _ = step(params, state, grads(tree()))
    assert finite(u)


def test_the_derivative_of_an_update_is_finite_at_zero():
    params = tree()
    zero = jax.tree.map(jnp.zeros_like, params)
    for tx in (optim.adam(0.1), optim.rmsprop(0.1), optim.adagrad(0.1, 0.0), optim.lamb(0.1), optim.adamax(0.1)):
        state = tx.init(params)

        def total(g, tx=tx, state=state):
            return sum(jnp.sum(u) for u in jax.tree.leaves(tx.update(g, state, params)[0]))

        assert finite(jax.grad(total)(zero)), tx


def test_shapes_are_never_broadcast():
    tx, params = optim.adam(0.1), {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"adam: updates\['w'\] has shape \(3, 1\), params\['w'\] has \(3,\)"):
        tx.update({"w": jnp.ones((3, 1))}, tx.init(params), params)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: optim.adam(-1.0), "adam: learning_rate must be >= 0, got -1.0"),
        (lambda: optim.adam(0.1, b1=1.5), r"adam: b1 must be in \[0, 1\), got 1.5"),
        (lambda: optim.adam(0.1, eps=-1), "adam: eps must be >= 0, got -1"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_equal_counters_are_one_count_and_the_learning_rate_can_be_read():
    tx = optim.chain(optim.scale_by_adam(), optim.scale_by_learning_rate(optim.linear_schedule(1.0, 0.0, 10)))
    _, state, _ = stepped(tx, tree(), 3)
    assert int(optim.tree.get(state, "count")) == 3
    told = optim.inspect(tx, state)
    assert int(told["step"]) == 3
    assert float(told["learning_rate"]) == pytest.approx(0.8)


def test_three_learning_rates_are_one_trace():
    traces = []

    @jax.jit
    def step(rate, params, state):
        traces.append(1)
        return optim.adam(rate).update(grads(params), state, params)

    params = tree()
    for rate in (0.1, 0.2, 0.3):
        step(jnp.float32(rate), params, optim.adam(rate).init(params))
    assert len(traces) == 1


def test_reduce_on_plateau_reduces_on_a_negative_metric():
    tx, params = optim.reduce_on_plateau(factor=0.5, patience=2), tree()
    state = tx.init(params)
    for value in (-1.0, -2.0, -2.0, -2.0, -2.0):
        _, state = tx.update(grads(params), state, params, value=jnp.float32(value))
    assert float(state.scale) == 0.5


def test_schedule_free_evaluates_its_schedule_from_zero():
    seen = []

    def rate(count):
        seen.append(int(count))
        return 0.1

    tx = optim.schedule_free(optim.sgd(0.1), rate)
    with jax.disable_jit():
        stepped(tx, tree(), 2)
    assert seen[0] == 0
    assert 2 not in seen


@pytest.mark.parametrize("name", ["scale_by_adam", "scale_by_belief", "scale_by_novograd"])
def test_a_moment_that_keeps_nothing_is_not_stored(name):
    tx, params = optim.get(name, b1=0.0), tree()
    state = tx.init(params)
    assert state.mu is None
    _, state, u = stepped(tx, params, 3)
    assert state.mu is None
    assert finite(u)


def test_adafactor_with_an_offset_is_no_nan():
    params, state, u = stepped(optim.adafactor(0.1, decay_offset=1), tree(), 3)
    assert finite((params, state, u))


def test_sm3_takes_scalars_and_muon_empty_leaves():
    params = {"s": jnp.asarray(1.0), "w": jnp.ones((3, 2)), "empty": jnp.ones((0, 3))}
    for tx in (optim.sm3(0.1), optim.muon(0.1)):
        assert finite(stepped(tx, params, 2))


def test_multi_steps_skips_a_nan_and_keeps_its_partners():
    params = {"w": jnp.zeros(2)}
    tx = optim.MultiSteps(optim.sgd(1.0), 2, nonfinite="skip")
    state = tx.init(params)
    _, state = tx.update({"w": jnp.asarray([1.0, 3.0])}, state, params)
    u, state = tx.update({"w": jnp.asarray([jnp.nan, 1.0])}, state, params)
    np.testing.assert_array_equal(u["w"], [-1.0, -3.0])
    assert finite(state)


@pytest.mark.parametrize(
    "frozen",
    [
        lambda tx, mask: optim.chain(optim.masked(tx, jax.tree.map(lambda m: not m, mask)), optim.freeze(mask)),
        lambda tx, mask: optim.masked(tx, jax.tree.map(lambda m: not m, mask)),
        lambda tx, mask: optim.partition({True: optim.set_to_zero(), False: tx}, mask),
        lambda tx, mask: optim.selective_transform(tx, freeze_mask=mask),
    ],
    ids=["freeze", "masked", "partition", "selective_transform"],
)
def test_frozen_parameters_take_no_memory(frozen):
    params = {"body": jnp.ones(1000), "head": jnp.ones(10)}
    tx = frozen(optim.adam(0.1), {"body": True, "head": False})
    assert sum(x.nbytes for x in jax.tree.leaves(tx.init(params))) < 100


def test_masks_leak_nothing_of_their_own():
    seen = []

    def update(updates, state, params=None):
        seen.append(jax.tree.leaves((updates, params), is_leaf=lambda x: x is None))
        return updates, state

    tx = optim.masked(optim.GradientTransformation(lambda p: (), update), {"w": True, "b": False, "deep": False})
    tx.update(grads(tree()), tx.init(tree()), tree())
    assert all(x is None or isinstance(x, jax.Array) for leaves in seen for x in leaves)
    assert [x is None for x in seen[0]] == [True, True, False] * 2


def test_a_number_put_into_the_hyperparameters_is_an_array_after_one_more_trace():
    tx, params, traces = optim.inject_hyperparams(optim.adam)(0.5), tree(), []

    @jax.jit
    def step(g, s, p):
        traces.append(1)
        return tx.update(g, s, p)

    state = tx.init(params)
    _, state = step(grads(params), state, params)
    state.hyperparams["learning_rate"] = 1
    for _ in range(4):
        _, state = step(grads(params), state, params)
    assert len(traces) == 2
    assert avals(state.hyperparams["learning_rate"]) == [((), jnp.float32, False)]


def test_an_argument_changed_after_the_call_changes_nothing():
    mask = {"w": True, "b": False, "deep": {"s": True}}
    tx = optim.masked(optim.scale(0.0), mask)
    shown = repr(tx)
    mask["b"] = True
    assert repr(tx) == shown
    u, _ = tx.update(tree(), tx.init(tree()))
    np.testing.assert_array_equal(u["b"], tree()["b"])


def test_one_mask_by_path_serves_the_groups_of_a_partition():
    params = {"a": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "b": {"kernel": jnp.ones(2)}}
    mask = optim.label_by_path([("*bias", False), ("a/*", True), ("*", True)])
    groups = {"a": optim.adamw(0.1, mask=mask), "b": optim.adamw(0.2, mask=mask)}
    tx = optim.partition(groups, optim.label_by_path([("a/*", "a"), ("*", "b")]))
    u, _ = tx.update(params, tx.init(params), params)
    assert jax.tree.map(jnp.shape, u) == jax.tree.map(jnp.shape, params)


BOUNDED = [e for e in optim.entries("transformation") if any(r.infinite for r in e.ranges.values())]


@pytest.mark.parametrize("entry", BOUNDED, ids=[entry.name for entry in BOUNDED])
def test_an_infinite_bound_is_none(entry):
    row = next(row for row in ROWS if row.entry is entry)
    params, given = tree(), entry.signature.bind(*row.example.args, **row.example.kwargs).arguments
    for name, allowed in entry.ranges.items():
        if allowed.infinite and name != "curv_rtol":
            both = []
            for bound in (float("inf"), 1e30):
                tx = row.given(entry(**{**given, name: bound}))
                u, _ = tx.update(grads(params), tx.init(params), params)
                assert finite(u), name
                both.append(u)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *both)


def test_a_finite_norm_is_computed_as_such():
    """The squares of 1e20 and of 1e-25 are outside float32."""
    for size in (1e20, 1e-25):
        for dtype in (jnp.float32, jnp.bfloat16):
            g = {"w": jnp.full((3, 4), size, dtype), "b": jnp.full(4, size, dtype)}
            params = jax.tree.map(jnp.ones_like, g)
            norm = size * 4
            assert float(optim.global_norm(g)) == pytest.approx(norm, rel=1e-2)
            for tx in (optim.normalize(), optim.clip_by_global_norm(0.5 * norm), optim.scale_by_trust_ratio()):
                u, _ = tx.update(g, tx.init(params), params)
                expected = {"normalize": 1 / 4, "clip_by_global_norm": size / 2, "scale_by_trust_ratio": 1.0}
                np.testing.assert_allclose(np.asarray(u["w"], np.float64), expected[tx.call.name], rtol=1e-2)


def test_no_row_escapes_the_sweep():
    assert {r.entry.name for r in ROWS} == {e.name for e in optim.entries("transformation")}

"""Groups by path, members made anew, and what a state tells, takes and gives to evaluate with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import ROWS, check_all, close, finite, grads, inexact, tree

LABELS = optim.label_by_path([("*/bias", "no_decay"), ("*", "decay")])


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    """A module: a tree with attributes that can be called."""

    weight: jax.Array
    bias: jax.Array | None

    def __call__(self, x):
        return x @ self.weight + (0 if self.bias is None else self.bias)


@pytest.fixture
def params():
    return {
        "bias": jnp.ones(2),
        "layers": [Layer(jnp.ones((3, 2)), jnp.ones(2)), Layer(jnp.ones((2, 2)), None)],
    }


def grouped(rate=0.1):
    return optim.partition({"decay": optim.adamw(rate, weight_decay=0.5), "no_decay": optim.adam(0.01)}, LABELS)


# Labels


def test_labels_by_path(params):
    labels = LABELS(params)
    assert labels["bias"] == "no_decay"
    assert labels["layers"][0] == Layer("decay", "no_decay")
    assert labels["layers"][1] == Layer("decay", "no_decay")


def test_first_match_wins_and_patterns_cover_classes_and_single_characters():
    params = {"a0": 1.0, "a1": 2.0, "b": {"c": 3.0}}
    label = optim.label_by_path([("a0", 1), ("a?", 2), ("[bc]/c", 3)])
    assert label(params) == {"a0": 1, "a1": 2, "b": {"c": 3}}


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (
            [("*/w", "a")],
            r"label_by_path: no pattern matches 'b'; add a last rule \('\*', label\) for",
        ),
        ([("*", "a"), ("b", "b")], r"pattern 'b' labels no parameter: earlier patterns match all of its paths"),
        ([("biass", "a"), ("*", "b")], r"pattern 'biass' labels no parameter: there are 'b', 'w'; .*allow_unused=True"),
    ],
)
def test_unmatched_and_unused_patterns(rules, sentence):
    with pytest.raises(ValueError, match=sentence):
        optim.label_by_path(rules)({"w": jnp.ones(1), "b": jnp.ones(1)})


def test_unmatched_and_unused_on_request():
    label = optim.label_by_path([("x", 0), ("w", 1)], allow_unmatched=True, allow_unused=True)
    assert label({"w": jnp.ones(1), "b": jnp.ones(1)}) == {"w": 1, "b": None}


def test_a_tree_of_labels_may_be_a_callable_module():
    module = Layer(jnp.ones((3, 2)), jnp.ones(2))
    labels = Layer("frozen", "moved")
    tx = optim.partition({"frozen": optim.set_to_zero(), "moved": optim.sgd(1.0)}, labels)
    u, _ = jax.jit(tx.update)(module, tx.init(module), module)
    np.testing.assert_array_equal(u.weight, 0)
    np.testing.assert_array_equal(u.bias, -1)
    tx = optim.masked(optim.sgd(1.0), Layer(False, True))
    u, _ = tx.update(module, tx.init(module), module)
    np.testing.assert_array_equal(u.weight, 1)
    np.testing.assert_array_equal(u.bias, -1)


def test_labels_as_a_mask_and_through_a_config(params):
    mask = optim.label_by_path([("*/bias", False), ("*", True)])
    tx = optim.adamw(0.1, weight_decay=0.1, mask=mask)
    back = optim.from_config(optim.to_config(tx))
    assert back == tx
    assert hash(back) == hash(tx)
    g = jax.tree.map(jnp.zeros_like, params)
    u, _ = back.update(g, back.init(params), params)
    np.testing.assert_allclose(u["layers"][0].weight, -0.01, rtol=1e-6)
    np.testing.assert_array_equal(u["layers"][0].bias, 0)


def test_no_slots_outside_the_group(params):
    state = grouped().init(params)
    assert state.inner_states["decay"].inner_state[0].mu["bias"] is None
    assert state.inner_states["no_decay"].inner_state[0].mu["layers"][0].weight is None


# Editing


@pytest.mark.parametrize(
    ("tx", "where", "changes", "expected"),
    [
        (optim.adam(0.1), "adam", {"b2": 0.9}, "adam(0.1, b2=0.9)"),
        (optim.adam(0.1), "adam", {"learning_rate": 0.2}, "adam(0.2)"),
        (
            optim.adam(0.1),
            "scale_by_adam",
            {"b2": 0.9},
            "chain(scale_by_adam(0.9, 0.9, 1e-08, 0.0, None, nesterov=False), scale_by_learning_rate(0.1))",
        ),
        (optim.chain(optim.clip(1.0), optim.trace(0.9)), "clip", {"max_delta": 2.0}, "chain(clip(2.0), trace(0.9))"),
        (optim.chain(optim.trace(0.5), optim.trace(0.6)), "trace[1]", {"decay": 0.9}, "chain(trace(0.5), trace(0.9))"),
        (optim.chain(optim.trace(0.5), optim.trace(0.6)), "*/trace", {"decay": 0.9}, "chain(trace(0.9), trace(0.9))"),
        (
            optim.named_chain(("a", optim.scale(1.0)), ("b", optim.scale(1.0))),
            "b/scale",
            {"step_size": 2.0},
            "named_chain(('a', scale(1.0)), ('b', scale(2.0)))",
        ),
        (
            optim.sgd(optim.linear_schedule(0.1, 0.0, 5)),
            "linear_schedule",
            {"end_value": 0.05},
            "sgd(linear_schedule(0.1, 0.05, 5))",
        ),
        (
            optim.inject_hyperparams(optim.adam)(0.1),
            "adam",
            {"b1": 0.5},
            "inject_hyperparams(adam)(0.1, b1=0.5)",
        ),
        (optim.masked(optim.trace(0.5), True), "trace", {"nesterov": True}, "masked(trace(0.5, nesterov=True), True)"),
    ],
    ids=lambda x: x if isinstance(x, str) and "(" not in x else "",
)
def test_replace(tx, where, changes, expected):
    before = repr(tx)
    assert repr(optim.replace(tx, where, **changes)) == expected
    assert repr(tx) == before


def test_replace_a_group_and_by_another(params):
    tx = optim.replace(grouped(), "no_decay/adam", optim.sgd(1.0))
    assert repr(tx.members[1]) == "sgd(1.0)"
    u, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_array_equal(u["bias"], -1)
    tx = optim.replace(grouped(), "decay/scale_by_adam", b2=0.5)
    assert tx.members[0].members[0].call.arguments["b2"] == 0.5
    assert tx.members[1] == optim.adam(0.01)


def test_an_edited_chain_takes_the_old_state():
    params = tree()
    old, new = optim.adam(0.1), optim.replace(optim.adam(0.1), "scale_by_adam", b2=0.5)
    _, state = old.update(grads(params), old.init(params), params)
    u, _ = new.update(grads(params, 1), state, params)
    expected, _ = optim.adam(0.1, b2=0.5).update(grads(params, 1), state, params)
    close(u, expected)


@pytest.mark.parametrize(
    ("where", "arguments", "error", "sentence"),
    [
        ("scale_by_lion", {"b1": 0.5}, KeyError, "there is no 'scale_by_lion' in partition.*; there are adam, adamw, "),
        ("scale_by_adam", {"b1": 0.5}, ValueError, "several 'scale_by_adam': partition/decay/adamw/scale_by_adam, "),
        ("adamw", {"beta2": 0.5}, TypeError, "adamw: no argument 'beta2'; did you mean 'b2'"),
        ("adamw", {"b1": 1.5}, ValueError, r"adamw: b1 must be in \[0, 1\), got 1.5"),
        ("adamw", {}, ValueError, "give the arguments to change, or a transformation to put there"),
    ],
)
def test_replace_errors(where, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        optim.replace(grouped(), where, **arguments)


# Looking inside


def test_inspect(params):
    tx = optim.chain(optim.clip_by_global_norm(1.0), grouped(optim.linear_schedule(0.1, 0.0, 10)))
    state = tx.init(params)
    assert float(optim.inspect(tx, state)["decay/learning_rate"]) == pytest.approx(0.1)
    for _ in range(3):
        _, state = tx.update(params, state, params)
    told = optim.inspect(tx, state)
    assert sorted(told) == ["decay/learning_rate", "no_decay/learning_rate", "step"]
    assert int(told["step"]) == 3
    assert float(told["decay/learning_rate"]) == pytest.approx(0.08)  # what the third update used
    assert told["no_decay/learning_rate"] == 0.01


def test_inspect_inside_jit_is_free():
    tx, params = optim.adam(optim.linear_schedule(0.1, 0.0, 10)), tree()
    state = tx.init(params)
    told = jax.jit(lambda s: optim.inspect(tx, s))(tx.update(params, state, params)[1])
    assert sorted(told) == ["learning_rate", "step"]
    assert float(told["learning_rate"]) == pytest.approx(0.1)
    jaxpr = jax.make_jaxpr(lambda s: optim.inspect(optim.adam(0.1), s))(optim.adam(0.1).init(params))
    assert not jaxpr.eqns


def test_inspect_injected_and_keras():
    params = tree()
    tx = optim.inject_hyperparams(optim.adam)(0.1)
    state = optim.tree.set(tx.init(params), learning_rate=0.5)
    told = optim.inspect(tx, state)
    assert float(told["learning_rate"]) == 0.5
    assert sorted(told) == ["b1", "b2", "eps", "eps_root", "learning_rate", "step"]
    tx = optim.keras.Adam(lr=0.1, decay=1.0)
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(params, state, params)
    told = optim.inspect(tx, state)
    assert float(told["lr"]) == pytest.approx(0.1)
    assert float(told["learning_rate"]) == pytest.approx(0.05)


def test_inspect_sees_through_other_libraries_states(standard_promotion):
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    tx, params = optim.chain(optax.adam(0.1), optim.scale(0.5)), tree()
    _, state = tx.update(params, tx.init(params), params)
    assert int(optim.inspect(tx, state)["step"]) == 1


def test_summary_is_exact():
    params = tree()

    def check(row):
        tx = row.make()
        summary = optim.summary(tx, params)
        shapes = jax.tree.leaves(jax.eval_shape(tx.init, params))
        assert summary.bytes == sum(x.size * x.dtype.itemsize for x in shapes)
        assert len(str(summary).splitlines()) == len(summary.members) + 2

    check_all(ROWS, check, name=lambda row: row.id)


def test_summary_of_groups(params):
    summary = optim.summary(optim.chain(optim.clip(1.0), grouped()), params)
    lines = {m.name: m for m in summary.members}
    adam = lines["chain/partition/no_decay/scale_by_adam"]
    assert adam.parameters == 4  # the two biases
    assert adam.fields == (("count", "int32", 4), ("mu", "float32", 16), ("nu", "float32", 16))
    assert lines["chain/partition/decay/scale_by_adam"].parameters == 10
    assert lines["chain/clip"].grain == "elementwise"
    assert str(summary).splitlines()[-1].split() == ["total", str(summary.bytes)]
    shapes = jax.eval_shape(lambda: params)
    assert optim.summary(grouped(), shapes) == optim.summary(grouped(), params)


def test_eval_params_and_inspect_take_every_state():
    with jax.disable_jit():  # nothing to compile for one step of each
        check_all([r for r in ROWS if r.is_first], check_evaluated_and_inspected, name=lambda row: row.id)


def check_evaluated_and_inspected(row):
    tx, params = row.make(), tree()
    _, state = tx.update(grads(params), tx.init(params), params)
    evaluated = optim.eval_params(tx, state, params)
    assert jax.tree.structure(evaluated) == jax.tree.structure(params)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(evaluated)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(params)
    ]
    assert finite(evaluated)
    told = optim.inspect(tx, state)
    assert all(np.shape(x) == () for x in told.values())
    counts = optim.tree.get_all_with_path(state, "count")
    if counts and "inspect" not in row.entry.exceptions:
        between = told["steps_since_sync"] if isinstance(state, optim.SAMState) else told.get("mini_step", 0)
        assert int(told["step"]) == (0 if between else 1)
    assert all(isinstance(name, str) for name in told)
    assert all(
        inexact(x) or jnp.issubdtype(jnp.asarray(x).dtype, jnp.integer) or x.dtype == bool
        for x in map(jnp.asarray, told.values())
    )

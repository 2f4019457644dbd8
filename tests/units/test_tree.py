"""Reading and setting what a state holds; applying updates; norms; the numbers under them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim import numerics


@pytest.fixture
def params():
    return {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}


def test_get_and_set(params):
    tx = optim.chain(optim.trace(0.9), optim.inject_hyperparams(optim.adam)(0.1))
    state = tx.init(params)
    assert optim.tree.get(state, "learning_rate") == jnp.float32(0.1)
    assert optim.tree.get(state, "count") == 0  # two counters that agree
    assert optim.tree.get(state, "nothing", "default") == "default"
    assert len(optim.tree.get_all_with_path(state, "count")) == 2
    only = optim.tree.get(state, "count", filtering=lambda path, value: "inner_state" in str(path))
    assert only == 0
    changed = optim.tree.set(state, learning_rate=0.5, b1=0.8)
    assert changed[1].hyperparams["learning_rate"] == 0.5
    assert state[1].hyperparams["learning_rate"] == jnp.float32(0.1)
    assert jax.tree.structure(changed) == jax.tree.structure(state)
    moved = optim.tree.set(state, mu=params)
    np.testing.assert_array_equal(optim.tree.get(moved, "mu")["w"], params["w"])


def test_get_and_set_errors(params):
    tx = optim.chain(optim.adam(0.1), optim.adam(0.1))
    state = tx.init(params)
    ahead = (state[0], optim.adam(0.1).update(params, state[1], params)[1])
    with pytest.raises(KeyError, match=r"state\[0\]\[0\].count and state\[1\]\[0\].count differ"):
        optim.tree.get(ahead, "count")
    with pytest.raises(KeyError, match=r"state\[0\]\[0\].count and state\[1\]\[0\].count are being traced, and may"):
        jax.jit(lambda s: optim.tree.get(s, "count"))(state)
    with pytest.raises(KeyError, match="nothing named 'cuont' in the state; did you mean 'count'"):
        optim.tree.set(state, cuont=1)
    with pytest.raises(
        ValueError, match=r"state\[0\]\[0\].count is a scalar, the new value is an array of shape \(2,\)"
    ):
        optim.tree.set(state, count=jnp.ones(2))
    with pytest.raises(ValueError, match=r"state\[0\]\[0\].mu is a tree, the new value is 1.0"):
        optim.tree.set(state, mu=1.0)


def test_get_takes_only_scalars_for_one():
    """Equal arrays are the slots of two transformations: after an update they differ, and the call would fail."""
    key = jax.random.key(0)
    one = {"x": jnp.zeros(2), "name": "adam", "key": key, "none": None, "tree": {"y": 1}}
    states = [one, dict(one, x=jnp.zeros(2), name="".join("adam"))]
    for name in ("x", "tree"):
        with pytest.raises(KeyError, match=rf"state\[0\]\['{name}'\] and state\[1\]\['{name}'\] are several matches"):
            optim.tree.get(states, name)
    assert optim.tree.get(states, "name") == "adam"
    assert optim.tree.get(states, "none", 3) is None
    assert optim.tree.get(states, "key") is key
    assert optim.tree.get([{"n": jnp.int32(2)}, {"n": 2}], "n") == 2
    with pytest.raises(KeyError, match="differ"):
        optim.tree.get([{"n": "adam"}, {"n": "sgd"}], "n")


def test_set_for_a_layer_that_was_added(params):
    state = optim.adam(0.1, mu_dtype=jnp.bfloat16).init(params)
    more = {"w": jnp.ones((3, 2)), "b": np.ones(2), "deep": [jnp.ones(4)]}
    moved = optim.tree.set(state, mu=more, nu=dict(params, w=more["w"]))
    assert jax.tree.structure(moved[0].mu) == jax.tree.structure(more)
    np.testing.assert_array_equal(moved[0].mu["deep"][0], 1)
    assert moved[0].nu["w"].shape == (3, 2)
    same = optim.tree.set(state, mu=dict(params, w=more["w"]))  # of the same structure: the dtypes stay
    assert same[0].mu["w"].dtype == jnp.bfloat16


def test_map_names_the_path_that_differs():
    mistakes = {
        "rest[0]['b']['d'] is not in tree; tree['b']['c'] is not in rest[0]": {"a": 1, "b": {"d": 2}},
        "rest[0]['b'] is a leaf, tree['b'] has entries": {"a": 1, "b": 2},
        "rest[0]['e'] is not in tree": {"a": 1, "b": {"c": 2}, "e": 3},
    }
    for text, other in mistakes.items():
        with pytest.raises(ValueError, match=f"^{re.escape('tree.map: ' + text)}$"):
            optim.tree.map(lambda x, y: x, {"a": 1, "b": {"c": 2}}, other)
        with pytest.raises(
            ValueError, match=f"^{re.escape('tree.cast_like: ' + text.replace('rest[0]', 'other_tree'))}$"
        ):
            optim.tree.cast_like({"a": 1, "b": {"c": 2}}, other)
    assert optim.tree.map(lambda x, y: (x, y), {"a": 1, "n": None}, {"a": {"b": 2}, "n": 3}) == {
        "a": (1, {"b": 2}),
        "n": None,
    }


def test_apply_updates_casts_last():
    """bfloat16 parameters take a float32 update whole: 1 + 2^-9 - 2^-9 rounds once."""
    p = jnp.asarray([1.0, 256.0], jnp.bfloat16)
    u = jnp.asarray([2.0**-7, 1.5], jnp.float32)
    new = optim.apply_updates(p, u)
    assert new.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(new, np.float32), [1.0 + 2**-7, 258.0])
    assert optim.apply_updates({"a": None, "b": 1.0}, {"a": None, "b": None}) == {"a": None, "b": 1.0}


def test_apply_updates_errors(params):
    with pytest.raises(
        ValueError, match=r"^apply_updates: updates\['b'\] has shape \(2, 1\), params\['b'\] has \(2,\)"
    ):
        optim.apply_updates(params, {**params, "b": jnp.ones((2, 1))})
    with pytest.raises(ValueError, match=r"apply_updates: updates\['c'\] is not in params"):
        optim.apply_updates(params, {**params, "c": params["b"]})
    with pytest.raises(ValueError, match=r"updates is complex64, which params of dtype float32 cannot hold"):
        optim.apply_updates(jnp.ones(2), jnp.ones(2, jnp.complex64))
    with pytest.raises(ValueError, match=r"updates\['n'\] is float32, which params\['n'\] of dtype int32 cannot hold"):
        optim.apply_updates({"n": jnp.arange(2)}, {"n": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"updates\['n'\] is an array, params\['n'\] is None"):
        optim.apply_updates({"n": None}, {"n": jnp.ones(2)})


def test_global_norm():
    tree = {"a": jnp.array([3.0 + 0j]), "b": None, "c": jnp.array([4.0], jnp.bfloat16), "d": jnp.zeros(0)}
    assert optim.global_norm(tree) == 5.0
    assert optim.global_norm({}) == 0.0
    assert jax.grad(lambda x: optim.global_norm({"x": x}))(jnp.zeros(3)).tolist() == [0, 0, 0]
    assert optim.global_norm(jnp.full(3, 6e4, jnp.float16)) == pytest.approx(6e4 * 3**0.5, rel=1e-3)


BOUNDED = {
    "clip_by_global_norm": lambda: optim.clip_by_global_norm(1.0),
    "clip_by_block_rms": lambda: optim.clip_by_block_rms(1.0),
    "adaptive_grad_clip": lambda: optim.adaptive_grad_clip(1.0),
    "normalize": optim.normalize,
    "normalize_by_update_norm": optim.normalize_by_update_norm,
    "scale_by_trust_ratio": optim.scale_by_trust_ratio,
    "polyak_sgd": optim.polyak_sgd,
}


@pytest.mark.parametrize("name", BOUNDED)
def test_what_bounds_a_step_bounds_that_of_a_huge_gradient(name):
    """From 2e19 on, the square of a float32 is infinite."""
    tx, p = BOUNDED[name](), jnp.ones(3)
    for size in (1e18, 1e20, 1e30):
        u, _ = tx.update(size * p, tx.init(p), p, value=1.0)
        assert float(jnp.abs(u).max()) <= 1 + 1e-6, size


def test_clip_by_global_norm_at_its_edges():
    tx = optim.clip_by_global_norm(5.0)
    tree = {"a": jnp.array([3.0, jnp.nan]), "b": jnp.array([100.0])}
    u, _ = tx.update(tree, tx.init(tree))
    np.testing.assert_array_equal(u["b"], tree["b"])  # a NaN norm clips nothing, as in Keras
    assert u["a"][0] == 3
    assert np.isnan(u["a"][1])
    at = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    jax.tree.map(np.testing.assert_array_equal, tx.update(at, optim.EmptyState())[0], at)
    two = {"a": jnp.array([6.0]), "b": jnp.array([8.0])}
    assert optim.global_norm(tx.update(two, optim.EmptyState())[0]) == pytest.approx(5.0, rel=1e-6)


def test_counters_saturate():
    top = np.iinfo(np.int32).max
    assert optim.safe_increment(jnp.asarray(top, jnp.int32)) == top
    assert optim.safe_increment(jnp.asarray(3, jnp.int32)) == 4
    assert optim.safe_increment(jnp.asarray(3.0)) == 4.0
    tx = optim.scale_by_adam()
    state = tx.init(jnp.ones(2))._replace(count=jnp.asarray(top, jnp.int32))
    u, state = tx.update(jnp.ones(2), state)
    assert np.isfinite(u).all()
    assert state.count == top


def test_roots_and_ratios():
    assert numerics.root(jnp.float32(-1.0)) == 0
    assert jax.grad(numerics.root)(0.0) == 0
    assert jax.grad(jax.grad(numerics.root))(0.0) == 0
    assert jax.grad(numerics.root)(4.0) == 0.25
    assert numerics.ratio(jnp.float32(0.0), jnp.float32(0.0)) == 0
    assert jax.grad(numerics.ratio, argnums=(0, 1))(0.0, 0.0) == (0, 0)
    assert numerics.root_ratio(jnp.float32(1.0), jnp.float32(4.0), 0.0) == 0.5
    assert numerics.abs_sq(jnp.asarray(3 + 4j, jnp.complex64)) == 25
    assert np.isfinite(numerics.abs_sq(jnp.float32(1e30)))


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**6])
@pytest.mark.parametrize("b", [0.0, 0.5, 0.9, 0.999, 0.9999])
def test_bias_factor(b, t):
    exact = float(-np.expm1(np.float64(t) * np.log(np.float64(b)))) if b else 1.0
    assert float(numerics.bias_factor(b, jnp.asarray(t), jnp.float32)) == pytest.approx(exact, rel=3e-7)
    assert float(numerics.bias_factor(jnp.float32(b), jnp.asarray(t), jnp.float32)) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("t", [1, 2, 5])
@pytest.mark.parametrize("b", [0.0, 0.5, 0.999])
def test_bias_factor_has_a_derivative_where_nothing_is_kept(b, t):
    slope = jax.grad(lambda b: numerics.bias_factor(b, jnp.asarray(t), jnp.float32))(b)
    assert float(slope) == pytest.approx(-t * b ** (t - 1), rel=1e-5)

"""chain, named_chain, masked, partition, inject: what goes in, what comes out, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim


@pytest.fixture
def params():
    return {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}


def test_a_chain_widens_once_and_casts_once():
    """In bfloat16, x / 3 * 3 is x only if nothing is rounded in between; and only two conversions are traced."""
    g = jnp.arange(1, 65).astype(jnp.bfloat16)
    tx = optim.chain(optim.scale(1 / 3), optim.chain(optim.scale(3.0)))
    u, _ = tx.update(g, tx.init(g))
    np.testing.assert_array_equal(u, g)
    rounded = (g * jnp.bfloat16(1 / 3)) * jnp.bfloat16(3.0)
    assert not np.array_equal(rounded, g)
    eqns = jax.make_jaxpr(lambda g: tx.update(g, tx.init(g))[0])(g).jaxpr.eqns
    assert sum(e.primitive.name == "convert_element_type" for e in eqns) == 2


@pytest.mark.skipif(jax.__version_info__ < (0, 10, 2), reason="XLA of before jax 0.10.2 writes the clipped tree")
def test_a_clip_costs_no_memory():
    """clip + AdamW writes no intermediate tree: 4 bytes a parameter for the norm, 40 for the rest, none in between."""
    params = {f"l{i}": jnp.ones((256, 256)) for i in range(8)}
    count = sum(x.size for x in jax.tree.leaves(params))
    tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3))

    def step(params, state, g):
        u, state = tx.update(g, state, params)
        return optim.apply_updates(params, u), state

    args = (params, tx.init(params), params)
    program = jax.jit(step, donate_argnums=(0, 1)).lower(*args).compile()
    memory = program.memory_analysis()
    # The branch that sums at another scale needs a buffer of one leaf on a CPU.
    assert memory.temp_size_in_bytes < 4 * 256 * 256 + 0.01 * count
    assert memory.alias_size_in_bytes >= 12 * count
    # XLA also counts the branch that sums at another scale, which runs only if the first sum overflowed.
    assert program.cost_analysis()["bytes accessed"] < 57.1 * count


def test_members_made_by_hand(params):
    """A plain pair, a bare tuple, and one whose update takes extra arguments by name."""
    seen = {}

    def update(updates, state, params=None, *, value=None):
        seen["value"] = value
        return jax.tree.map(lambda g: 2 * g, updates), state

    plain = optim.GradientTransformation(lambda p: (), lambda u, s, p=None: (jax.tree.map(lambda g: 3 * g, u), s))
    tx = optim.chain(plain, (lambda p: (), update), optim.scale(1.0))
    u, state = tx.update(params, tx.init(params), params, value=7, other=8)
    np.testing.assert_array_equal(u["b"], 6 * params["b"])
    assert seen == {"value": 7}
    assert state == ((), (), optim.EmptyState())
    assert tx.grain is None


def test_grain_is_that_of_the_coarsest():
    assert optim.chain().grain == "elementwise"
    assert optim.adam(0.1).grain == "elementwise"
    assert optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1)).grain == "treewise"
    assert optim.chain(optim.clip_by_global_norm(1.0), optim.centralize()).grain == "leafwise"
    assert optim.chain(optim.adam(0.1), optim.stateless(lambda u, p: u)).grain is None


def test_chain_errors_name_what_is_wrong(params):
    tx = optim.chain(optim.clip(1.0), optim.adam(0.1))
    state = tx.init(params)
    with pytest.raises(ValueError, match=r"^chain: state must be a tuple of 2 entries, one per member, got 1 entries"):
        tx.update(params, state[:1], params)
    with pytest.raises(TypeError, match=r"^chain\[1\] adam: state must be a ScaleByAdamState"):
        tx.update(params, (state[0], (optim.EmptyState(), state[1][1])), params)
    with pytest.raises(TypeError, match=r"^chain: argument 1 must be a transformation .* did you mean adam\(\.\.\.\)"):
        optim.chain(optim.clip(1.0), optim.adam)
    with pytest.raises(ValueError, match=r"^adam: updates\['b'\] has shape \(2, 1\)"):
        optim.adam(0.1).update({**params, "b": jnp.ones((2, 1))}, optim.adam(0.1).init(params), params)
    with pytest.raises(ValueError, match=r"state.mu\['w'\] is not in updates"):
        optim.adam(0.1).update({"b": params["b"]}, optim.adam(0.1).init(params), params)


def test_named_chain(params):
    tx = optim.named_chain(("clip", optim.clip(0.5)), ("adam", optim.adam(0.1)))
    state = tx.init(params)
    assert list(state) == ["clip", "adam"]
    u, state = jax.jit(tx.update)(params, state, params)
    expected, _ = optim.chain(optim.clip(0.5), optim.adam(0.1)).update(
        params, (optim.EmptyState(), optim.adam(0.1).init(params)), params
    )
    jax.tree.map(np.testing.assert_array_equal, u, expected)
    with pytest.raises(ValueError, match=r"state must be a dict with the keys \['clip', 'adam'\]"):
        tx.update(params, {"clip": state["clip"]}, params)


@pytest.mark.parametrize(
    "mask", [{"w": True, "b": False}, lambda p: jax.tree.map(lambda x: x.ndim > 1, p), {"w": np.True_, "b": np.False_}]
)
def test_masked(mask, params):
    tx = optim.masked(optim.adam(0.1), mask)
    state = tx.init(params)
    assert state.inner_state[0].mu["b"] is None
    u, state = jax.jit(tx.update)(params, state, params)
    np.testing.assert_array_equal(u["b"], params["b"])
    np.testing.assert_allclose(u["w"], -0.1 * np.ones((2, 2)), rtol=1e-5)


def test_masks_may_be_prefixes_and_cover_none(params):
    nested = {"a": params, "n": None}
    u, _ = optim.masked(optim.scale(2.0), {"a": True, "n": False}).update(nested, optim.MaskedState(optim.EmptyState()))
    np.testing.assert_array_equal(u["a"]["w"], 2 * params["w"])
    assert u["n"] is None
    by_map = optim.masked(optim.scale(2.0), lambda p: jax.tree.map(lambda _: True, p))
    assert by_map.update(nested, by_map.init(nested))[0]["n"] is None


def test_mask_errors(params):
    with pytest.raises(TypeError, match="mask must be True or False at every leaf, got 'w'"):
        optim.masked(optim.scale(2.0), {"w": "w", "b": True}).init(params)
    with pytest.raises(ValueError, match="mask must be a prefix of the parameters' tree"):
        optim.masked(optim.scale(2.0), {"w": True}).init(params)
    with pytest.raises(TypeError, match="got one being traced"):
        jax.jit(lambda m: optim.masked(optim.scale(2.0), m).init(params))(True)


def test_mask_compatible_extra_args(params):
    def update(updates, state, params=None, *, scale_tree, factor):
        return jax.tree.map(lambda g, s: g * s * factor, updates, scale_tree), state

    inner = optim.GradientTransformation(optim.init_empty_state, update)
    mask = {"w": True, "b": False}
    tx = optim.masked(inner, mask, mask_compatible_extra_args=True)
    u, _ = tx.update(params, tx.init(params), params, scale_tree=jax.tree.map(lambda x: 3 * x, params), factor=2.0)
    np.testing.assert_array_equal(u["w"], 6 * params["w"])
    np.testing.assert_array_equal(u["b"], params["b"])


def test_partition(params):
    labels = {"w": "fast", "b": "slow"}
    tx = optim.partition({"fast": optim.adam(0.1), "slow": optim.sgd(0.01)}, labels)
    state = tx.init(params)
    assert set(state.inner_states) == {"fast", "slow"}
    assert state.inner_states["fast"].inner_state[0].mu["b"] is None
    u, _ = jax.jit(tx.update)(params, state, params)
    np.testing.assert_allclose(u["b"], -0.01 * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(u["w"], -0.1 * np.ones((2, 2)), rtol=1e-5)
    assert optim.multi_transform is optim.partition
    with pytest.raises(ValueError, match=r"params\['b'\] has the label 'slow', transforms has \['fast'\]"):
        optim.partition({"fast": optim.sgd(0.1)}, labels).init(params)


def test_weight_decay_mask(params):
    tx = optim.adamw(0.1, weight_decay=0.5, mask={"w": True, "b": False})
    without = optim.adam(0.1)
    u, _ = tx.update(params, tx.init(params), params)
    v, _ = without.update(params, without.init(params), params)
    np.testing.assert_array_equal(u["b"], v["b"])
    np.testing.assert_allclose(u["w"], v["w"] - 0.1 * 0.5 * params["w"], rtol=1e-6)


def test_inject_takes_schedules_statics_and_foreign_factories(params):
    def factory(learning_rate, power, name, repeat=3):
        assert name == "n"
        assert isinstance(repeat, int)  # what counts something is no hyperparameter
        return optim.stateless(lambda u, p: jax.tree.map(lambda g: -learning_rate * g**power, u))

    tx = optim.inject_hyperparams(factory, static_args=("power",))(optim.linear_schedule(0.1, 0.0, 10), 2, name="n")
    state = tx.init(params)
    assert set(state.hyperparams) == {"learning_rate"}
    for n in range(3):
        u, state = jax.jit(tx.update)(params, state, params)
        np.testing.assert_allclose(u["b"], -(0.1 - 0.01 * n) * np.ones(2), rtol=1e-5)
    assert state.count == 3
    assert state.hyperparams_states["learning_rate"].count == 3

    one = optim.inject_hyperparams(optim.sgd)(learning_rate=1)
    state = optim.tree.set(one.init(params), learning_rate=0.5)
    assert state.hyperparams["learning_rate"] == 0.5
    with pytest.raises(ValueError, match=r"static_args has 'learning_rat'.*did you mean 'learning_rate'"):
        optim.inject_hyperparams(optim.sgd, static_args="learning_rat")
    with pytest.raises(ValueError, match=r"inject_hyperparams\(adam\): b1 must be in \[0, 1\), got 1.5"):
        optim.inject_hyperparams(optim.adam)(0.1, b1=1.5)


def test_inject_with_bfloat16_parameters_keeps_its_hyperparameters():
    """The field's form rounds b2 to 1 and returns NaN."""
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    tx = optim.inject_hyperparams(optim.adam)(learning_rate=0.1)
    state = tx.init(params)
    assert state.hyperparams["b2"] == jnp.float32(0.999)
    for _ in range(3):
        u, state = tx.update(params, state, params)
    assert np.isfinite(np.asarray(u["w"], np.float32)).all()


def test_an_array_of_the_caller_survives_donation(params):
    rate = jnp.asarray(0.1, jnp.float32)
    key = jax.random.key(0)
    tx = optim.chain(optim.inject_hyperparams(optim.sgd)(learning_rate=rate), optim.add_noise(0.1, 0.5, key))
    step = jax.jit(lambda s: tx.update(params, s, params)[1], donate_argnums=0)
    for _ in range(2):
        jax.block_until_ready(step(tx.init(params)))
    assert rate == jnp.float32(0.1)
    assert jax.random.key_data(key).shape == (2,)


def test_a_function_of_the_parameters_gets_all_of_them():
    """A line search on a part of the tree asks for the loss of the whole one."""
    params = {"moved": jnp.asarray([1.0, -2.0]), "fixed": jnp.asarray(3.0)}
    search = optim.chain(optim.sgd(1.0), optim.scale_by_backtracking_linesearch(20))
    labels = {"moved": "search", "fixed": "stay"}
    tx = optim.partition({"search": search, "stay": optim.set_to_zero()}, labels, mask_compatible_extra_args=True)
    hidden = optim.masked(search, {"moved": True, "fixed": False}, mask_compatible_extra_args=True)

    def loss(params):
        return jnp.sum(params["fixed"] * params["moved"] ** 2)

    value, grads = jax.value_and_grad(loss)(params)
    extra = {"value": value, "grad": grads, "value_fn": loss}
    alone = {"moved": params["moved"]}

    def loss_alone(part):
        return loss({**params, **part})

    expected, _ = search.update(
        {"moved": grads["moved"]},
        search.init(alone),
        alone,
        value=value,
        grad={"moved": grads["moved"]},
        value_fn=loss_alone,
    )
    for wrapped in (tx, hidden):
        updates, _ = wrapped.update(grads, wrapped.init(params), params, **extra)
        np.testing.assert_array_equal(updates["moved"], expected["moved"])
        assert float(loss(optim.apply_updates(params, {**updates, "fixed": None}))) < float(value)

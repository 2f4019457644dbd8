"""What a transformation knows of itself: its call, its equals, its config, its place in trees and under jit."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim


def test_print_shows_the_expression():
    assert repr(optim.chain(optim.clip_by_global_norm(1.0), optim.adam(1e-3))) == (
        "chain(clip_by_global_norm(1.0), adam(0.001))"
    )
    assert repr(optim.adamw(optim.linear_schedule(0.1, 0.0, 10), weight_decay=0.5)) == (
        "adamw(linear_schedule(0.1, 0.0, 10), weight_decay=0.5)"
    )
    assert repr(optim.named_chain(("a", optim.identity()))) == "named_chain(('a', identity()))"
    assert repr(optim.scale(jnp.float32(0.5))) == "scale(array(0.5, float32))"
    assert repr(optim.sgd(np.float32(0.5), 0.9, True)) == "sgd(0.5, 0.9, True)"
    assert repr(optim.adam(0.1, mu_dtype=jnp.bfloat16)) == "adam(0.1, mu_dtype=bfloat16)"
    assert repr(optim.inject_hyperparams(optim.adam)(0.1)) == "inject_hyperparams(adam)(0.1)"
    shown = []
    jax.eval_shape(lambda x: shown.append(repr(optim.scale(x))), jnp.float32(1.0))
    assert shown == ["scale(<traced float32[]>)"]


def test_equality_is_that_of_calls():
    assert optim.adam(0.1) == optim.adam(learning_rate=0.1) == optim.adam(0.1, b1=0.9)
    assert hash(optim.adam(0.1)) == hash(optim.adam(learning_rate=0.1, b1=0.9))
    assert optim.adam(1) == optim.adam(1.0)
    assert optim.adam(0.1) != optim.adam(0.2)
    assert optim.adam(0.1) != optim.adamw(0.1)
    assert optim.adam(0.1) != "adam"
    array = jnp.float32(0.1)
    assert optim.adam(array) == optim.adam(jnp.float32(0.1))
    assert hash(optim.adam(array)) == hash(optim.adam(jnp.float32(0.1)))
    assert optim.adam(array) != optim.adam(jnp.float32(0.2))
    assert optim.adam(array) != optim.adam(0.1)
    assert optim.adam(0.1, mu_dtype="bfloat16") == optim.adam(0.1, mu_dtype="bfloat16")
    assert optim.add_noise(0.1, 0.5, jax.random.key(1)) == optim.add_noise(0.1, 0.5, jax.random.key(1))
    assert optim.add_noise(0.1, 0.5, jax.random.key(1)) != optim.add_noise(0.1, 0.5, jax.random.key(2))
    mask = {"w": True, "b": [False, True]}
    assert optim.masked(optim.identity(), mask) == optim.masked(optim.identity(), json.loads(json.dumps(mask)))
    init, update = optim.identity()
    assert optim.GradientTransformation(init, update) == optim.GradientTransformation(init, update)
    assert optim.GradientTransformation(init, update) != optim.identity()


def test_equal_is_equal_in_hash_too():
    """NumPy's float32(0.1) calls itself equal to 0.1, whose hash is another."""
    a, b = optim.adam(np.float32(0.1)), optim.adam(0.1)
    assert a != b
    assert a == optim.adam(float(np.float32(0.1)))
    assert hash(a) == hash(optim.adam(float(np.float32(0.1))))


def test_arguments_that_are_trees_are_compared_leaf_by_leaf():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Tree:
        w: object

    def made(*values):
        return optim.masked(optim.identity(), Tree(np.asarray(values)))

    assert made(1, 2) == made(1, 2)
    assert made(1, 2) != made(1, 3)


def test_the_order_of_a_dict_is_a_part_of_the_call():
    """The states of a monitor are in the order of its measures, so another order is another program."""
    measures = {"now": optim.global_norm, "smooth": optim.measure_with_ema(optim.global_norm, 0.5)}
    told = []
    for names in (["now", "smooth"], ["smooth", "now"]):
        tx = optim.monitor({n: measures[n] for n in names})
        _, state = tx.update(jnp.ones(4), tx.init(jnp.ones(4)))
        told.append(state.measurements)
    assert told[0] == told[1] == {"now": 2, "smooth": 2}


def test_equal_factories_share_a_compiled_step():
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def step(tx, params):
        traces.append(1)
        return tx.update(params, tx.init(params), params)[0]

    for _ in range(3):
        step(optim.chain(optim.clip(1.0), optim.adam(0.1)), jnp.ones(3))
    assert len(traces) == 1
    step(optim.chain(optim.clip(1.0), optim.adam(0.2)), jnp.ones(3))
    assert len(traces) == 2


def test_a_transformation_is_structure_in_a_tree():
    """A container that holds one goes through jit, which sees no function and traces once for equal ones."""
    traces = []

    @jax.jit
    def step(trainer):
        traces.append(1)
        tx, params = trainer["tx"], trainer["params"]
        return {**trainer, "params": optim.apply_updates(params, tx.update(params, tx.init(params), params)[0])}

    for _ in range(2):
        out = step({"tx": optim.keras.SGD(lr=0.1), "params": jnp.ones(2)})
    assert len(traces) == 1
    assert out["tx"] == optim.keras.SGD(lr=0.1)
    assert isinstance(out["tx"], optim.keras.KerasOptimizer)
    assert jax.tree.leaves(optim.adam(0.1)) == []
    init, update = optim.adam(0.1)
    assert callable(init)
    assert callable(update)
    assert isinstance(optim.adam(0.1), tuple)
    changed = optim.adam(0.1)._replace(update=len)
    assert changed.update is len


@pytest.mark.parametrize(
    "tx",
    [
        optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(optim.warmup_cosine_decay_schedule(0.0, 1.0, 5, 50))),
        optim.adamw(0.1, mask={"w": True, "deep": [True, False], "name": True}),
        optim.partition({"a": optim.sgd(0.1), "b": optim.masked(optim.adam(0.1), True)}, {"x": "a", "y": ("b", "a")}),
        optim.inject_hyperparams(optim.adam, static_args=("eps",))(optim.linear_schedule(0.1, 0.0, 3), b1=0.5),
        optim.adam(0.1, mu_dtype=jnp.bfloat16),
        optim.keras.Nadam(lr=0.5, clipnorm=1.0),
        optim.named_chain(("first", optim.trace(0.9)), ("second", optim.scale(-0.1))),
    ],
    ids=lambda tx: tx.call.name if isinstance(tx.call.name, str) else "injected",
)
def test_config(tx):
    config = optim.to_config(tx)
    again = optim.from_config(json.loads(json.dumps(config, allow_nan=False)))
    assert again == tx
    assert optim.to_config(again) == config


def test_config_of_arrays_keys_and_odd_dicts():
    for tx in (
        optim.scale(jnp.float32(0.3)),
        optim.scale(jnp.bfloat16(0.3)),
        optim.add_noise(0.1, 0.5, jax.random.key(3, impl="rbg")),
        optim.piecewise_constant_schedule(0.1, {5: 0.5}),
        optim.partition({1: optim.identity()}, 1),
    ):
        assert optim.from_config(json.loads(json.dumps(optim.to_config(tx)))) == tx


def test_config_errors():
    with pytest.raises(TypeError, match="was made by hand"):
        optim.to_config(optim.GradientTransformation(len, len))
    with pytest.raises(TypeError, match="to_config takes a transformation or schedule, got 3"):
        optim.to_config(3)
    with pytest.raises(
        TypeError,
        match="masked: mask is the function <lambda>, which has no form in JSON; a function that is registered",
    ):
        optim.to_config(optim.masked(optim.identity(), lambda p: True))
    with pytest.raises(TypeError, match=r"chain: argument 1 is .* no form in JSON|was made by hand"):
        optim.to_config(optim.chain(optim.identity(), optim.GradientTransformation(len, lambda u, s, p: (u, s))))
    with pytest.raises(TypeError, match="a config is a dict with a 'name', got 3"):
        optim.from_config(3)
    with pytest.raises(KeyError, match="no factory named 'addam' is registered; did you mean 'adam'"):
        optim.from_config({"name": "addam", "learning_rate": 0.1})
    with pytest.raises(TypeError, match="adam: no argument 'lr'; did you mean 'learning_rate'"):
        optim.from_config({"name": "adam", "lr": 0.1})
    with pytest.raises(TypeError, match="being traced; a config needs a concrete value"):
        jax.jit(lambda x: optim.to_config(optim.scale(x)))(1.0)


def test_register_ones_own():
    @optim.register(optim.example(0.5), name="test_knowledge.halve")
    def halve(factor=0.5, b1=0.9):
        """A transformation of the reader's own."""
        return optim.scale(factor)

    tx = optim.chain(halve(0.25), optim.sgd(0.1))
    assert repr(tx) == "chain(test_knowledge.halve(0.25), sgd(0.1))"
    assert optim.from_config(optim.to_config(tx)) == tx
    with pytest.raises(ValueError, match=r"test_knowledge.halve: b1 must be in \[0, 1\), got 2"):
        halve(b1=2)
    assert halve.__doc__.startswith("A transformation of the reader's own")
    optim.core.registry._entries.pop("test_knowledge.halve")


def test_a_registered_function_has_a_name_in_configs():
    @optim.register(kind="function", name="test_knowledge.matrices")
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    tx = optim.adamw(0.1, mask=matrices)
    config = json.loads(json.dumps(optim.to_config(tx)))
    assert config["mask"] == {"$factory": "test_knowledge.matrices"}
    assert optim.from_config(config) == tx
    tx.init({"w": jnp.ones((2, 2)), "b": jnp.ones(2)})
    optim.core.registry._entries.pop("test_knowledge.matrices")


def test_register_refuses_what_is_not_one():
    @optim.register(name="test_knowledge.bare")
    def bare():
        return (len, len)

    with pytest.raises(TypeError, match=r"test_knowledge.bare: a registered factory must return a GradientTransf"):
        bare()
    optim.core.registry._entries.pop("test_knowledge.bare")
    with pytest.raises(ValueError, match="has an argument 'name', a word that configs need"):
        optim.register(name="test_knowledge.named")(lambda name: optim.identity())


def test_register_refuses_what_is_taken():
    def adam():
        """Not ours."""
        return optim.identity()

    with pytest.raises(ValueError, match="a factory named 'adam' is registered already"):
        optim.register()(adam)

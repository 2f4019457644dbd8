"""Parameters in boxes, as other libraries keep variables; what is no array."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import optim


@jax.tree_util.register_dataclass
@dataclass
class Box:
    value: Any


@jax.tree_util.register_dataclass
@dataclass
class Attention:
    query: Any
    value: Any


PARAMS = {"a": {"kernel": Box(jnp.ones(2)), "bias": Box(jnp.ones(1))}, "b": Attention(jnp.ones(2), jnp.ones(1))}
NAMES = ["a/bias", "a/kernel", "b/query", "b/value"]


def test_a_box_is_no_part_of_a_name():
    assert optim.tree.names(PARAMS) == NAMES
    assert optim.tree.names({"x": Box(None), "y": Box({"value": 1})}) == ["x", "y/value/value"]
    assert optim.tree.names(Box(1.0)) == [""]
    labels = optim.label_by_path([("*/bias", 0), ("*/value", 1), ("*", 2)])(PARAMS)
    assert jax.tree.leaves(labels) == [0, 2, 2, 1]
    tx = optim.trace(0.9)
    assert list(optim.state_dict(tx, tx.init(PARAMS)))[1:] == [f"trace/trace/{name}" for name in NAMES]


def test_a_boxed_scalar_is_told():
    tx = optim.inject_hyperparams(optim.adam)(0.1)
    state = tx.init(PARAMS)
    boxed = state._replace(count=Box(state.count), hyperparams={k: Box(x) for k, x in state.hyperparams.items()})
    told, expected = optim.inspect(tx, boxed), optim.inspect(tx, state)
    assert told.keys() == expected.keys()
    assert told["step"] is state.count
    assert told["learning_rate"] is state.hyperparams["learning_rate"]


@pytest.mark.parametrize("other", [jnp.tanh, "relu", object()], ids=["function", "string", "object"])
def test_what_is_no_array_is_named(other):
    with pytest.raises(TypeError, match=r"^adam: params\['a'\]\['f'\] is .*, expected an array, or None"):
        optim.adam(0.1).init({"a": {"w": jnp.ones(2), "f": other}})

"""Parts of a state that start anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import equal, run, tree

LABELS = optim.label_by_path([("w", "body"), ("*", "head")])


def trained(tx):
    params, state, _ = run(tx, tree(), 3)
    return params, state


def test_a_group():
    tx = optim.partition({"body": optim.adamw(0.1), "head": optim.adamw(0.1)}, LABELS)
    params, state = trained(tx)
    new, fresh = optim.reset(tx, state, params, "head"), tx.init(params)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    equal(new.inner_states["head"], fresh.inner_states["head"])
    equal(new.inner_states["body"], state.inner_states["body"])
    assert int(new.inner_states["body"].inner_state[0].count) == 3
    one = optim.reset(tx, state, params, "body/scale_by_adam")
    assert int(one.inner_states["body"].inner_state[0].count) == 0
    equal(one.inner_states["head"], state.inner_states["head"])


@pytest.mark.parametrize("tx", [optim.adamw(0.1), optim.adafactor(0.1, 2), optim.sm3(0.1), optim.came(0.1)], ids=repr)
def test_some_parameters(tx):
    params, state = trained(tx)
    new = optim.reset(tx, state, params, mask={"w": True, "b": False, "deep": False})
    fresh, marked = tx.init(params), 0
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for (path, x), f, old in zip(
        jax.tree_util.tree_leaves_with_path(new), jax.tree.leaves(fresh), jax.tree.leaves(state), strict=True
    ):
        is_new = "'w'" in jax.tree_util.keystr(path)
        np.testing.assert_array_equal(x, f if is_new else old)
        marked += is_new
    assert marked > 0


def test_the_whole():
    tx = optim.chain(optim.clip(1.0), optim.adam(0.1))
    params, state = trained(tx)
    equal(optim.reset(tx, state, params), tx.init(params))
    inside = jax.jit(lambda s, p: optim.reset(tx, s, p, "adam"))(state, params)
    equal(inside, tx.init(params))


def test_names_that_do_not_fit():
    tx = optim.partition({"body": optim.adamw(0.1), "head": optim.adamw(0.1)}, LABELS)
    params, state = trained(tx)
    with pytest.raises(KeyError, match="reset: there is no 'lion' in "):
        optim.reset(tx, state, params, "lion")
    with pytest.raises(ValueError, match="reset: there are several 'scale_by_adam': "):
        optim.reset(tx, state, params, "scale_by_adam")
    with pytest.raises(ValueError, match="reset: give where or mask, not both"):
        optim.reset(tx, state, params, "head", mask=jnp.asarray(True))

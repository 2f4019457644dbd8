"""Every transformation on packed leaves: the same numbers, or a sentence."""

import jax
import pytest

import optim

from .rows import close, column, equal, grads, run, tree


def every_other(params):
    """The labels that the examples of `masked` and `partition` go by."""
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten([i % 2 for i in range(len(leaves))])


@column("packed", "elementwise", "treewise")
def test_packed_leaves_move_as_leaves_do(row):
    tx, params = row.make(), tree()
    wrapped = row.given(optim.packed(tx, by=every_other))
    plain_params, _, plain_update = run(row.given(tx), params, 3)
    packed_params, _, packed_update = run(wrapped, params, 3)
    same = equal if tx.grain == "elementwise" else close
    same(packed_update, plain_update)
    same(packed_params, plain_params)


@column("packed", "leafwise", where=lambda row: not row.is_alias)  # an alias may mask its rule
def test_rules_on_whole_leaves_refuse_packed_ones(row):
    params = optim.pack(tree())
    with pytest.raises(ValueError, match="packed: tx has a rule on whole leaves, "):
        optim.packed(row.make())
    with pytest.raises(ValueError, match="of packed leaves, but this rule needs whole leaves"):
        row.make().init(params)


@column("packed", "elementwise", "treewise")
def test_packed_parameters_move_as_the_tree_does(row):
    """The same transformation, given parameters and gradients that are packed."""
    tx = row.make()
    params = optim.pack(tree(), by=every_other)
    state = tx.init(params)
    update, _ = row.given(tx).update(optim.pack(grads(params.tree), by=every_other), state, params)
    expected, _ = row.given(tx).update(grads(params.tree), tx.init(params.tree), params.tree)
    same = equal if tx.grain == "elementwise" else close
    same(update.tree, expected)

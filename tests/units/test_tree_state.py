"""Which leaves of a state belong to parameters; places in a state by name and by class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim import tree

from ..every.rows import ROWS, check_all

optax = pytest.importorskip("optax", reason="Optax is a test dependency")

PARAMS = {"param_w": jnp.ones((3, 2)), "param_b": jnp.ones(2), "param_deep": [jnp.ones(()), jnp.ones(4)]}


def labelled(state):
    """What the path of each leaf says: whether it passes an entry of the parameters, or a buffer of packed ones."""
    found = jax.tree_util.tree_flatten_with_path(state)[0]
    return [any(str(getattr(k, "key", "")).startswith(("param_", "float32")) for k in path) for path, _ in found]


def mapped(initable, state, **kwargs):
    """Whether `map_params` takes each leaf for one of a parameter."""
    marked = optim.tree_map_params(initable, lambda _: True, state, transform_non_params=lambda _: False, **kwargs)
    assert jax.tree.structure(marked) == jax.tree.structure(state)
    return jax.tree.leaves(marked)


def test_every_registered_transformation():
    def check(row):
        tx = row.make()
        state = jax.eval_shape(tx.init, PARAMS)
        assert mapped(tx, state) == mapped(tx.init, state) == labelled(state)

    check_all(ROWS, check, name=lambda row: row.id)


EVEN = {"param_w": True, "param_b": False, "param_deep": [True, False]}
LABELS = {"param_w": "a", "param_b": "b", "param_deep": "a"}


def composed(lib):
    yield lib.chain(lib.clip_by_global_norm(1.0), lib.adam(0.1), lib.trace(0.9))
    yield lib.named_chain(("one", lib.adam(0.1)), ("two", lib.sgd(0.1, momentum=0.9)))
    yield lib.masked(lib.adam(0.1), lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
    yield lib.chain(lib.masked(lib.adamw(0.1, mask=EVEN), EVEN), lib.ema(0.9))
    yield lib.partition({"a": lib.adam(0.1), "b": lib.adagrad(0.1)}, LABELS)
    yield lib.partition({"a": lib.adam(0.1), "b": lib.sgd(0.1, 0.9)}, lambda _: LABELS)
    yield lib.inject_hyperparams(lib.adam)(lib.constant_schedule(0.1), b1=0.8)
    yield lib.inject_hyperparams(lib.masked, static_args=("inner", "mask"))(lib.adam(0.1), EVEN)


GROUPS = optim.label_by_path([("param_w", "a"), ("*", "b")])


@pytest.mark.parametrize("i", range(8))
def test_composed(i):
    tx = [*composed(optim)][i]
    state = tx.init(PARAMS)
    assert mapped(tx, state) == labelled(state)
    assert any(labelled(state))


def test_composed_further():
    for tx in (
        optim.partition({"a": optim.adam(0.1), "b": optim.sgd(0.1, 0.9)}, GROUPS),
        optim.chain(optax.scale_by_adam(), optim.masked(optax.trace(0.9), EVEN)),
        optim.chain(optim.adam(0.1), optim.inject_hyperparams(optim.sgd)(0.1, 0.9)),
    ):
        state = tx.init(PARAMS)
        assert mapped(tx, state) == mapped(tx.init, state) == labelled(state)


def test_one_array_is_a_tree():
    """By its values alone nobody could tell a count from a moment of a scalar parameter."""
    tx = optim.adam(0.1)
    state = tx.init(jnp.float32(1))
    out = optim.tree_map_params(tx, lambda m, p: m + p, state, jnp.float32(5))
    assert out[0].mu == out[0].nu == 5
    assert out[0].count == 0


def test_trees_beside_the_parameters():
    specs = {"param_w": "W", "param_b": ("B",), "param_deep": [None, "D"]}
    tx = optim.chain(optim.masked(optim.adam(0.1), EVEN), optim.trace(0.9))
    state = tx.init(PARAMS)
    out = optim.tree_map_params(tx, lambda _, s: (s,), state, specs, transform_non_params=lambda _: "replicated")
    adam = out[0].inner_state[0]
    assert adam.count == "replicated"
    assert adam.mu == adam.nu == {"param_w": ("W",), "param_b": None, "param_deep": [(None,), None]}
    assert out[1].trace == {"param_w": ("W",), "param_b": (("B",),), "param_deep": [(None,), ("D",)]}
    two = optim.tree_map_params(tx, lambda x, s, p: (s, p.shape == x.shape), state, specs, PARAMS)
    assert two[1].trace["param_b"] == (("B",), True)
    assert two[0].inner_state[0].count is state[0].inner_state[0].count
    # `None` is called a leaf here, so f has its say.
    all_of = optim.tree_map_params(tx, lambda _, s: s, state, specs, is_leaf=lambda x: x is None)
    assert all_of[0].inner_state[0].mu == specs


def test_several_leaves_for_a_parameter():
    """A slot may hold a tuple for each parameter: each of its arrays meets the parameter's own."""

    def rule(g, trace):
        return g, trace

    slot = optim.Slot(init=lambda p: (p, p), free=True)
    tx = optim.leafwise(rule, optim.TraceState, trace=slot)
    out = optim.tree_map_params(tx, lambda _, s: s, tx.init({"a": jnp.ones(2), "b": None}), {"a": "A", "b": "B"})
    assert out.trace == {"a": ("A", "A"), "b": None}


def test_map_params_as_optax():
    """The same leaves of the same trees; a masked one is a `MaskedNode` there, which is no leaf."""
    for ours, other in zip(composed(optim), composed(optax), strict=True):
        with jax.numpy_dtype_promotion("standard"):
            state = other.init(PARAMS)
            marked = optax.tree_map_params(other, lambda _: True, state, transform_non_params=lambda _: False)
        assert mapped(ours, ours.init(PARAMS)) == jax.tree.leaves(marked)


def test_map_params_of_a_pair_of_parameters():
    """`lookahead` takes the fast and the slow parameters; its state has the leaves of the fast ones."""
    pair = optim.LookaheadParams.init_synced(PARAMS)
    for tx in (
        optim.lookahead(optim.adam(0.1), 2, 0.5),
        optim.lookahead(optim.chain(optim.clip(1.0), optim.masked(optim.adam(0.1), EVEN)), 2, 0.5, reset_state=True),
    ):
        state = tx.init(pair)
        assert mapped(tx, state) == mapped(tx.init, state) == labelled(state)
        names = {"param_w": "w", "param_b": "b", "param_deep": ["d", "e"]}
        out = optim.tree_map_params(tx, lambda _, name: name, state, names)
        assert {x for x in jax.tree.leaves(out.fast_state) if isinstance(x, str)} >= {"w", "d"}


def test_map_params_errors():
    tx = optim.adam(0.1)
    state = tx.init(PARAMS)
    with pytest.raises(TypeError, match=r"^tree\.map_params: initable must be a transformation or its init, got 1"):
        optim.tree_map_params(1, lambda x: x, state)
    with pytest.raises(ValueError, match=r"^tree\.map_params: state is not one of adam\(0.1\): "):
        optim.tree_map_params(tx, lambda x: x, state[0])
    with pytest.raises(ValueError, match=r"^tree\.map_params: rest\[0\]\['param_b'\] has no counterpart"):
        optim.tree_map_params(tx, lambda x, _: x, state, {"param_w": 1, "param_deep": [1, 1]})


# Places in a state


def test_paths_are_those_of_optax():
    def build(lib):
        return lib.chain(lib.add_noise(1.0, 0.9, 0), lib.inject_hyperparams(lib.adam)(lib.constant_schedule(0.1)))

    ours, theirs = build(optim).init(PARAMS), build(optax).init(PARAMS)
    for key in (
        "count",
        "mu",
        "learning_rate",
        "AddNoiseState",
        "ScaleByAdamState",
        "hyperparams",
        "param_b",
        "nothing",
    ):
        expected = [jax.tree_util.keystr(p) for p, _ in optax.tree_utils.tree_get_all_with_path(theirs, key)]
        assert [jax.tree_util.keystr(p) for p, _ in tree.get_all_with_path(ours, key)] == expected


def test_matches_inside_a_match():
    """Neighbours come before what is inside them, as in Optax, and a match is searched too."""
    nested = {"a": {"b": {"k": 1, "m": {"k": {"k": 2}}}}, "c": {"k": [3, {"k": 4}]}, "k": "x"}
    found = tree.get_all_with_path(nested, "k")
    assert found == optax.tree_utils.tree_get_all_with_path(nested, "k")
    assert [value for _, value in found] == ["x", 1, {"k": 2}, 2, [3, {"k": 4}], 4]
    with pytest.raises(KeyError, match=r"state\['k'\] and state\['k'\]\['k'\] are several matches"):
        tree.get({"k": {"k": 1}}, "k")
    assert tree.set({"k": {"k": 1}}, k={"k": 2}) == {"k": {"k": 2}}


def test_named_tuples_by_their_class():
    tx = optim.chain(optim.scale_by_adam(), optim.trace(0.9), optim.inject_hyperparams(optim.adam)(0.1))
    state = tx.init(PARAMS)
    assert tree.get(state, "TraceState") is state[1]
    (path, found), (inner, _) = tree.get_all_with_path(state, "ScaleByAdamState")
    assert path == (jax.tree_util.SequenceKey(0),)
    assert found is state[0]
    assert inner[1] == tree.NamedTupleKey("InjectStatefulHyperparamsState", "inner_state")

    def outer(path, _):
        return not any(getattr(k, "tuple_name", "") == "InjectStatefulHyperparamsState" for k in path)

    moved = tree.set(state, outer, ScaleByAdamState=state[0]._replace(count=jnp.int32(7)))
    assert moved[0].count == 7
    assert tree.get(moved, "count", filtering=lambda p, v: not outer(p, v)) == 0
    with pytest.raises(KeyError, match=r"state\[0\].count and state\[2\].count differ"):
        tree.get(moved, "count")
    np.testing.assert_array_equal(tree.get(state[1], "TraceState").trace["param_w"], 0)

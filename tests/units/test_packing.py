"""Packed leaves: what goes in comes out, through derivatives, masks, steps and devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec as P

import optim
from optim.tree import packing


def params():
    return {
        "first": {"w": jnp.linspace(-1, 1, 6).reshape(3, 2), "b": jnp.asarray([0.5, -0.25])},
        "half": [jnp.asarray([-0.0, 3.0], jnp.bfloat16), jnp.asarray(2.5, jnp.bfloat16)],
        "z": jnp.asarray([1 + 2j, -3j], jnp.complex64),
        "none": None,
        "steps": jnp.arange(3),
        "large": jnp.ones((5, 6)),
    }


def plain(n=5, shape=(3,)):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for _ in range(n)]


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("max_leaf", [0, 2, 29, 10**6])
def test_the_tree_comes_back_bit_for_bit(max_leaf):
    packed = optim.pack(params(), max_leaf=max_leaf)
    same(packed.tree, params())
    same(jax.jit(lambda packed: packed.tree)(packed), params())
    same(jax.jit(lambda tree: optim.pack(tree, max_leaf=max_leaf).tree)(params()), params())


def test_small_leaves_of_a_dtype_are_one_array():
    packed = optim.pack(params(), max_leaf=29)
    children = dict(zip(packed.layout.names, packed.children, strict=True))
    # Two real numbers for each complex one.
    assert {n: getattr(x, "shape", None) for n, x in children.items()} == {
        "float32": (6 + 2 + 4,),
        "bfloat16": (3,),
        "none": None,
        "steps": (3,),
        "large": (5, 6),
    }
    assert repr(packed).startswith("Packed(8 leaves in float32 (12,), bfloat16 (3,), large (5, 6)")
    assert optim.pack(params(), max_leaf=29).layout is packed.layout


def test_a_large_buffer_divides_evenly():
    """Among threads: its end is no leaf's, and has no gradient."""
    sizes = [2**13, 2**13, 3, 1]
    tree = [jnp.arange(n, dtype=jnp.float32) for n in sizes]
    packed = optim.pack(tree, max_leaf=2**13)
    (buffer,) = packed.children
    assert buffer.shape == (2**14 + packing.EVEN,)
    assert not buffer[sum(sizes) :].any()
    same(packed.tree, tree)
    (gradient,) = jax.tree.leaves(jax.grad(of_packed)(packed))
    assert not gradient[sum(sizes) :].any()
    same(jax.grad(of_packed)(packed).tree, jax.grad(loss)(tree))
    tx, plain_tx = optim.packed(optim.adam(0.1), max_leaf=2**13), optim.adam(0.1)
    state = tx.init(tree)
    update, new = tx.update([*tree[:3], None], state, tree)
    same(update, plain_tx.update([*tree[:3], None], plain_tx.init(tree), tree)[0])
    assert float(optim.tree.get(new, "mu").tree[3][0]) == 0.0


def test_cast_buffers_give_cast_leaves():
    """As mixed precision does in the loss."""
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), optim.pack(plain()))
    same(half.tree, jax.tree.map(lambda x: x.astype(jnp.bfloat16), plain()))


@pytest.mark.parametrize(
    "tree", [{}, [], None, {"a": None}, jnp.ones(3), [jnp.zeros((0, 2)), jnp.zeros(0)], [1.5, 2.5]]
)
def test_trees_with_little_in_them(tree):
    packed = optim.pack(tree)
    same(packed.tree, jax.tree.map(jnp.asarray, tree))
    optim.adam(0.1).init(packed)


@pytest.mark.parametrize("sizes", [(3,), (1, 2, 3, 2), tuple([4] * 70), (0, 2)])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_cutting_keeps_every_bit(sizes, dtype):
    special = [-0.0, 0.0, np.inf, -np.inf, 1e-7, -65504.0]
    vector = jnp.asarray(np.resize(special, sum(sizes)), dtype)
    pieces = jax.jit(lambda x: packing._cut(x, sizes))(vector)
    assert [x.shape for x in pieces] == [(n,) for n in sizes]
    same(jnp.concatenate(pieces), vector)
    assert all(np.isnan(x).all() for x in packing._cut(jnp.full(sum(sizes), np.nan, dtype), sizes))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="its form on other backends is split")
def test_pieces_share_kernels():
    """The compiled program has a kernel for 32 pieces of one size, not one for each."""
    text = (
        jax.jit(lambda x: packing._cut(x, (7,) * 96 + (5,) * 32)).lower(jnp.zeros(7 * 96 + 5 * 32)).compile().as_text()
    )
    entry = text[text.index("ENTRY") :]
    assert len(re.findall(r" fusion\(", entry)) == 4


def loss(tree):
    return sum(jnp.sum(jnp.sin(x) * (i + 1)) for i, x in enumerate(tree))


def of_packed(packed):
    return loss(packed.tree)


def test_derivatives_go_through():
    packed, tree = optim.pack(plain()), plain()
    ones, ones_tree = jax.tree.map(jnp.ones_like, packed), jax.tree.map(jnp.ones_like, tree)
    same(jax.grad(of_packed)(packed).tree, jax.grad(loss)(tree))
    same(jax.jit(jax.grad(of_packed))(packed).tree, jax.jit(jax.grad(loss))(tree))
    same(jax.jvp(of_packed, (packed,), (ones,)), jax.jvp(loss, (tree,), (ones_tree,)))
    product = jax.jvp(jax.grad(of_packed), (packed,), (ones,))[1]
    same(product.tree, jax.jvp(jax.grad(loss), (tree,), (ones_tree,))[1])
    hessian = jax.hessian(of_packed)(packed)
    np.testing.assert_array_equal(np.diagonal(jax.tree.leaves(hessian)[0]), jax.tree.leaves(product)[0])
    two, two_trees = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), (packed, tree))
    batched, expected = jax.vmap(jax.grad(of_packed))(two), jax.vmap(jax.grad(loss))(two_trees)
    same(jax.vmap(lambda packed: packed.tree)(batched), expected)


def test_a_complex_gradient_leads_down():
    """The two real numbers of a complex parameter have the derivatives along them: no conjugate is wanted."""

    def away(tree):
        return sum(jnp.sum(jnp.abs(x - (1 - 2j)) ** 2) for x in tree)

    packed = optim.pack([jnp.zeros(2, jnp.complex64), jnp.ones(1, jnp.complex64)])
    tx = optim.sgd(0.5)
    step = optim.make_step(lambda packed: away(packed.tree), tx)
    packed, _, _ = step(packed, tx.init(packed))
    for x in packed.tree:
        np.testing.assert_allclose(x, np.full(x.shape, 1 - 2j), rtol=1e-6)


def test_a_step_on_packed_parameters_is_the_step_on_their_tree():
    tx = optim.chain(optim.clip(0.5), optim.adamw(optim.warmup_cosine_decay_schedule(0.0, 0.1, 2, 9)))
    traces = []

    def counted(packed):
        traces.append(1)
        return of_packed(packed)

    step, plain_step = optim.make_step(counted, tx), optim.make_step(loss, tx)
    packed, tree = optim.pack(plain()), plain()
    state, plain_state = tx.init(packed), tx.init(tree)
    for _ in range(4):
        packed, state, value = step(packed, state)
        tree, plain_state, expected = plain_step(tree, plain_state)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    for x, y in zip(packed.tree, tree, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)
    assert len(traces) == 1
    assert len(jax.tree.leaves((packed, state))) == 5  # parameters, mu, nu, and two counts


def test_an_update_on_packed_parameters_sees_few_arrays():
    tx = optim.adamw(0.1)
    packed = optim.pack(plain(100))
    update = jax.jit(lambda g, s, p: tx.update(g, s, p))
    equations = update.trace(packed, tx.init(packed), packed).jaxpr.eqns
    few = jax.jit(lambda g, s, p: tx.update(g, s, p)).trace([jnp.ones(300)], tx.init([jnp.ones(300)]), [jnp.ones(300)])
    assert len(equations) == len(few.jaxpr.eqns)


def test_a_leaf_without_gradient_stays_and_so_do_its_slots():
    tx = optim.packed(optim.adam(0.1))
    tree = plain()
    gradients = [g if i != 1 else None for i, g in enumerate(plain())]
    state = tx.init(tree)
    before = optim.tree.get(state, "mu").tree
    for given in (tree, None):
        update, new = tx.update(gradients, state, given)
        assert update[1] is None
        after = optim.tree.get(new, "mu").tree
        same(after[1], before[1])
        expected, _ = optim.adam(0.1).update(gradients, optim.adam(0.1).init(tree), tree)
        same(update, expected)
    update, new = tx.update([None] * 5, state, tree)
    assert update == [None] * 5
    same(optim.tree.get(new, "mu"), optim.tree.get(state, "mu"))


def test_gradients_of_other_dtypes_keep_them():
    tx = optim.packed(optim.trace(0.9))
    tree = [jnp.ones(3, jnp.bfloat16), jnp.ones(2, jnp.bfloat16)]
    gradients = [jnp.full(3, 0.1, jnp.float32), jnp.full(2, 0.1, jnp.bfloat16)]
    update, _ = tx.update(gradients, tx.init(tree), tree)
    same(update, gradients)


def decayed(tree):
    return jax.tree.map(lambda x: x.ndim > 1, tree)


def test_masks_and_labels_speak_of_the_leaves():
    tree = {"w1": jnp.ones((2, 2)), "b1": jnp.ones(2), "w2": jnp.ones((2, 3)), "b2": jnp.ones(3)}
    for tx in (
        optim.adamw(0.1, mask=decayed),
        optim.partition(
            {"decay": optim.adamw(0.1), "rest": optim.adam(0.1)},
            optim.label_by_path([("w*", "decay"), ("*", "rest")]),
        ),
    ):
        expected, _ = tx.update(tree, tx.init(tree), tree)
        wrapped = optim.packed(tx, by=decayed)
        same(wrapped.update(tree, wrapped.init(tree), tree)[0], expected)
        packed = optim.pack(tree, by=decayed)
        assert packed.layout.names == ("float32 False", "float32 True")
        same(tx.update(packed, tx.init(packed), packed)[0].tree, expected)
        with pytest.raises(
            ValueError, match=r"gives params\['b1'\] .* which are packed into one buffer: pack by the same"
        ):
            optim.packed(tx).init(tree)


def test_matrices_may_stay_whole_for_a_rule_that_needs_them():
    """Muon on the large leaves, Adam on the buffers of the small ones."""
    tree = {"w": jnp.eye(4), "b": jnp.ones(2), "c": jnp.ones(3)}
    matrices = {"w": "muon", "b": "adam", "c": "adam"}
    tx = optim.partition({"muon": optim.scale_by_muon(), "adam": optim.scale_by_adam()}, matrices)
    packed = optim.pack(tree, max_leaf=4)
    update, _ = tx.update(packed, tx.init(packed), packed)
    expected, _ = tx.update(tree, tx.init(tree), tree)
    same(update.tree, expected)


def test_what_evaluates_gives_the_tree():
    tx = optim.packed(optim.chain(optim.sgd(0.1), optim.average_params(0.5)))
    tree = plain()
    state = tx.init(tree)
    for _ in range(3):
        update, state = tx.update(plain(), state, tree)
        tree = optim.apply_updates(tree, update)
    inner = optim.chain(optim.sgd(0.1), optim.average_params(0.5))
    other, inner_state = plain(), inner.init(plain())
    for _ in range(3):
        update, inner_state = inner.update(plain(), inner_state, other)
        other = optim.apply_updates(other, update)
    for x, y in zip(optim.eval_params(tx, state, tree), optim.eval_params(inner, inner_state, other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_functions_of_the_parameters_get_their_tree():
    tx = optim.packed(optim.chain(optim.sgd(1.0), optim.scale_by_backtracking_linesearch(10)))
    tree = plain()
    value, gradients = jax.value_and_grad(loss)(tree)
    extra = {"value": value, "grad": gradients, "value_fn": loss}
    update, _ = tx.update(gradients, tx.init(tree), tree, **extra)
    inner = optim.chain(optim.sgd(1.0), optim.scale_by_backtracking_linesearch(10))
    expected, _ = inner.update(gradients, inner.init(tree), tree, **extra)
    for x, y in zip(update, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_data_parallel_steps():
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("i",))
    tx = optim.adam(0.1)

    def shifted(packed, x):
        return loss([leaf + x.sum() for leaf in packed.tree])

    step = optim.make_step(shifted, tx, axis_name="i", donate=False)
    packed = optim.pack(plain())
    there = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(), P("i")), out_specs=P())
    expected = optim.make_step(shifted, tx, donate=False)(packed, tx.init(packed), jnp.ones(2))
    same(jax.jit(there)(packed, tx.init(packed), jnp.ones(2)), expected)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: optim.pack([1.0], max_leaf=1.5), "pack: max_leaf must be an integer >= 0, got 1.5"),
        (lambda: optim.pack([1.0, 2.0], by=["a"]), "pack: by must be a prefix of the parameters' tree"),
        (lambda: optim.packed(optim.chain(optim.clip(1.0), optim.lamb(0.1))), "whole leaves, scale_by_trust_ratio()"),
        (lambda: optim.packed(optim.chain(optim.stateless(lambda u, p: u))), "does not say what its updates depend on"),
        (lambda: optim.lamb(0.1).init(optim.pack(plain())), "lamb: params has the buffer 'float32' of packed leaves"),
        (lambda: optim.leafwise(lambda g: g).init(optim.pack(plain())), "params has the buffer 'float32'"),
    ],
)
def test_wrong_calls_are_told(call, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call()


def test_a_gradient_of_another_shape_is_an_error_that_names_it():
    tx, tree = optim.packed(optim.adam(0.1)), plain(2)
    with pytest.raises(ValueError, match=re.escape("updates[1] has shape (1,), params[1] has (3,)")):
        tx.update([jnp.ones(3), jnp.ones(1)], tx.init(tree), tree)

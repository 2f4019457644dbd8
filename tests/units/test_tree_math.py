"""Arithmetic, reductions, moments, casts and keys of trees: against NumPy, against Optax, on awkward trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim import tree

optax = pytest.importorskip("optax", reason="Optax is a test dependency")


def theirs(name, *args, **kwargs):
    """What Optax computes, which counts on JAX's default promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return getattr(optax.tree_utils, f"tree_{name}")(*args, **kwargs)


def awkward(seed=0, *, numbers=True):
    """Arrays of several shapes and dtypes, a scalar one level down, nothing in two places, a Python number."""
    rng = np.random.default_rng(seed)
    found = {
        "a": jnp.asarray(rng.normal(size=(2, 3)), jnp.float32),
        "deep": [jnp.asarray(rng.normal(), jnp.float32), None, {"none": None}],
        "h": jnp.asarray(rng.normal(size=4), jnp.bfloat16),
        "z": jnp.asarray(rng.normal(size=2) + 1j * rng.normal(size=2), jnp.complex64),
    }
    return {**found, "n": 2.5 + seed} if numbers else found


def without(t, *keys):
    return {k: v for k, v in t.items() if k not in keys}


X, Y, Z = awkward(0), awkward(1), awkward(2)
R, S = without(X, "z"), without(Y, "z")
U, V = without(X, "h"), without(Y, "h")


def same(a, b, rtol=1e-6, atol=1e-7):
    """One structure, dtypes of arrays included, and near values."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if isinstance(y, jax.Array) and not getattr(y, "weak_type", False):
            assert x.dtype == y.dtype
        narrow = getattr(y, "dtype", None) == jnp.bfloat16  # which Optax rounds several times
        np.testing.assert_allclose(plain(x), plain(y), rtol=8e-3 if narrow else rtol, atol=8e-3 if narrow else atol)


def plain(x):
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(x))
    return np.asarray(x, np.complex128)


CALLS = [
    ("add", (X, Y)),
    ("add", (X, Y, Z, X)),
    ("add", ({}, {})),
    ("add", (jnp.float32(1), jnp.float32(2))),
    ("sub", (X, Y)),
    ("mul", (X, Y)),
    ("div", (X, Y)),
    ("div", ({"i": jnp.arange(3)}, {"i": jnp.arange(1, 4)})),
    ("scale", (-1.5, X)),
    ("add_scale", (X, -0.5, Y)),
    ("conj", (X,)),
    ("real", (X,)),
    ("clip", (R, -0.5, 0.75)),
    ("clip", (R, None, 0.5)),
    ("clip", (R,)),
    ("clip", ({"a": X["a"]}, jnp.asarray([0.1, 0.0, -0.1]))),
    ("where", (True, X, Y)),
    ("where", (jnp.asarray(False), X, Y)),
    ("where", (jnp.asarray([True, False, True]), {"a": X["a"]}, {"a": Y["a"]})),
    ("sum", (X,)),
    ("sum", (X, True)),
    ("sum", ({"i": jnp.arange(4, dtype=jnp.int8), "b": jnp.ones(3, bool)},)),
    ("max", (R,)),
    ("min", (R,)),
    ("max", ({"e": jnp.zeros(0), "i": jnp.arange(3)},)),
    ("max", ({},)),
    ("min", ({},)),
    *[("norm", (U, ord, squared)) for ord in (None, 1, 2, "inf", np.inf) for squared in (False, True)],
    ("vdot", (U, V)),
    ("vdot", ({"i": jnp.arange(4)}, {"i": jnp.arange(4)})),
    ("allclose", (X, X)),
    ("allclose", (X, Y)),
    ("allclose", (X, Y, 0.5, 3.0)),
    ("allclose", ({}, {})),
    ("size", (X,)),
    ("size", ({},)),
    ("batch_shape", (X, (2, 1))),
    ("batch_shape", (X,)),
    ("full_like", (X, 3.5)),
    ("full_like", (X, 3, jnp.int32)),
    ("ones_like", (X,)),
    ("zeros_like", (X,)),
    ("zeros_like", (X, jnp.float16)),
    ("cast", (without(X, "n", "z"), jnp.float16)),
    ("cast_like", (awkward(0, numbers=False), jax.tree.map(jnp.real, awkward(1, numbers=False)) | {"z": X["z"]})),
    ("bias_correction", (X, 0.9, jnp.int32(3))),
    ("update_moment", (X, Y, 0.9, 1)),
    ("update_moment", (X, Y, 0.9, 2)),
    ("update_moment", (R, S, 0.9, 3)),
    *[("update_moment_per_elem_norm", (X, theirs("real", Y), 0.9, order)) for order in (1, 2, 3, 4)],
    ("update_infinity_moment", (X, jax.tree.map(jnp.abs, Y), 0.9, 1e-3)),
]


@pytest.mark.parametrize(("name", "args"), CALLS, ids=lambda x: x if isinstance(x, str) else "")
def test_as_optax(name, args):
    same(getattr(tree, name)(*args), theirs(name, *args))


@pytest.mark.parametrize("name", [n for n in dir(optax.tree_utils) if n.startswith("tree_")])
def test_every_name_of_optax_is_here(name):
    if callable(getattr(optax.tree_utils, name)):
        assert getattr(optim.tree_utils, name) is getattr(tree, name.removeprefix("tree_"))


def test_nothing_is_nothing():
    """Where the first tree has nothing, the result has nothing, whatever the others have."""
    x, y = {"a": jnp.ones(2), "b": None}, {"a": jnp.ones(2), "b": {"c": jnp.ones(3)}}
    for name in ("add", "sub", "mul", "div"):
        assert getattr(tree, name)(x, y)["b"] is None
    assert tree.add_scale(x, 2.0, y)["b"] is None
    assert tree.vdot(x, y) == 2
    nothing = {"f": np.zeros(3, jax.dtypes.float0)}
    assert tree.add(nothing, {"f": jnp.ones(3)}) is not nothing
    assert tree.norm(nothing) == 0
    assert tree.size(nothing) == 0


def test_empty_trees():
    for t in ({}, {"a": None}, {"a": jnp.zeros(0)}):
        for ord in (None, 1, 2, "inf"):
            assert tree.norm(t, ord) == 0
        assert tree.sum(t) == tree.vdot(t, t) == 0
        assert tree.allclose(t, t)
        assert tree.max(t) == -jnp.inf == -tree.min(t)
    assert tree.split_key_like(jax.random.key(0), {"a": None}) == {"a": None}
    assert tree.random_like(jax.random.key(0), {}) == {}


PAIRWISE = {
    "add": lambda x, y: tree.add(x, y),
    "sub": tree.sub,
    "mul": tree.mul,
    "div": tree.div,
    "add_scale": lambda x, y: tree.add_scale(x, 2.0, y),
    "where": lambda x, y: tree.where(True, x, y),
    "vdot": tree.vdot,
}


@pytest.mark.parametrize("name", PAIRWISE)
def test_no_broadcasting(name):
    f = PAIRWISE[name]
    x = {"w": [jnp.ones(3)]}
    for other, told in [
        (jnp.ones((3, 1)), r"has shape \(3, 1\), tree_x\['w'\]\[0\] has \(3,\)"),
        (2.0, r"has shape \(\), tree_x\['w'\]\[0\] has \(3,\)"),
        (None, r"is None, tree_x\['w'\]\[0\] is an array"),
        ({"d": jnp.ones(3)}, r"is a dict, tree_x\['w'\]\[0\] is a leaf"),
    ]:
        with pytest.raises(ValueError, match=rf"^tree\.{name}: tree_y\['w'\]\[0\] {told}"):
            f(x, {"w": [other]})
    with pytest.raises(ValueError, match=rf"^tree\.{name}: tree_y\['v'\] is not in tree_x"):
        f(x, {**x, "v": jnp.ones(1)})


def test_other_errors():
    x = {"a": jnp.ones(2), "n": None}
    with pytest.raises(ValueError, match=r"^tree\.add: other_trees\[0\]\['a'\] has shape \(1,\), tree_x\['a'\] has"):
        tree.add(x, x, {"a": jnp.ones(1), "n": None})
    with pytest.raises(ValueError, match=r"^tree\.scale: scalar must be a scalar, got an array of shape \(2,\)"):
        tree.scale(jnp.ones(2), x)
    with pytest.raises(ValueError, match=r"^tree\.where: tree_y\['n'\] is an array, tree_x\['n'\] is None"):
        tree.where(True, x, {"a": jnp.ones(2), "n": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"^tree\.where: condition has shape \(3,\), tree\['a'\] has \(2,\)"):
        tree.where(jnp.ones(3, bool), x, x)
    with pytest.raises(ValueError, match=r"^tree\.allclose: b\['a'\] has shape \(1,\), a\['a'\] has \(2,\)"):
        tree.allclose(x, {"a": jnp.ones(1), "n": None})
    with pytest.raises(ValueError, match=r"^tree\.clip: max_value has shape \(2, 2\), tree\['a'\] has \(2,\)"):
        tree.clip(x, 0.0, jnp.ones((2, 2)))
    with pytest.raises(ValueError, match=r"^tree\.clip: tree is complex64: complex numbers have no order"):
        tree.clip(jnp.ones(2, jnp.complex64))
    with pytest.raises(ValueError, match=r"^tree\.norm: ord must be None, 1, 2 or 'inf', got 3"):
        tree.norm(x, 3)
    with pytest.raises(ValueError, match=r"^tree\.full_like: fill_value must be a scalar, got an array of shape"):
        tree.full_like(x, jnp.ones(2))
    with pytest.raises(ValueError, match=r"^update_moment: moments\['a'\] has shape \(3,\), updates\['a'\] has \(2,\)"):
        tree.update_moment(x, {"a": jnp.ones(3), "n": None}, 0.9, 2)
    with pytest.raises(ValueError, match=r"^update_moment: updates is complex64, which moments of dtype float32"):
        tree.update_moment(jnp.ones(2, jnp.complex64), jnp.ones(2), 0.9, 1)


def test_one_rounding():
    """Narrow leaves meet in float32: 256 + 0.75 + 0.75 is 258, rounded at each step it is 256."""
    x, y = jnp.asarray([256.0], jnp.bfloat16), jnp.asarray([0.75], jnp.bfloat16)
    assert tree.add(x, y, y) == 258
    assert tree.add_scale(x, 2.0, y) == 258
    many = jnp.full(5000, 0.1, jnp.bfloat16)
    exact = 5000 * float(many[0])
    for value in (tree.sum({"a": many}), tree.norm({"a": many}, 1), tree.vdot({"a": many}, {"a": jnp.ones_like(many)})):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, exact, rtol=1e-6)
    assert tree.norm(jnp.full(2, 6e4, jnp.float16), 1) == 2 * float(jnp.float16(6e4))


def test_a_number_meets_every_leaf_in_its_precision(x64):
    """Whatever the number is, the tree keeps its dtypes; only a complex number makes it complex."""
    leaves = [jnp.ones(2, d) for d in (jnp.float64, jnp.float32, jnp.bfloat16)]
    for number in (2, 2.0, np.float64(2), jnp.float32(2), jnp.asarray(2, jnp.float16), jnp.int32(2)):
        for out in (tree.scale(number, leaves), tree.add_scale(leaves, number, leaves)):
            assert [x.dtype for x in out] == [x.dtype for x in leaves]
    assert [x.dtype for x in tree.scale(2j, leaves)] == [jnp.complex128, jnp.complex64, jnp.complex64]


def test_weak_types_stay():
    for out in (
        tree.add({"s": 1.0}, {"s": 2.0}),
        tree.scale(2.0, {"s": 1.0}),
        tree.where(True, {"s": 1.0}, {"s": 2.0}),
    ):
        assert out["s"].weak_type
    assert not tree.add({"s": 1.0}, {"s": jnp.float32(2)})["s"].weak_type


def test_dtype():
    def like(*dtypes):
        return {str(i): jnp.ones(1, d) for i, d in enumerate(dtypes)}

    f16, b16, f32, i32 = jnp.float16, jnp.bfloat16, jnp.float32, jnp.int32
    trees = [like(), like(f32), like(f32, b16), like(b16, f16), like(i32, f16, f32), like(i32, i32)]
    for t in trees:
        for handler in (None, "promote", "highest", "lowest"):
            try:
                expected = theirs("dtype", t, handler)
            except ValueError:
                with pytest.raises(ValueError, match=r"^tree\.dtype: "):
                    tree.dtype(t, handler)
            else:
                assert tree.dtype(t, handler) == expected
    with pytest.raises(ValueError, match=r"^tree\.dtype: tree\['1'\] is bfloat16, tree\['0'\] is float32"):
        tree.dtype(like(f32, b16, f16))
    with pytest.raises(ValueError, match=r"^tree\.dtype: the dtypes bfloat16, float16 have no lowest"):
        tree.dtype(like(f16, b16), "lowest")
    with pytest.raises(ValueError, match=r"^tree\.dtype: mixed_dtype_handler must be one of .*, got 'no'"):
        tree.dtype({}, "no")


def test_derivative_of_norms_at_zero():
    for ord in (None, 1, 2, "inf"):
        for dtype in (jnp.float32, jnp.complex64):
            assert np.isfinite(jax.grad(lambda x, ord=ord: tree.norm({"x": x}, ord))(jnp.zeros(3, dtype))).all()


def test_vdot_is_precise(x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 4)) + 1j * rng.normal(size=(2, 3, 4))
    t, u = {"a": jnp.asarray(x), "b": jnp.asarray(x[0].real)}, {"a": jnp.asarray(y), "b": jnp.asarray(y[0].real)}
    np.testing.assert_allclose(tree.vdot(t, u), np.vdot(x, y) + x[0].real @ y[0].real, rtol=1e-14)


def test_moments_keep_their_dtype():
    g, m = jnp.full(2, 3.0, jnp.bfloat16), jnp.ones(2, jnp.float32)
    assert tree.update_moment(g, m, 0.9, 2).dtype == jnp.float32
    np.testing.assert_allclose(tree.update_moment(g, m, 0.9, 2), 1.8, rtol=1e-6)
    assert tree.update_moment(m, g, 0.9, 2).dtype == jnp.bfloat16
    # A gradient that is not there leaves its moment as it is.
    for name, args in [
        ("update_moment", (2,)),
        ("update_moment_per_elem_norm", (2,)),
        ("update_infinity_moment", (0.1,)),
    ]:
        kept = getattr(tree, name)({"a": None, "b": m}, {"a": {"c": m}, "b": m}, 0.9, *args)
        assert kept["a"]["c"] is m
    # A decay may be traced, an average does not drift.
    out = jax.jit(lambda d: tree.update_moment({"a": g}, {"a": m}, d, 1))(0.9)
    np.testing.assert_allclose(out["a"], 1.2, rtol=1e-6)
    late = tree.bias_correction({"a": m}, 0.999, 1)["a"]
    np.testing.assert_allclose(late, 1000, rtol=3e-7)


def test_keys(x64):
    key = jax.random.key(3)
    target = awkward(0, numbers=False)
    same(tree.split_key_like(key, target), theirs("split_key_like", key, target))
    same(tree.split_key_like(jax.random.PRNGKey(3), target), theirs("split_key_like", jax.random.PRNGKey(3), target))
    same(tree.random_like(key, target), theirs("random_like", key, target))
    whole = {"a": target["a"]}
    same(
        tree.random_like(key, whole, jax.random.rademacher, jnp.int32),
        theirs("random_like", key, whole, jax.random.rademacher, jnp.int32),
    )
    state = {"key": key, "old": jax.random.PRNGKey(0), "n": None, "x": 1.0}
    out = tree.unwrap_random_key_data(state)
    same(out, theirs("unwrap_random_key_data", state))
    assert out["key"].dtype == jnp.uint32


def test_under_jit_and_vmap():
    x, y = awkward(0, numbers=False), awkward(1, numbers=False)

    def f(x, y):
        return tree.add_scale(x, tree.norm(y), tree.where(tree.sum(x).real > 0, x, y)), tree.vdot(x, y)

    same(jax.jit(f)(x, y), f(x, y), rtol=1e-5)
    batch = jax.vmap(f)(tree.batch_shape(x, (2,)), tree.batch_shape(y, (2,)))
    same(jax.tree.map(lambda z: z[1], batch), f(x, y), rtol=1e-5)


# Trees that follow others


def test_incremental_update():
    for step, new, old in [(0.0, X, Y), (0.1, X, Y), (1.0, X, Y), (jnp.float32(0.25), U, V)]:
        same(optim.incremental_update(new, old, step), with_standard(optax.incremental_update, new, old, step))
    old, new = jnp.asarray([1e8], jnp.float32), jnp.asarray([1.0], jnp.float32)
    np.testing.assert_array_equal(optim.incremental_update(new, old, 1), new)
    # The copy keeps its dtype, and what has no fellow stays.
    out = optim.incremental_update({"a": jnp.ones(2), "b": None}, {"a": jnp.zeros(2, jnp.bfloat16), "b": [new]}, 0.5)
    assert out["a"].dtype == jnp.bfloat16
    assert out["b"][0] is new
    np.testing.assert_array_equal(optim.incremental_update(jnp.arange(2), jnp.zeros(2, jnp.int32), 0.5), [0, 0.5])
    with pytest.raises(
        ValueError, match=r"^incremental_update: old_tensors\['a'\] has shape \(1,\), new_tensors\['a'\]"
    ):
        optim.incremental_update({"a": old[:0]}, {"a": old}, 0.5)
    with pytest.raises(
        ValueError, match=r"^incremental_update: a new tensor is complex64, which an old one of dtype fl"
    ):
        optim.incremental_update(jnp.ones(1, jnp.complex64), old, 0.5)


def test_periodic_update():
    step = jax.jit(optim.periodic_update)
    for steps in range(5):
        expected = with_standard(optax.periodic_update, X, Y, jnp.int32(steps), 3)
        same(step(X, Y, steps, 3), expected)
        same(optim.periodic_update(X, Y, jnp.int32(steps), 3), expected)
    out = optim.periodic_update({"a": jnp.ones(2), "b": None}, {"a": jnp.zeros(2, jnp.bfloat16), "b": None}, 0, 2)
    assert out["a"].dtype == jnp.bfloat16
    assert out["a"][0] == 1
    kept = optim.periodic_update({"b": None}, {"b": {"c": jnp.ones(2)}}, 0, 2)
    np.testing.assert_array_equal(kept["b"]["c"], 1)


def with_standard(f, *args):
    with jax.numpy_dtype_promotion("standard"):
        return f(*args)

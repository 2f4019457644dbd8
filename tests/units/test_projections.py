"""Projections: conditions of optimality, other libraries, derivatives, awkward trees."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import optim
from optim import numerics, projections

optax = pytest.importorskip("optax", reason="Optax is a test dependency")

BALLS = ["simplex", "l1_ball", "l1_sphere", "l2_ball", "l2_sphere", "linf_ball"]
SCALES = [1, 0.3, 7.5]


def named(name):
    return getattr(projections, f"projection_{name}")


def theirs(name, *args):
    """What Optax computes, which counts on JAX's default promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return getattr(optax.projections, f"projection_{name}")(*args)


def tree_of(flat):
    """A tree with an array, a scalar one level down, and nothing."""
    return {"a": flat[:3].reshape(3, 1), "b": [None, flat[3]], "c": flat[4:]}


def flat_of(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def points(n=7):
    rng = np.random.default_rng(0)
    yield from rng.normal(size=(6, n)) * np.array([0.05, 0.3, 1.0, 3.0, 1e3, 1.0])[:, None]
    yield np.array([0.5, 0.5, 0.5, -0.5, -0.5, 0.5, 0.5])[:n]  # ties
    yield np.array([2.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0])[:n]


def oracle(name, v, s):
    """By bisection for the threshold, in float64; by the formula for the others."""
    if name == "simplex":
        theta = scipy.optimize.brentq(
            lambda t: np.maximum(v - t, 0).sum() - s, v.min() - s - 1, v.max(), xtol=1e-14, rtol=1e-14
        )
        return np.maximum(v - theta, 0)
    norm = np.linalg.norm(v)
    match name:
        case "l1_ball":
            return v if np.abs(v).sum() <= s else oracle("l1_sphere", v, s)
        case "l1_sphere":
            return oracle("simplex", np.abs(v), s) * np.where(v < 0, -1, 1)
        case "l2_ball":
            return v * min(1, s / norm)
        case "l2_sphere":
            return v * s / norm
        case "linf_ball":
            return np.clip(v, -s, s)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", BALLS)
def test_against_the_definition(name, scale, x64):
    project = jax.jit(named(name))
    for v in points():
        out = project(tree_of(jnp.asarray(v)), scale)
        assert jax.tree.structure(out) == jax.tree.structure(tree_of(v))
        np.testing.assert_allclose(flat_of(out), oracle(name, v, scale), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["simplex", "l1_ball", "l2_ball", "linf_ball"])
def test_nearest_point(name, x64):
    """<v - P v, y - P v> <= 0 for every y of a convex set: here for many of its points, extreme ones among them."""
    rng = np.random.default_rng(1)
    inside = [named(name)(jnp.asarray(y)) for y in rng.normal(size=(20, 4)) * 3]
    inside += [named(name)(jnp.asarray(10.0 * y)) for y in np.eye(4)]
    for v in rng.normal(size=(5, 4)) * 2:
        p = named(name)(jnp.asarray(v))
        assert all(np.dot(v - p, y - p) <= 1e-9 for y in inside)
        np.testing.assert_allclose(named(name)(p), p, rtol=1e-12)


@pytest.mark.parametrize("name", BALLS)
def test_as_optax(name):
    project, other = jax.jit(named(name)), jax.jit(lambda tree, scale: theirs(name, tree, scale))
    for v, scale in itertools.product(points(), SCALES):
        if name.startswith("l1") and 0 in v:
            continue  # Optax lets a zero leave the sphere
        tree = tree_of(jnp.asarray(v, jnp.float32))
        a, b = project(tree, scale), other(tree, scale)
        assert jax.tree.structure(a) == jax.tree.structure(b)
        np.testing.assert_allclose(flat_of(a), flat_of(b), rtol=1e-5, atol=3e-7 * max(1, np.abs(v).max()))


def test_bounds_as_optax():
    v = jnp.asarray([-2.0, -0.5, 0.0, 0.5, 2.0])
    tree = {"a": v, "n": None}
    low, high = {"a": jnp.full(5, -1.0), "n": None}, {"a": 0.25, "n": None}
    for name, args in [("non_negative", ()), ("box", (low, high))]:
        ours = named(name)(tree, *args)
        np.testing.assert_array_equal(ours["a"], theirs(name, tree, *args)["a"])
        assert ours["n"] is None
    np.testing.assert_array_equal(projections.projection_box(v, -1, 0.25), theirs("box", v, -1, 0.25))
    np.testing.assert_array_equal(projections.projection_hypercube(v), theirs("hypercube", v))
    # A number bounds every leaf of a tree, None none.
    np.testing.assert_array_equal(projections.projection_box(tree, -1, 0.25)["a"], np.clip(v, -1, 0.25))
    np.testing.assert_array_equal(projections.projection_box(tree, None, 1.0)["a"], np.minimum(v, 1))
    np.testing.assert_array_equal(projections.projection_hypercube(tree, 0.5)["a"], np.clip(v, 0, 0.5))
    np.testing.assert_array_equal(
        projections.projection_hypercube(tree, {"a": v + 3, "n": None})["a"], np.clip(v, 0, v + 3)
    )


X = {"a": jnp.asarray([1.0, 2.0]), "n": None, "b": jnp.asarray([[3.0]])}
A = {"a": jnp.asarray([1.0, -1.0]), "n": None, "b": jnp.asarray([[2.0]])}


@pytest.mark.parametrize("b", [1.0, 4.0, 10.0, -3.0])
@pytest.mark.parametrize("name", ["hyperplane", "halfspace"])
def test_planes(name, b):
    x, a = flat_of(X), flat_of(A)
    excess = a @ x - b
    if name == "halfspace":
        excess = max(excess, 0)
    ours = jax.jit(named(name))(X, A, b)
    np.testing.assert_allclose(flat_of(ours), x - excess * a / (a @ a), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(flat_of(ours), flat_of(theirs(name, X, A, b)), rtol=1e-6, atol=1e-6)


def test_vector():
    x, a = flat_of(X), flat_of(A)
    ours = projections.projection_vector(X, A)
    np.testing.assert_allclose(flat_of(ours), (a @ x) / (a @ a) * a, rtol=1e-6)
    np.testing.assert_allclose(flat_of(ours), flat_of(theirs("vector", X, A)), rtol=1e-6)
    # Whole numbers may tell the direction, however small or large it is.
    whole = jax.tree.map(lambda y: y.astype(jnp.int32), A)
    for other in (whole, optim.tree.scale(1e-30, A), optim.tree.scale(1e30, A)):
        np.testing.assert_allclose(flat_of(projections.projection_vector(X, other)), flat_of(ours), rtol=1e-6)


def test_complex_trees():
    z = {"z": jnp.asarray([3 + 4j, 0, -1j]), "r": jnp.asarray([2.0])}
    size = np.array([5.0, 0, 1, 2])
    for name in ("l1_ball", "l1_sphere"):
        out = named(name)(z, 4.0)
        assert [x.dtype for x in jax.tree.leaves(out)] == [jnp.float32, jnp.complex64]
        np.testing.assert_allclose(
            np.abs(np.concatenate([out["z"], out["r"]])), oracle("simplex", size, 4.0), rtol=1e-6, atol=1e-6
        )
        np.testing.assert_allclose(np.angle(out["z"]), np.angle(np.where(out["z"] == 0, 0, z["z"])), rtol=1e-6)
    for name in ("l2_ball", "l2_sphere"):
        np.testing.assert_allclose(flat_of(named(name)(z, 2.0)), flat_of(theirs(name, z, 2.0)), rtol=1e-6)
    np.testing.assert_allclose(projections.projection_linf_ball(z, 2.5)["z"], [1.5 + 2j, 0, -1j], rtol=1e-6)


def test_complex_planes():
    """The rest is orthogonal to a: over the complex numbers, over the reals where a leaf is real."""
    z, a = {"z": jnp.asarray([3 + 4j, 0, -1j])}, {"z": jnp.asarray([1j, 2.0, 0])}
    real = {"r": jnp.asarray([2.0])}
    for x, n in ((z, a), (z | real, a | real)):
        along = projections.projection_vector(x, n)
        rest = optim.tree.vdot(n, optim.tree.sub(x, along))
        np.testing.assert_allclose(rest if x is z else rest.real, 0, atol=1e-5)
        np.testing.assert_allclose(flat_of(projections.projection_vector(along, n)), flat_of(along), rtol=1e-5)
        on, half = projections.projection_hyperplane(x, n, 0.5), projections.projection_halfspace(x, n, 0.5)
        np.testing.assert_allclose(optim.tree.vdot(n, half).real, 0.5, atol=1e-5)
        inner = optim.tree.vdot(n, on)
        np.testing.assert_allclose(inner if x is z else inner.real, 0.5, atol=1e-5)


def test_zeros_have_a_place_on_the_sphere():
    np.testing.assert_allclose(projections.projection_l1_sphere(jnp.zeros(4), 2.0), [0.5] * 4)
    np.testing.assert_allclose(projections.projection_l2_sphere(jnp.zeros(4), 2.0), [1.0] * 4)
    # What Optax leaves at zero has to take part.
    out = projections.projection_l1_sphere(jnp.asarray([0.0, 0.5]), 2.0)
    np.testing.assert_allclose(out, [0.75, 1.25], rtol=1e-6)
    np.testing.assert_array_equal(projections.projection_hyperplane(X["a"], jnp.zeros(2), 1.0), X["a"])
    np.testing.assert_array_equal(projections.projection_vector(X["a"], jnp.zeros(2)), [0, 0])


@pytest.mark.parametrize("name", BALLS)
def test_awkward_trees(name):
    project = named(name)
    assert project({}) == {}
    assert project({"n": None}) == {"n": None}
    assert project(jnp.zeros(0)).shape == (0,)
    np.testing.assert_allclose(project(3.0), 1.0)
    np.testing.assert_allclose(project(jnp.asarray([2.0, -1.0]), 0), [0, 0])
    mixed = {"h": jnp.asarray([1.0, -2.0], jnp.bfloat16), "f": jnp.asarray([0.5])}
    wide = project(jax.tree.map(lambda x: x.astype(jnp.float32), mixed))
    out = project(mixed)
    assert out["h"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(out["h"], wide["h"].astype(jnp.bfloat16))
    np.testing.assert_array_equal(out["f"], wide["f"])
    assert np.isnan(project(jnp.asarray([jnp.nan, 1.0]))).any()


@pytest.mark.parametrize(
    ("name", "v", "expected"),
    [
        ("simplex", [1e8, 1e8 - 8, -1e8], [1, 0, 0]),
        ("l1_ball", [1e8, 1e8 - 8, -1e8], [0.5, 0, -0.5]),
        ("l1_sphere", [1e30, 0, -2e30], [0, 0, -1]),
        ("l1_ball", [1e-30, 0, -2e-30], [1e-30, 0, -2e-30]),
        ("l1_sphere", [1e-30, 1e-30, -2e-30], [1 / 3, 1 / 3, -1 / 3]),
        ("l2_ball", [3e30, 0, -4e30], [0.6, 0, -0.8]),
        ("l2_ball", [3e-30, 0, -4e-30], [3e-30, 0, -4e-30]),
        ("l2_sphere", [3e30, 0, -4e30], [0.6, 0, -0.8]),
        ("l2_sphere", [3e-30, 0, -4e-30], [0.6, 0, -0.8]),
    ],
)
def test_large_and_small(name, v, expected):
    """The threshold does not cancel, squares neither overflow nor vanish."""
    np.testing.assert_allclose(named(name)(jnp.asarray(v, jnp.float32)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", BALLS)
def test_derivative(name, x64):
    """Against differences, with respect to the tree and the scale."""
    w, h = jnp.asarray([0.3, -1.0, 2.0]), 1e-6

    @jax.jit
    def f(v, s):
        return jnp.vdot(w, named(name)(v, s))

    slope = jax.jit(jax.grad(f, argnums=(0, 1)))
    for v in np.array([[0.3, -0.1, 1.0], [0.1, 0.2, -0.35], [3.0, -2.0, 0.5]]):
        by_v, by_scale = slope(v, 0.9)
        by_differences = [(f(v + h * e, 0.9) - f(v - h * e, 0.9)) / (2 * h) for e in np.eye(3)]
        np.testing.assert_allclose(by_v, by_differences, atol=1e-7)
        np.testing.assert_allclose(by_scale, (f(v, 0.9 + h) - f(v, 0.9 - h)) / (2 * h), atol=1e-7)


@pytest.mark.parametrize("name", BALLS)
def test_derivative_is_finite_at_zero(name):
    w = jnp.arange(3.0)
    slope = jax.grad(lambda v: named(name)(v) @ w)(jnp.zeros(3))
    assert np.isfinite(slope).all()
    if name.endswith("ball"):
        np.testing.assert_array_equal(slope, w)  # it is inside
    assert np.isfinite(jax.grad(lambda s: named(name)(jnp.zeros(3), s) @ w)(0.5))


@pytest.mark.parametrize("name", BALLS[1:])
def test_derivative_of_complex_trees_is_finite(name):
    def f(v):
        return jnp.sum(numerics.square(named(name)(v) - 1j))

    for v in (jnp.zeros(2, jnp.complex64), jnp.asarray([3 + 4j, 0])):
        assert np.isfinite(jax.grad(f)(v)).all()


def test_derivatives_along_planes():
    w = jnp.arange(3.0)
    for name in ("hyperplane", "halfspace"):
        for b in (0.0, 1.0):
            slopes = jax.grad(lambda x, a, b, name=name: named(name)(x, a, b) @ w, argnums=(0, 1, 2))(w, w * 0, b)
            assert all(np.isfinite(s).all() for s in slopes)


@pytest.mark.parametrize("name", BALLS)
def test_vmap(name):
    v = jnp.asarray([[0.3, -0.2, 1.0], [0.1, 0.2, -0.3]])
    both = jax.vmap(named(name), in_axes=(0, 0))(v, jnp.asarray([1.0, 0.5]))
    each = [named(name)(v[0], 1.0), named(name)(v[1], 0.5)]
    np.testing.assert_allclose(both, each, rtol=1e-6, atol=1e-7)


def test_errors():
    with pytest.raises(ValueError, match=r"^projection_simplex: scale must be >= 0, got -1.0"):
        projections.projection_simplex(jnp.ones(2), -1.0)
    with pytest.raises(
        ValueError, match=r"^projection_simplex: tree\['z'\] has dtype complex64, expected a floating one"
    ):
        projections.projection_simplex({"z": jnp.ones(2, jnp.complex64)})
    with pytest.raises(ValueError, match=r"^projection_l2_ball: tree\['i'\] has dtype int32, expected a floating or"):
        projections.projection_l2_ball({"i": jnp.arange(2)})
    with pytest.raises(ValueError, match=r"^projection_box: lower must be <= upper, got 1 and -1"):
        projections.projection_box(jnp.ones(2), 1, -1)
    with pytest.raises(ValueError, match=r"^projection_box: upper\['b'\] is not in tree"):
        projections.projection_box({"a": 1.0}, 0.0, {"a": 1.0, "b": 1.0})
    with pytest.raises(ValueError, match=r"^projection_box: lower\['a'\] has shape \(1,\), tree\['a'\] has \(2,\)"):
        projections.projection_box({"a": jnp.ones(2)}, {"a": jnp.ones(1)}, 2.0)
    with pytest.raises(ValueError, match=r"^projection_box: tree\['a'\] is complex64: complex numbers have no order"):
        projections.projection_box({"a": jnp.ones(2, jnp.complex64)}, 0.0, 2.0)
    with pytest.raises(ValueError, match=r"^projection_non_negative: tree is complex64: complex numbers have no order"):
        projections.projection_non_negative(jnp.ones(2, jnp.complex64))
    with pytest.raises(ValueError, match=r"^projection_vector: a\['b'\] has shape \(1,\), x\['b'\] has \(1, 1\)"):
        projections.projection_vector(X, {**A, "b": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"^projection_halfspace: b must be a scalar, got an array of shape \(2,\)"):
        projections.projection_halfspace(X, A, jnp.ones(2))

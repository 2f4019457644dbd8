"""Eigenvalues, inverse roots, least squares, norms with a floor: against NumPy and SciPy, and against Optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close_in_size

optax = pytest.importorskip("optax", reason="Optax is a test dependency")


def theirs(f, *args, **kwargs):
    """What Optax computes, which counts on JAX's default promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return f(*args, **kwargs)


def positive(n=4, seed=0):
    a = np.random.default_rng(seed).normal(size=(n, n + 2))
    return a @ a.T


# Power iteration


@pytest.mark.parametrize("sign", [1, -1])
def test_power_iteration(sign, x64):
    matrix = sign * positive()
    values, vectors = np.linalg.eigh(matrix)
    top = np.argmax(np.abs(values))
    for kwargs in ({}, {"key": jax.random.key(7)}, {"v0": jnp.ones(4)}):
        value, vector = optim.power_iteration(jnp.asarray(matrix), error_tolerance=1e-12, num_iters=500, **kwargs)
        np.testing.assert_allclose(value, values[top], rtol=1e-10)
        np.testing.assert_allclose(abs(vectors[:, top] @ np.asarray(vector)), 1, rtol=1e-8)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_power_iteration_step_by_step(steps):
    matrix = jnp.asarray(positive(), jnp.float32)
    ours = optim.power_iteration(matrix, v0=jnp.ones(4), num_iters=steps)
    for a, b in zip(ours, theirs(optax.power_iteration, matrix, v0=jnp.ones(4), num_iters=steps), strict=True):
        close_in_size(a, b, rtol=1e-5, atol=1e-6)


def test_power_iteration_stops_where_optax_does():
    matrix = jnp.asarray(positive(), jnp.float32)
    for tolerance in (1.0, 1e-2):
        ours = optim.power_iteration(matrix, v0=jnp.ones(4), error_tolerance=tolerance)
        other = theirs(optax.power_iteration, matrix, v0=jnp.ones(4), error_tolerance=tolerance)
        for a, b in zip(ours, other, strict=True):
            close_in_size(a, b, rtol=1e-5, atol=1e-6)


def test_power_iteration_of_a_function():
    """A map of trees, in which there may be nothing."""

    def double(t):
        return {"a": 2 * t["a"], "n": t["n"], "b": 3 * t["b"]}

    v0 = {"a": jnp.ones(2, jnp.bfloat16), "n": None, "b": jnp.ones(1)}
    value, vector = jax.jit(functools.partial(optim.power_iteration, double))(v0=v0)
    np.testing.assert_allclose(value, 3, rtol=1e-5)
    assert vector["a"].dtype == jnp.bfloat16
    assert vector["n"] is None
    np.testing.assert_allclose(vector["b"], 1, rtol=1e-5)


def test_power_iteration_at_its_edges():
    value, vector = optim.power_iteration(jnp.zeros((2, 2)), v0=jnp.ones(2))
    assert value == 0
    np.testing.assert_allclose(vector, np.ones(2) / np.sqrt(2), rtol=1e-6)
    assert optim.power_iteration(jnp.asarray([[3]]))[0] == 3
    hermitian = jnp.asarray([[2.0, 1j], [-1j, 2.0]])
    value, vector = optim.power_iteration(hermitian)
    np.testing.assert_allclose(value, 3, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(hermitian) @ np.asarray(vector), 3 * np.asarray(vector), rtol=1e-2)
    with pytest.raises(ValueError, match=r"^power_iteration: matrix must be square, got an array of shape \(2, 3\)"):
        optim.power_iteration(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^power_iteration: v0 is needed where matrix is a function"):
        optim.power_iteration(lambda v: v)


# Inverse roots


@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
def test_inverse_root(p, x64):
    matrix = positive()
    values, vectors = np.linalg.eigh(matrix)
    ridge = 1e-6 * values[-1]
    exact = (vectors * (values + ridge) ** (-1 / p)) @ vectors.T
    root, error = optim.matrix_inverse_pth_root(jnp.asarray(matrix), p, error_tolerance=1e-10)
    close_in_size(root, exact, rtol=1e-7)
    assert error <= 1e-10


@pytest.mark.parametrize("steps", [0, 1, 3, 100])
@pytest.mark.parametrize("p", [1, 2, 4])
def test_inverse_root_step_by_step(p, steps):
    for matrix in (jnp.asarray(positive(), jnp.float32), -jnp.asarray(positive(), jnp.float32)):
        root, error = optim.matrix_inverse_pth_root(matrix, p, num_iters=steps)
        other, other_error = theirs(optax.matrix_inverse_pth_root, matrix, p, num_iters=steps)
        close_in_size(root, other, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(error, other_error, rtol=1e-4, atol=2e-6)


def test_inverse_root_at_its_edges():
    diagonal = jnp.diag(jnp.asarray([100.0, 1.0]))
    root, _ = optim.matrix_inverse_pth_root(diagonal, 2, ridge_epsilon=0.1)
    np.testing.assert_allclose(np.diag(root), [110**-0.5, 11**-0.5], rtol=1e-5)
    one, error = optim.matrix_inverse_pth_root(jnp.asarray([[4.0]]), 2)
    np.testing.assert_allclose(one, [[0.5]], rtol=1e-5)
    assert error.dtype == jnp.float32
    assert np.isfinite(optim.matrix_inverse_pth_root(jnp.zeros((2, 2)), 2)[0]).all()
    for scale in (1e-10, 1e25):
        scaled, _ = optim.matrix_inverse_pth_root(scale * diagonal, 2, ridge_epsilon=0.1)
        close_in_size(scaled * np.float32(scale) ** 0.5, root, rtol=1e-5)
    traced = jax.jit(lambda p: optim.matrix_inverse_pth_root(diagonal, p, ridge_epsilon=0.1)[0])
    np.testing.assert_array_equal(traced(2), root)
    narrow, error = optim.matrix_inverse_pth_root(diagonal.astype(jnp.bfloat16), 2, ridge_epsilon=0.1)
    assert (narrow.dtype, error.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(narrow, root.astype(jnp.bfloat16))
    hermitian = np.array([[2.0, 1j], [-1j, 2.0]])
    root, _ = optim.matrix_inverse_pth_root(jnp.asarray(hermitian), 2)
    np.testing.assert_allclose(np.asarray(root) @ np.asarray(root) @ hermitian, np.eye(2), atol=1e-5)
    with pytest.raises(ValueError, match=r"^matrix_inverse_pth_root: matrix must be square, got an array of shape"):
        optim.matrix_inverse_pth_root(jnp.ones((2, 3)), 2)


# Non-negative least squares


@pytest.mark.parametrize("shape", [(6, 4), (4, 4), (3, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_nnls(shape, seed, x64):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=shape), rng.normal(size=shape[0])
    from scipy.optimize import nnls  # which takes a second to import

    exact, residual = nnls(a, b)
    x = optim.nnls(jnp.asarray(a), jnp.asarray(b), 3000)
    assert (x >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(a @ x - b), residual, rtol=1e-8)
    if shape[0] >= shape[1]:
        np.testing.assert_allclose(x, exact, atol=1e-7)
        other = theirs(optax.nnls, jnp.asarray(a), jnp.asarray(b), 3000)
        np.testing.assert_allclose(x, other, atol=1e-6)


def test_nnls_is_accelerated(x64):
    """On a badly scaled problem, far ahead of plain steps of the same length, and never behind them."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=(8, 5)) * np.array([1, 1, 0.1, 0.1, 0.03])
    b = a @ np.array([1.0, 0, 2, 0, 3])
    gram, right, x = a.T @ a, a.T @ b, np.zeros(5)
    for _ in range(300):
        x = np.maximum(x - (gram @ x - right) / np.linalg.norm(gram), 0)
    fast = optim.nnls(jnp.asarray(a), jnp.asarray(b), 300)
    assert np.linalg.norm(a @ fast - b) < 1e-2 * np.linalg.norm(a @ x - b)


def test_nnls_arguments():
    rng = np.random.default_rng(3)
    a, b = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32), jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    many = optim.nnls(a, b, 200)
    each = [optim.nnls(a, b[:, i], 200) for i in range(3)]
    np.testing.assert_allclose(many, np.stack(each, 1), atol=1e-6)
    np.testing.assert_allclose(optim.nnls(a, b, 200, unroll=4), many, atol=1e-6)
    np.testing.assert_allclose(optim.nnls(a, b, 3, unroll=True), optim.nnls(a, b, 3), atol=1e-6)
    np.testing.assert_allclose(optim.nnls(a, b, 1, L=100.0), np.maximum(a.T @ b, 0) / 100, atol=1e-6)
    np.testing.assert_array_equal(optim.nnls(a, b, 0), np.zeros((4, 3)))
    np.testing.assert_array_equal(optim.nnls(jnp.zeros((2, 2)), jnp.ones(2), 5), [0, 0])
    assert optim.nnls(a.astype(jnp.bfloat16), b, 1).dtype == jnp.float32
    # By the implicit function theorem, on the support the solution moves as that of least squares.
    x = many[:, 0]
    inside = np.asarray(x) > 0
    slope = jax.jacobian(lambda b: optim.nnls(a, b, 500))(b[:, 0])
    np.testing.assert_allclose(slope[inside], np.linalg.pinv(np.asarray(a)[:, inside]), atol=1e-3)
    np.testing.assert_allclose(slope[~inside], 0, atol=1e-6)
    with pytest.raises(
        ValueError, match=r"^nnls: A of shape \(m, n\) and b of shape \(m,\) or .*, got \(6, 4\) and \(4"
    ):
        optim.nnls(a, b[:4], 1)


# Norms with a floor

X = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"axis": 1}, {"axis": 0, "keepdims": True}, {"ord": 1, "axis": 1}, {"ord": jnp.inf}, {"ord": "nuc"}],
    ids=str,
)
@pytest.mark.parametrize("floor", [0.0, 1e-3, 4.5, 10.0])
def test_safe_norm(floor, kwargs):
    ours, other = optim.safe_norm(X, floor, **kwargs), theirs(optax.safe_norm, X, floor, **kwargs)
    np.testing.assert_allclose(ours, other, rtol=1e-6)
    slopes = [
        theirs(jax.grad(lambda x, f=f: jnp.sum(f(x, floor, **kwargs))), X) for f in (optim.safe_norm, optax.safe_norm)
    ]
    assert np.isfinite(slopes[0]).all()
    np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("floor", [0.0, 1e-3, 2.4, 10.0])
def test_safe_root_mean_squares(floor):
    for x in (X, jnp.zeros(3), jnp.asarray([1 + 1j, 2])):
        ours, other = optim.safe_root_mean_squares(x, floor), theirs(optax.safe_root_mean_squares, x, floor)
        np.testing.assert_allclose(ours, other, rtol=1e-6)
        assert np.isfinite(jax.grad(lambda x: optim.safe_root_mean_squares(x, floor))(x)).all()


def test_floors_at_their_edges():
    for f in (optim.safe_norm, optim.safe_root_mean_squares):
        assert f(jnp.zeros(0), 0.5) == 0.5
        assert np.isnan(f(jnp.asarray([jnp.nan, 1.0]), 0.5))
        wide = f(jnp.full(4, 6e4, jnp.float16), 0.0)
        assert wide.dtype == jnp.float32
        assert np.isfinite(wide)
        assert f(2.0, jnp.float32(0.5)) == 2
        assert jax.jit(f)(jnp.ones(1), 3.0) == 3
    np.testing.assert_array_equal(optim.safe_norm(jnp.zeros((0, 2)), 0.5, axis=0), [0.5, 0.5])

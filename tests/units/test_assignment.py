"""Assignments against SciPy, and what has no best assignment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import optim

solve = optim.assignment.hungarian_algorithm
SHAPES = [(1, 3), (4, 7), (12, 5), (12, 12)]


def matrices(shape):
    """Random ones, negative ones, ties, few distinct numbers, far apart, and all equal."""
    rng = np.random.default_rng(0)
    yield from rng.normal(size=(8, *shape))
    yield from rng.uniform(-9, -1, size=(4, *shape))
    yield from rng.integers(-2, 3, size=(16, *shape))
    yield from rng.integers(0, 2, size=(8, *shape))
    yield from rng.normal(size=(4, *shape)) * 10.0 ** rng.integers(-3, 4, size=shape)
    yield np.zeros(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_scipy(shape):
    costs = np.stack(list(matrices(shape))).astype(np.float32)
    rows, columns = jax.jit(jax.vmap(solve))(costs)
    for cost, i, j in zip(costs, np.asarray(rows), np.asarray(columns), strict=True):
        assert i.shape == j.shape == (min(shape),)
        assert (np.diff(i) > 0).all()
        assert len(set(j)) == len(j)
        best = cost[scipy.optimize.linear_sum_assignment(cost)].sum(dtype=np.float64)
        np.testing.assert_allclose(cost[i, j].sum(dtype=np.float64), best, rtol=1e-6, atol=1e-6)


def test_integers_are_exact():
    """Numbers that float32 would round, and whose best assignments differ by one."""
    rng = np.random.default_rng(1)
    costs = (2**27 - 40 + rng.integers(0, 40, size=(20, 4, 7))).astype(np.int32)
    rows, columns = jax.vmap(solve)(costs)
    for cost, i, j in zip(costs, np.asarray(rows), np.asarray(columns), strict=True):
        best = cost[scipy.optimize.linear_sum_assignment(cost)].sum(dtype=np.int64)
        assert cost[i, j].sum(dtype=np.int64) == best


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (5, 0)], ids=str)
def test_empty(shape):
    i, j = solve(jnp.zeros(shape))
    assert i.shape == j.shape == (0,)
    assert i.dtype == j.dtype == jnp.int32


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("cost", "columns"),
    [
        ([[INF, 1], [2, INF]], [1, 0]),
        ([[NAN, 9], [9, NAN]], [1, 0]),
        ([[0, INF], [1, 5]], [0, 1]),  # the cheapest pair of the second row is taken
        ([[INF, 1], [INF, 2]], [1, 0]),  # one forbidden pair, not two
        ([[INF, INF], [INF, INF]], [0, 1]),
        ([[1, 2], [-INF, 3]], [1, 0]),
        ([[-INF, 0], [-5, INF]], [1, 0]),  # no -inf at the price of a forbidden pair
        ([[-INF, 1e6], [-1e6, 0]], [0, 1]),
    ],
    ids=str,
)
def test_forbidden_and_free_pairs(cost, columns):
    i, j = solve(jnp.asarray(cost, jnp.float32))
    assert (i.tolist(), j.tolist()) == ([0, 1], columns)


def test_half_precision():
    """Sums of costs that float16 cannot tell apart."""
    cost = jnp.asarray([[2048, 1], [2049, 1]], jnp.float16) * jnp.asarray(1, jnp.float16)
    i, j = solve(cost)
    assert float(jnp.asarray(cost, jnp.float32)[i, j].sum()) == 2049


def test_both_names_and_the_derivative_of_the_cost():
    assert optim.assignment.base_hungarian_algorithm is solve
    cost = jnp.asarray([[1.0, 2.0], [1.0, 3.0]])
    grad = jax.grad(lambda c: c[solve(c)].sum())(cost)
    np.testing.assert_array_equal(grad, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("cost", "sentence"),
    [
        (np.ones(3), "hungarian_algorithm: cost_matrix must be a matrix, got an array of shape"),
        (np.ones((2, 2), complex), "hungarian_algorithm: cost_matrix must be real, got complex"),
    ],
    ids=["vector", "complex"],
)
def test_mistakes(cost, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        solve(cost)

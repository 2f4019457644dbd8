"""Linear algebra by iteration: the largest eigenvalue, inverse roots of matrices, non-negative least squares."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, numerics, tree
from ..types import Array, Scalar, Tree


@numerics.mixing("power_iteration")
def power_iteration(
    matrix: Array | Callable[[Tree], Tree],
    *,
    v0: Tree = None,
    num_iters: Scalar = 100,
    error_tolerance: Scalar = 1e-06,
    precision: lax.Precision = lax.Precision.HIGHEST,
    key: Array | None = None,
) -> tuple[Array, Tree]:
    """Find the eigenvalue of largest magnitude of a symmetric linear map, and its eigenvector.

        v <- A v / |A v|,   lambda = <v, A v>,   until |A v - lambda v| <= error_tolerance |lambda|

    Args:
      matrix: a square matrix, or a linear function of trees like v0.
      v0: initial vector; None, for a matrix only, draws a random one.
      num_iters: largest number of steps. Usually 100.
      error_tolerance: relative residual at which the iteration stops, >= 0. Usually 1e-6.
      precision: precision of the products with a matrix.
      key: PRNG key for the random vector; None takes key 0.
    Returns: the eigenvalue and the eigenvector of norm 1.
    Raises:  ValueError for a matrix that is not square, and for a function without v0.
    Source:  Golub & Van Loan, Matrix Computations, 8.2.1.
    Differs: a zero map has the eigenvalue 0 and an arbitrary vector, where Optax returns NaN.
    """
    if callable(matrix):
        if v0 is None:
            checks.fail("v0 is needed where matrix is a function: it determines the structure of its argument")
        times = matrix
    else:
        matrix = _square(matrix)
        wide = matrix.astype(numerics.wide_dtype(matrix.dtype))
        if v0 is None:
            key = jax.random.key(0) if key is None else key
            v0 = jax.random.uniform(key, matrix.shape[:1], numerics.real_dtype(wide.dtype), -1.0, 1.0)
        v0 = jnp.asarray(v0, wide.dtype)

        def times(v: Tree) -> Tree:
            return _product(wide, v, precision)

    def unit(v: Tree, otherwise: Tree) -> Tree:
        size = tree.norm(v)
        return tree.where(size > 0, tree.scale(numerics.ratio(jnp.ones_like(size), size), v), otherwise)

    def applied(v: Tree) -> Tree:
        return tree.cast_like(times(tree.cast_like(v, v0)), start)

    def step(carry: Any) -> Any:
        i, v, value, _ = carry
        moved = applied(v)
        value = tree.vdot(v, moved).real.astype(value.dtype)
        error = tree.norm(tree.add_scale(moved, -value, v))
        return i + 1, unit(moved, v), value, error > error_tolerance * jnp.abs(value)

    def unfinished(carry: Any) -> Any:
        i, _, _, moving = carry
        return (i < num_iters) & moving

    start = tree.widen(v0)
    first = unit(start, start)
    first = unit(applied(first), first)
    value = jnp.zeros((), numerics.real_dtype(tree.vdot(first, first).dtype))
    begin = (jnp.zeros((), jnp.int32), first, value, jnp.asarray(True))
    _, vector, value, _ = lax.while_loop(unfinished, step, begin)
    return value, tree.cast_like(vector, v0)


def _square(matrix: Any) -> Array:
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        checks.fail(f"matrix must be square, got {checks.shown(matrix)}")
    out: Array = matrix if jnp.issubdtype(matrix.dtype, jnp.inexact) else matrix.astype(numerics.scalar_dtype())
    return out


def _product(a: Array, b: Array, precision: lax.Precision = lax.Precision.HIGHEST) -> Array:
    out: Array = jnp.matmul(a, b, precision=precision)
    return out


@numerics.mixing("matrix_inverse_pth_root")
def matrix_inverse_pth_root(
    matrix: Array,
    p: int,
    num_iters: Scalar = 100,
    ridge_epsilon: Scalar = 1e-06,
    error_tolerance: Scalar = 1e-06,
    precision: lax.Precision = lax.Precision.HIGHEST,
) -> tuple[Array, Array]:
    """Compute A^(-1/p) of a symmetric positive semi-definite matrix, and the residual of the iteration.

        A <- A + ridge_epsilon lambda_max I,   z = (1 + p) / (2 |A|_F),   M = z A,   H = z^(1/p) I
        T = ((p + 1) I - M) / p,   M <- T^p M,   H <- H T,   until max |M - I| <= error_tolerance

    It computes in at least float32. A step that increases the residual ends the iteration and is discarded.

    Args:
      matrix: a square matrix.
      p: a positive integer, traced or not.
      num_iters: largest number of steps. Usually 100.
      ridge_epsilon: added to the eigenvalues, relative to the largest, >= 0. Usually 1e-6.
      error_tolerance: residual at which the iteration stops, >= 0. Usually 1e-6.
      precision: precision of the matrix products.
    Raises:  ValueError if the matrix is not square.
    Source:  Guo & Higham 2006, the coupled Newton iteration (3.8); Anil et al. 2020 for the ridge and z.
    Differs: the zero matrix has a finite root, that of a ridge of ridge_epsilon times 1e-16, where Optax returns NaN.
    """
    matrix = _square(matrix)
    dtype = numerics.wide_dtype(matrix.dtype)
    real = numerics.real_dtype(dtype)
    eye = jnp.eye(matrix.shape[0], dtype=dtype)
    wide = matrix.astype(dtype)

    def off(m: Array) -> Array:
        return jnp.max(jnp.abs(m - eye), initial=0)

    def step(carry: Any) -> Any:
        i, m, h, error, _ = carry
        t = eye + numerics.scaled(eye - m, 1 / order)
        m = _product(_power(t, p, precision), m, precision)
        new = off(m)
        better = new < 1.2 * error
        return i + 1, m, jnp.where(better, _product(h, t, precision), h), new, better

    def unfinished(carry: Any) -> Any:
        i, _, _, error, better = carry
        return (i < num_iters) & (error > error_tolerance) & better

    order = jnp.asarray(p, real)
    least = 1e-16
    size = jnp.maximum(jnp.max(jnp.abs(wide), initial=0), least)  # so that no norm overflows or vanishes
    wide = numerics.scaled(wide, 1 / size)
    largest, _ = power_iteration(wide, precision=precision)
    ridge = numerics.like(wide, ridge_epsilon) * jnp.maximum(largest, least / size)
    damped = wide + numerics.scaled(eye, ridge)
    z = (1 + order) / (2 * jnp.linalg.norm(damped))
    m = numerics.scaled(damped, z)
    start = (jnp.zeros((), jnp.int32), m, numerics.scaled(eye, z ** (1 / order)), off(m), jnp.asarray(True))
    _, _, h, error, _ = lax.while_loop(unfinished, step, start)
    return numerics.scaled(h, size ** (-1 / order)).astype(matrix.dtype), error


def _power(t: Array, p: Any, precision: lax.Precision) -> Array:
    """t^p by repeated squaring, for an integer p that may be traced."""

    def step(carry: Any) -> Any:
        left, result, square = carry
        result = numerics.branch(left % 2 == 1, lambda: _product(result, square, precision), lambda: result)
        return left // 2, result, _product(square, square, precision)

    eye = jnp.eye(t.shape[0], dtype=t.dtype)
    _, result, _ = lax.while_loop(lambda carry: carry[0] > 0, step, (jnp.asarray(p, jnp.int32), eye, t))
    return result


@numerics.mixing("nnls")
def nnls(A: Array, b: Array, iters: int, unroll: int | bool = 1, L: Scalar | None = None) -> Array:  # noqa: N803
    """Minimise |A x - b|^2 / 2 over x >= 0, by accelerated projected gradient steps.

        x' = max(y - (A^T A y - A^T b) / L, 0),   y' = x' + (t - 1) / t' (x' - x),   t' = (1 + sqrt(1 + 4 t^2)) / 2

    If the momentum points uphill, <y - x', x' - x> > 0, it is dropped and t restarts at 1. The result is
    differentiable.

    Args:
      A: of shape (m, n).
      b: of shape (m,), or (m, k) for k problems at once.
      iters: number of steps.
      unroll: number of steps per iteration of the loop, True for all.
      L: upper bound on the largest eigenvalue of A^T A; None takes the Frobenius norm of A^T A.
    Raises:  ValueError for shapes that do not fit.
    Source:  Beck & Teboulle 2009, FISTA; O'Donoghue & Candes 2015, Sec. 3.2, for the restart.
    """
    A, b = jnp.asarray(A), jnp.asarray(b)  # noqa: N806
    if A.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != A.shape[0]:
        checks.fail(f"A of shape (m, n) and b of shape (m,) or (m, k) are needed, got {A.shape} and {b.shape}")
    dtype = numerics.common_dtype(A.dtype, b.dtype)
    wide = numerics.wide_dtype(dtype)
    A, b = A.astype(wide), b.astype(wide)  # noqa: N806
    gram, right = _product(A.T, A), _product(A.T, b)
    bound = jnp.linalg.norm(lax.stop_gradient(gram)) if L is None else jnp.asarray(L, wide)
    rate = numerics.ratio(jnp.ones_like(bound), bound)

    def step(_: Any, carry: Any) -> Any:
        x, y, t = carry
        new = jnp.maximum(y - rate * (_product(gram, y) - right), 0)
        uphill = jnp.sum((y - new) * (new - x), axis=0) > 0
        t = jnp.where(uphill, 1, t)
        ahead = (1 + jnp.sqrt(1 + 4 * t * t)) / 2
        return new, new + jnp.where(uphill, 0, (t - 1) / ahead) * (new - x), ahead

    x = jnp.zeros(right.shape, wide)
    t = jnp.ones(right.shape[1:], wide)
    result: Array = lax.fori_loop(0, iters, step, (x, x, t), unroll=unroll)[0]
    return result.astype(dtype)

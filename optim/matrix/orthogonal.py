"""The orthogonal matrix nearest to a matrix: by Newton-Schulz iteration, whose coefficients have names, or exactly."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..numerics import convert, is_complex, like, norm, ratio, root
from ..types import Array, DType, Scalar

Preconditioning = Literal["frobenius", "spectral", "aol", "schatten"]
_PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")

JORDAN = (3.4445, -4.7750, 2.0315)
_QUINTIC = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
COEFFICIENTS: dict[str, Any] = {
    "jordan": JORDAN,
    "quintic": _QUINTIC,
    "polar_express": (
        (8.2051, -22.9019, 16.4607),
        (4.0664, -2.8612, 0.5184),
        (3.9096, -2.8234, 0.5250),
        (3.2856, -2.4153, 0.4853),
        (2.2779, -1.6198, 0.3985),
    ),
    "cans": (
        (8.4703, -25.1081, 18.6293),
        (4.1828, -3.1087, 0.5806),
        (3.9619, -2.9541, 0.5630),
        (3.2866, -2.4647, 0.5074),
        (2.2737, -1.6447, 0.4162),
    ),
    "deepseek": (*[(3.4445, -4.7750, 2.0315)] * 8, *[(2.0, -1.5, 0.5)] * 2),
    "standard": JORDAN,  # as the next two, Optax's name
    "muon": JORDAN,
    "dion": _QUINTIC,
}
_RESTART = 2
"""The Gram form rounds too much, if it does not return to the matrix after its first iterations."""


def coefficients_of(ns_coeffs: Any) -> np.ndarray[Any, Any]:
    """Coefficients by name or as numbers: (a, b, c), or a row of these for each step."""
    if isinstance(ns_coeffs, str):
        checks.choice("ns_coeffs", ns_coeffs, COEFFICIENTS)
        ns_coeffs = COEFFICIENTS[ns_coeffs]
    try:
        coefficients = np.asarray(ns_coeffs, float)
    except (TypeError, ValueError, OverflowError):
        coefficients = np.empty(0)
    if coefficients.ndim not in (1, 2) or coefficients.shape[-1] != 3 or coefficients.size == 0:
        checks.fail(f"ns_coeffs must be three numbers, or three for each step, got {checks.shown(ns_coeffs)}")
    return coefficients


def check_orthogonalisation(preconditioning: str, ns_dtype: DType) -> None:
    checks.choice("preconditioning", preconditioning, _PRECONDITIONINGS)
    if ns_dtype is not None:
        checks.choice("ns_dtype", jnp.dtype(ns_dtype).name, ("float32", "bfloat16", "float64"))


def _transposed(x: Array) -> Array:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def _gram(x: Array) -> Array:
    return x @ _transposed(x)


def _frobenius(x: Array) -> Array:
    return norm(x, (-2, -1), keepdims=True)


def _conditioned(x: Array, preconditioning: str, eps: Scalar) -> Array:
    """Scale matrices so that no singular value exceeds 1, so that the iteration converges."""
    if preconditioning == "aol":
        rows = root(jnp.sum(jnp.abs(_gram(x)), axis=-1, keepdims=True))
        return x * ratio(jnp.ones_like(rows), rows).astype(x.dtype)
    if preconditioning == "spectral":
        size = jnp.linalg.norm(x, ord=2, axis=(-2, -1), keepdims=True)
    else:
        size = _frobenius(x) if preconditioning == "frobenius" else root(_frobenius(_gram(x)))
    out: Array = x / (size + like(size, eps)).astype(x.dtype)
    return out


def orthogonalised(
    x: Array,
    coefficients: Array,
    steps: int = 5,
    preconditioning: str = "frobenius",
    eps: Scalar = 1e-8,
    *,
    gram: bool = False,
    dtype: DType = None,
) -> Array:
    """The nearest semi-orthogonal matrices, approximately: Newton-Schulz moves all singular values close to 1.

        X <- a X + (b A + c A^2) X,  A = X X^H

    Tall matrices are transposed, so that A is small. With `gram` the same polynomials are applied to A alone:

        P = a I + b A + c A^2,   Q <- P Q,   A <- P A P,   and X <- Q X, A <- X X^H, Q <- I after step 2 and the last

    Args:
      coefficients: (a, b, c) for `steps` steps, or a row of these for each step.
      dtype: dtype of the iteration; None is that of x.
    """
    if x.size == 0:
        return x
    tall = x.shape[-2] > x.shape[-1]
    y = _conditioned(jnp.swapaxes(x, -1, -2) if tall else x, preconditioning, eps)
    if dtype is not None and not is_complex(y):
        y = convert(y, dtype)
    each = coefficients.ndim > 1
    steps = len(coefficients) if each else steps

    def numbers(i: Any) -> list[Array]:
        row = coefficients[i] if each else coefficients
        return [convert(row[k], y.dtype) for k in range(3)]

    def step(i: Any, y: Array) -> Array:
        a, b, c = numbers(i)
        gram_ = _gram(y)
        return a * y + (b * gram_ + c * (gram_ @ gram_)) @ y

    def gram_step(i: Any, carry: Any) -> Any:
        q, r = carry
        a, b, c = numbers(i)
        z = b * r + c * (r @ r)
        rz = r @ z + a * r
        return a * q + z @ q, z @ rz + a * rz

    if not gram:
        y = jax.lax.fori_loop(0, steps, step, y)
    else:
        for start, stop in ((0, min(_RESTART, steps)), (min(_RESTART, steps), steps)):
            if start < stop:
                r = _gram(y)
                q = jnp.broadcast_to(jnp.eye(r.shape[-1], dtype=r.dtype), r.shape)
                q, _ = jax.lax.fori_loop(start, stop, gram_step, (q, r))
                y = q @ y
    return convert(jnp.swapaxes(y, -1, -2) if tall else y, x.dtype)

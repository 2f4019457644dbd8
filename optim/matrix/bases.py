"""Bases of eigenvectors of second moments, and arrays in them; all products in the highest precision."""

import jax.numpy as jnp
from jax import lax

from ..types import Array

_HIGHEST = lax.Precision.HIGHEST


def product(a: Array, b: Array) -> Array:
    out: Array = jnp.matmul(a, b, precision=_HIGHEST)
    return out


def adjoint(x: Array) -> Array:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def rotated(x: Array, left: Array | None, right: Array | None, *, back: bool = False) -> Array:
    """L^H x R, or with `back` L x R^H; a basis that is None is the identity."""
    if left is not None:
        x = product(left if back else adjoint(left), x)
    if right is not None:
        x = product(x, adjoint(right) if back else right)
    return x


def eigenbasis(square: Array) -> tuple[Array, Array]:
    """Eigenvectors of positive semi-definite matrices, the largest eigenvalue's first, and whether all are finite."""
    size = jnp.max(jnp.abs(square), axis=(-2, -1), keepdims=True)
    unit = jnp.where((size > 0) & jnp.isfinite(size), size, jnp.ones_like(size))
    _, vectors = jnp.linalg.eigh(square / unit.astype(square.dtype))
    vectors = vectors[..., ::-1]
    return vectors, jnp.all(jnp.isfinite(vectors), axis=(-2, -1)) & jnp.isfinite(size[..., 0, 0])


def power_step(square: Array, basis: Array) -> tuple[Array, Array, Array]:
    """One step of orthogonal iteration from a basis whose vectors are sorted by their estimated eigenvalues.

    Returns the new basis, the order into which the old vectors were sorted, and whether all is finite.
    """
    size = jnp.max(jnp.abs(square), axis=(-2, -1), keepdims=True)
    unit = jnp.where((size > 0) & jnp.isfinite(size), size, jnp.ones_like(size))
    moved = product(square / unit.astype(square.dtype), basis)
    values = jnp.sum((jnp.conj(basis) * moved).real, axis=-2)
    order = jnp.argsort(-values, axis=-1)
    vectors, _ = jnp.linalg.qr(jnp.take_along_axis(moved, order[..., None, :], axis=-1))
    return vectors, order, jnp.all(jnp.isfinite(vectors), axis=(-2, -1)) & jnp.isfinite(size[..., 0, 0])

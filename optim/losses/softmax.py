"""Softmax in at least float32 with masks, whose losses and gradients hold no further array of the logits' size.

With m the largest logit, log_mass = log(sum(exp(z - m))), and log softmax(z) = z - m - log_mass. Autodiff would store
exp(z - m) in float32; here the derivative computes exp(z - m - log_mass) from the logits in one fused pass. Every pass
reads the logits behind a barrier. Otherwise XLA merges what passes share, the conversion to float32, and stores it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import numerics
from ..types import Array
from .operands import at_labels, one_hot

_barrier: Any = lax.optimization_barrier  # untyped in jax


class Softmax(NamedTuple):
    """Logits in their own dtype, and their largest and log_mass, in which the reduced dimensions have size 1."""

    logits: Array
    mask: Array | None
    top: Array
    log_mass: Array

    def log_probabilities(self) -> Array:
        """log softmax, -inf where the mask is False."""
        return _log_probabilities(self.logits, self.mask, self.top, self.log_mass)


def softmax(logits: Array, mask: Array | None, axes: tuple[int, ...]) -> Softmax:
    """The softmax over `axes` of the logits where `mask` is True; log_mass is 0 where nothing is left."""
    top = _largest(logits, mask, axes)
    return Softmax(logits, mask, top, _log_mass(logits, mask, top, axes))


def _largest(z: Array, mask: Array | None, axes: tuple[int, ...]) -> Array:
    wide = lax.stop_gradient(z).astype(numerics.wide_dtype(z.dtype))
    top = jnp.max(wide, axes, keepdims=True, initial=-jnp.inf, where=mask)
    return jnp.where(top == -jnp.inf, 0, top)


def _shifted(z: Array, mask: Array | None, top: Array) -> Array:
    """z - m, -inf where the mask is False."""
    s = z.astype(top.dtype) - top
    return s if mask is None else jnp.where(mask, s, -jnp.inf)


def _log_probabilities(z: Array, mask: Array | None, top: Array, log_mass: Array) -> Array:
    z, top, log_mass = _barrier((z, top, log_mass))
    return _shifted(z, mask, top) - log_mass


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _log_mass(z: Array, mask: Array | None, top: Array, axes: tuple[int, ...]) -> Array:
    z, top = _barrier((z, top))
    mass = jnp.sum(jnp.exp(_shifted(z, mask, top)), axes, keepdims=True)
    return jnp.where(mass == 0, 0, jnp.log(jnp.where(mass == 0, 1, mass)))


@_log_mass.defjvp
def _log_mass_jvp(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Array, Array]:
    z, mask, top = primals
    out: Array = _log_mass(z, mask, top, axes)

    @_recomputed
    def slope(z: Array, top: Array, out: Array, dz: Array) -> Array:
        return jnp.sum(jnp.exp(_log_probabilities(z, mask, top, out)) * dz.astype(out.dtype), axes, keepdims=True)

    return out, slope(z, top, out, tangents[0])


def _recomputed(f: Any) -> Any:
    """`f`, for whose derivative only its arguments are stored, also where the loss is compiled by itself."""
    return jax.checkpoint(f, prevent_cse=False)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def cross_entropy_at(z: Array, mask: Array | None, labels: Array, axis: int) -> Array:
    """-log softmax(z) at integer labels."""
    return _at_labels(softmax(z, mask, (axis,)), labels, axis)


def _at_labels(s: Softmax, labels: Array, axis: int) -> Array:
    z, log_mass = _barrier((s.logits, s.log_mass))
    z = at_labels(z, labels, axis).astype(s.top.dtype) - jnp.squeeze(s.top, axis)
    z = z if s.mask is None else jnp.where(at_labels(s.mask, labels, axis), z, -jnp.inf)
    return jnp.squeeze(log_mass, axis) - z


@cross_entropy_at.defjvp
def _cross_entropy_at_jvp(axis: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    z, mask, labels = primals
    s = softmax(z, mask, (axis,))

    # One sum, so that p - 1 is not rounded to the logits' dtype in two parts.
    @_recomputed
    def slope(z: Array, top: Array, log_mass: Array, dz: Array) -> Array:
        p = jnp.exp(_log_probabilities(z, mask, top, log_mass))
        hot = _masked(one_hot(labels, z.shape, axis), mask)
        return jnp.sum((p - hot.astype(p.dtype)) * dz.astype(p.dtype), axis)

    return _at_labels(s, labels, axis), slope(z, s.top, s.log_mass, tangents[0])


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def cross_entropy(z: Array, mask: Array | None, weights: Array, axes: tuple[int, ...]) -> Array:
    """-sum(weights log softmax(z)), where a weight of 0 counts 0. The weights may be integers."""
    return _weighted_sum(softmax(z, mask, axes), weights, axes)


def _weighted_sum(s: Softmax, weights: Array, axes: tuple[int, ...]) -> Array:
    w = _masked(weights, s.mask).astype(s.top.dtype)
    return jnp.sum(jnp.where(w == 0, 0, w * -s.log_probabilities()), axes)


def _masked(x: Array, mask: Array | None) -> Array:
    return x if mask is None else jnp.where(mask, x, jnp.zeros((), x.dtype))


@cross_entropy.defjvp
def _cross_entropy_jvp(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Array, Array]:
    z, mask, weights = primals
    dz, _, dweights = tangents
    s = softmax(z, mask, axes)
    total = jnp.sum(_masked(weights, mask).astype(s.top.dtype), axes, keepdims=True)

    @_recomputed
    def slope(z: Array, top: Array, log_mass: Array, weights: Array, total: Array, dz: Array) -> Array:
        z, top, log_mass, total = _barrier((z, top, log_mass, total))
        p = jnp.exp(_shifted(z, mask, top) - log_mass)
        return jnp.sum((total * p - _masked(weights, mask).astype(p.dtype)) * dz.astype(p.dtype), axes)

    @_recomputed
    def slope_of_weights(s: Softmax, weights: Array, dweights: Array) -> Array:
        logs = s.log_probabilities()
        unused = ((weights == 0) & jnp.isinf(logs)) if mask is None else ((weights == 0) & jnp.isinf(logs)) | ~mask
        return -jnp.sum(jnp.where(unused, 0, logs) * dweights.astype(logs.dtype), axes)

    out = slope(z, s.top, s.log_mass, weights, total, dz)
    if dweights.dtype != jax.dtypes.float0:
        out += slope_of_weights(s, weights, dweights)
    return _weighted_sum(s, weights, axes), out

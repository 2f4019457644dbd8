"""Distributions to draw noise from, with their log densities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from . import checks, numerics
from .types import Array, DType


class Noise(Protocol):
    """A distribution of real numbers: what `make_perturbed_fun` takes as `noise`."""

    def sample(self, key: Array, sample_shape: Sequence[int] = (), dtype: DType = float) -> Array:
        """Draw independent numbers, an array of shape `sample_shape`."""

    def log_prob(self, inputs: Array) -> Array:
        """Return the log density at every element of `inputs`."""


@dataclass(frozen=True)
class Gumbel:
    """The standard Gumbel distribution, whose density is exp(-z - exp(-z))."""

    def sample(self, key: Array, sample_shape: Sequence[int] = (), dtype: DType = float) -> Array:
        """Draw independent numbers, an array of shape `sample_shape`."""
        return jax.random.gumbel(key, tuple(sample_shape), dtype)

    def log_prob(self, inputs: Array) -> Array:
        """Return the log density at every element: -z - exp(-z)."""
        return -inputs - jnp.exp(-inputs)


@dataclass(frozen=True)
class Normal:
    """The standard normal distribution, whose density is exp(-z^2 / 2) / sqrt(2 pi)."""

    def sample(self, key: Array, sample_shape: Sequence[int] = (), dtype: DType = float) -> Array:
        """Draw independent numbers, an array of shape `sample_shape`."""
        return jax.random.normal(key, tuple(sample_shape), dtype)

    def log_prob(self, inputs: Array) -> Array:
        """Return the log density at every element: -z^2 / 2 - log(2 pi) / 2."""
        return -(inputs**2) / 2 - math.log(2 * math.pi) / 2


class MultiNormal(NamedTuple):
    """A normal distribution of independent elements: what `multi_normal` returns."""

    loc: Array
    log_scale: Array

    @property
    def params(self) -> list[Array]:
        """The mean and the log of the standard deviation."""
        return [self.loc, self.log_scale]

    @checks.entrance("multi_normal")
    def sample(self, shape: Sequence[int], key: Array) -> Array:
        """Draw arrays like `loc`, as many as `shape` says: the result has the shape (*shape, *loc.shape).

        It is differentiable in loc and log_scale.
        """
        wide = numerics.wide_dtype(self.loc.dtype)
        z = jax.random.normal(key, (*shape, *self.loc.shape), wide)
        loc, log_scale = numerics.convert(self.loc, wide), numerics.convert(self.log_scale, wide)
        return numerics.convert(loc + jnp.exp(log_scale) * z, self.loc.dtype)

    @checks.entrance("multi_normal")
    def log_prob(self, x: Array) -> Array:
        """Return the log density of x, of shape (..., *loc.shape), an array of shape (...)."""
        x = jnp.asarray(x)
        loc = self.loc
        if x.shape[x.ndim - loc.ndim :] != loc.shape or x.ndim < loc.ndim:
            checks.fail(f"x must have the shape (..., {', '.join(map(str, loc.shape))}), got {checks.shown(x)}")
        wide = numerics.common_dtype(jnp.float32, x.dtype, loc.dtype)
        log_scale = numerics.convert(self.log_scale, wide)
        z = (numerics.convert(x, wide) - numerics.convert(loc, wide)) * jnp.exp(-log_scale)
        each = Normal().log_prob(z) - log_scale
        return numerics.convert(jnp.sum(each, axis=tuple(range(x.ndim - loc.ndim, x.ndim))), self.loc.dtype)


@checks.entrance("multi_normal")
def multi_normal(loc: Array, log_scale: Array) -> MultiNormal:
    """Make a normal distribution of independent elements, from the log of their standard deviations.

        x = loc + exp(log_scale) z,   z standard normal

        normal = multi_normal(jnp.zeros(3), jnp.zeros(3))
        x = normal.sample((10,), key); normal.log_prob(x)  # of shape (10,)

    Args:
      loc: the mean, a real array.
      log_scale: log of the standard deviation, of the shape of loc or one that broadcasts to it.
    Returns: a tree of loc and log_scale, with the methods `sample(shape, key)` and `log_prob(x)`.
    Raises:  ValueError for a log_scale of another shape; TypeError for complex numbers.
    """
    loc, log_scale = jnp.asarray(loc), jnp.asarray(log_scale)
    for name, x in (("loc", loc), ("log_scale", log_scale)):
        if jnp.iscomplexobj(x):
            checks.fail(f"{name} must be real, got {x.dtype}", TypeError)
    if not checks.broadcasts(log_scale.shape, loc.shape):
        checks.fail(f"log_scale must have the shape of loc, {loc.shape}, or broadcast to it, got {log_scale.shape}")
    return MultiNormal(*(x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float) for x in (loc, log_scale)))

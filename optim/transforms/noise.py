"""Gradient noise."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import StateScalar, leafwise
from ..numerics import like, root, scalar_dtype
from ..types import Array, Count, Scalar


class AddNoiseState(NamedTuple):
    count: Count
    rng_key: Array


def as_key(key: Any, seed: int | None) -> Array:
    """A PRNG key from `key` or from `seed`, whichever is given; key 0 if both are None."""
    if key is not None and seed is not None:
        checks.fail("give key or seed, not both")
    key = seed if key is None else key
    key = 0 if key is None else key
    if checks.is_key(key) or (checks.is_array(key) and key.dtype == jnp.uint32 and key.ndim == 1):
        return jnp.asarray(key)
    whole = checks.is_array(key) and key.shape == () and jnp.issubdtype(key.dtype, jnp.integer)
    if not (whole or (checks.is_number(key) and isinstance(key, int | np.integer))):
        checks.fail(f"key must be a PRNG key or an int, got {checks.shown(key)}", TypeError)
    if not checks.is_array(key) and not -(2**63) <= key < 2**63:
        checks.fail(f"the seed must fit into 64 bits, got an integer of {len(str(abs(key)))} digits")
    return jax.random.key(key)


@register(
    example(0.01, 0.55, seed=1),
    example(0.01, 0.55, 7),
    ranges={"eta": checks.NON_NEGATIVE, "gamma": checks.NON_NEGATIVE},
    exceptions={"golden": "its update is random", "partitioned": "its noise is drawn per shard layout"},
    errors=[
        (example(0.01, 0.55, 1, seed=1), "give key or seed, not both"),
        (example(0.01, 0.55, "a"), "key must be a PRNG key or an int, got 'a'"),
    ],
)
def add_noise(
    eta: Scalar, gamma: Scalar, key: Any = None, *, seed: int | None = None
) -> GradientTransformationExtraArgs:
    """Add Gaussian noise of variance eta / t^gamma.

    Args:
      eta: variance of the noise at the first update, >= 0, in units of g^2. Usually 0.01 to 1.
      gamma: exponent of the decay, >= 0. Usually 0.55.
    State:   count; rng_key.
    Source:  Neelakantan et al. 2015, Eq. 1, with t from 1.
    """
    # Leafwise, because every leaf has its own key: packing leaves would change the random numbers.
    start = as_key(key, seed)

    def scalars(t: Count, rng_key: Array) -> dict[str, Array]:
        next_key, leaf_key = jax.random.split(rng_key)
        time = t.astype(scalar_dtype())
        return {"rng_key": next_key, "key": leaf_key, "deviation": root(like(time, eta) / time ** like(time, gamma))}

    def rule(g: Array, key: Array, deviation: Array) -> Any:
        return g + like(g, deviation) * jax.random.normal(key, g.shape, g.dtype)

    return leafwise(rule, AddNoiseState, scalars=scalars, rng_key=StateScalar(start))

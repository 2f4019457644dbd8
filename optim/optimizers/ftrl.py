"""FTRL-Proximal: follow the regularised leader."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..checks import Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, at, last, like, power, ratio, root, saturated, scaled, scheduled
from ..types import Array, Count, Params, Scalar, ScalarOrSchedule, Updates


class FtrlState(NamedTuple):
    count: Count
    nu: Updates
    z: Params


@register(
    example(),
    example(0.1, -0.75, 0.5, 0.1, 0.2, 0.3),
    example(0.1, 0.0, 0.0),
    ranges={
        "learning_rate": Range(0, open_low=True, schedule=True),
        "learning_rate_power": Range(-10, 0, means="minus the exponent of nu"),
        "l1": Range(0, means="weight of |p|, which makes parameters exactly 0"),
        "l2": Range(0, means="weight of p^2"),
        "beta": checks.NON_NEGATIVE,
    },
    exceptions={
        "precision": "a parameter is a quotient of sums over all updates, which are rounded at their own size",
    },
)
def ftrl(
    learning_rate: ScalarOrSchedule = 0.001,
    learning_rate_power: Scalar = -0.5,
    initial_accumulator_value: Scalar = 0.1,
    l1: Scalar = 0.0,
    l2: Scalar = 0.0,
    beta: Scalar = 0.0,
) -> GradientTransformationExtraArgs:
    """Move each parameter to the minimum of all linearised losses so far, with l1 and l2 regularisation.

        z  <- z + g - (nu'^q - nu^q) / learning_rate p,  nu' = nu + |g|^2,  q = -learning_rate_power;  nu <- nu'
        p  <- (clip(z, -l1, l1) - z) / ((nu^q + beta) / learning_rate + 2 l2)

    The parameters of the first update count only through their gradient: where that is 0 they become 0.

    Args:
      learning_rate: learning rate, > 0, or a schedule. Usually 1e-3 to 1e-1.
      learning_rate_power: -q, in [-10, 0]; 0 is a fixed learning rate. Usually -0.5.
      initial_accumulator_value: start of nu, in units of g^2, >= 0. Usually 0.1.
      l1, l2: regularisation, >= 0; where |z| <= l1 the parameter is 0. Usually 0.
      beta: added to nu^q, in units of g, >= 0. Usually 0.
    State:   count; nu, z shaped like params: 8 bytes per float32 parameter.
    Source:  McMahan et al. 2013, Alg. 1, as Keras and TensorFlow write it.
    When:    sparse linear models, such as click prediction; a usual learning rate is 1e-3 to 1e-1.
    """

    def raised(nu: Array) -> Array:
        if checks.is_number(learning_rate_power) and learning_rate_power in (-0.5, 0):
            return root(nu) if learning_rate_power else jnp.ones_like(nu)
        q = -like(nu, learning_rate_power)
        return jnp.where(jnp.asarray(q) == 0, 1, power(nu, q))

    def rule(g: Array, p: Array, nu: Array, z: Array, rate: Array) -> Any:
        new = saturated(nu + abs_sq(g))
        now = raised(new)
        z = z + g - scaled((now - raised(nu)) * p, 1 / rate)
        bound = like(z, l1)
        below = scaled(now + like(now, beta), 1 / rate) + 2 * like(now, l2)
        return ratio(jnp.clip(z, -bound, bound) - z, below) - p, (new, z)

    tx = elementwise(
        rule,
        FtrlState,
        scalars=lambda t: {"rate": at(learning_rate, t)},
        nu=Slot(init=initial_accumulator_value, real=True),
        z=Slot(decay=1.0),
    )
    return tx.declaring(exposes=lambda state: {"learning_rate": scheduled(learning_rate, last(state.count))})

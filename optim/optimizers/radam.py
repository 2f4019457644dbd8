"""RAdam: Adam that starts as momentum, until its second moment is reliable."""

import math
from typing import Any

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, debias, ema, like, nesterov_mean, root, root_ratio, scalar_dtype, scaled
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Count, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState

# Below rho = 4 the rectification is the root of a negative number.
_RANGES = {"threshold": checks.Range(4)}

# Coefficients of x^2, x^4, ... in x / (e^x - 1) = 1 - x/2 + ...: Bernoulli numbers over factorials.
_SERIES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)


def _bernoulli(x: Array) -> Array:
    """x / (e^x - 1) for x >= 1."""
    x = jnp.clip(x, 1, 80)  # negligible above 80
    return x / jnp.expm1(x)


def _curved(x: Array) -> Array:
    """x / (e^x - 1) - 1 + x / 2 for 0 <= x <= 1, by its series, since the closed form cancels near 0."""
    square, total = jnp.square(jnp.minimum(x, 1)), jnp.zeros_like(x)
    for c in reversed(_SERIES):
        total = (total + c) * square
    return total


def _lengths(b2: Scalar, t: Count) -> tuple[Array, Array]:
    """rho_t = rho_inf - 2 t b2^t / (1 - b2^t) and rho_inf = 2 / (1 - b2) - 1.

    The two terms of rho_t nearly cancel while t (1 - b2) is small. With L = -log b2 and B(x) = x / (e^x - 1),
    rho_inf = 2/L (B(L) + L/2) and rho_t = 2/L (B(L) + L/2 - B(t L)).
    """
    time = t.astype(scalar_dtype())
    lowest = 1e-37  # so that the logarithm of b2 = 0 is finite
    if checks.is_number(b2):
        rate = jnp.full_like(time, -math.log(max(float(b2), lowest)))
    else:
        rate = -jnp.log(jnp.maximum(like(time, b2), lowest))
    x = time * rate
    start = jnp.where(rate < 1, _curved(rate), _bernoulli(rate) - 1 + rate / 2)
    rho_inf = 2 / rate * (start + 1)
    early = time + 2 / rate * (start - _curved(x))
    late = 2 / rate * (start + 1 - _bernoulli(x))
    return jnp.where(x < 1, early, late), rho_inf


@register(
    example(),
    example(b1=0.8, b2=0.9, eps=1e-3, eps_root=1e-6, threshold=4.0, nesterov=True),
    example(b2=0.5, eps=0.0),
    ranges=_RANGES,
)
def scale_by_radam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    threshold: Scalar = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam with a rectified second moment, which is not used before enough gradients were averaged.

        mu, nu, mu^, nu^ as in `scale_by_adam`, with nesterov too
        rho = rho_inf - 2 t b2^t / (1 - b2^t),  rho_inf = 2 / (1 - b2) - 1
        r   = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
        u   = r mu^ / (sqrt(nu^ + eps_root) + eps)  where rho >= threshold, else mu^

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps, eps_root: added outside and inside the root, in units of g and of g^2, >= 0. Usually 1e-8 and 0.
      threshold: smallest rho at which nu is used, >= 4. Usually 5.
    State:   `ScaleByAdamState`: 8 bytes per float32 parameter.
    Source:  Liu et al. 2020, Alg. 2, which has rho > 4.
    """

    def scalars(t: Count) -> dict[str, Array]:
        rho, rho_inf = _lengths(b2, t)
        reliable = rho >= like(rho, threshold)
        rho, rho_inf = jnp.where(reliable, rho, 5), jnp.where(reliable, rho_inf, 5)
        r = root((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        return {"rectified": jnp.where(reliable, r, 0), "plain": jnp.where(reliable, 0, jnp.ones_like(r))}

    def rule(g: Array, mu: Array, nu: Array, t: Count, rectified: Array, plain: Array) -> Any:
        mu, nu = ema(mu, g, b1), ema(nu, abs_sq(g), b2)
        top = nesterov_mean(mu, g, b1, t) if nesterov else debias(mu, b1, t)
        adam = root_ratio(top, debias(nu, b2, t), eps, eps_root)
        return scaled(adam, rectified) + scaled(top, plain), (mu, nu)

    return elementwise(
        rule, ScaleByAdamState, scalars=scalars, mu=Slot(decay=b1), nu=Slot(real=True, non_negative=True)
    )


@register(example(0.1), ranges=_RANGES, usual={"learning_rate": 0.001})
def radam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    threshold: Scalar = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Rectified Adam: `scale_by_radam`, then `scale_by_learning_rate`.

    When:    in place of Adam with a warm-up, which RAdam does not need; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov), scale_by_learning_rate(learning_rate)
    )

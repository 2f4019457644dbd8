"""ADOPT: Adam that divides by what came before, and averages after."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, complement, ema, like, ratio, root, scalar_dtype, scaled
from ..transforms.scale import scale_by_learning_rate
from ..types import Array, Count, DType, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState

_NO_FUNCTION = [(example(0.1, clip_value_fn=1.0), "clip_value_fn must be a function of the count, got 1.0")]


@register(example(16.0), kind="function")
def fourth_root(count: Array) -> Array:
    """The fourth root of the count: how far ADOPT clips."""
    return count**0.25


@register(
    example(),
    example(0.8, 0.99, 1e-3, nesterov=True),
    example(eps=0.0, use_clipping=False),
    errors=_NO_FUNCTION,
    exceptions={"precision": "it averages quotients of many times the update's size, and is rounded at theirs"},
)
def scale_by_adopt(
    b1: Scalar = 0.9,
    b2: Scalar = 0.9999,
    eps: Scalar = 1e-6,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Array], Any] = fourth_root,
) -> GradientTransformationExtraArgs:
    """Replace updates by the running mean of gradients over the root mean square of those before them.

        n   = g / max(sqrt(nu), eps), clamped to [-c, c],  c = clip_value_fn(t - 1)
        mu <- b1 mu + (1 - b1) n
        nu <- b2 nu + (1 - b2) |g|^2
        u   = mu,  or with nesterov  b1 mu + (1 - b1) n

    The first update is 0, and nu becomes |g|^2.

    Args:    b1, b2 in [0, 1); eps >= 0, in units of g; mu_dtype: the dtype of mu; use_clipping: whether n is clamped;
             clip_value_fn: a function of the number of updates done before, a float scalar.
    State:   `ScaleByAdamState`: 8 bytes per float32 parameter.
    Raises:  TypeError where clip_value_fn is no function.
    Source:  Taniguchi et al. 2024, Alg. 1, and its clipped form.
    """
    checks.function("clip_value_fn", clip_value_fn, "a function of the count", arity=1)

    def scalars(t: Count) -> dict[str, Any]:
        before = (t - 1).astype(scalar_dtype())
        first = t <= 1
        return {
            "later": jnp.where(first, 0, jnp.ones_like(before)),
            "pace": jnp.where(first, 1, complement(before, b2)),
            "most": clip_value_fn(before) if use_clipping else None,
        }

    def rule(g: Array, mu: Array, nu: Array, later: Array, pace: Array, most: Any) -> Any:
        n = ratio(scaled(g, later), jnp.maximum(root(nu), like(nu, eps)))
        if use_clipping:
            n = jnp.clip(n, -like(n, most), like(n, most))
        mu = ema(mu, n, b1)
        nu = nu + scaled(abs_sq(g) - nu, pace)
        return (ema(n, mu, 1 - b1) if nesterov else mu), (mu, nu)

    return elementwise(rule, ScaleByAdamState, scalars=scalars, mu=Slot(dtype=mu_dtype, decay=b1), nu=Slot(real=True))


@register(example(0.1), errors=[(example(0.1, clip_value_fn=1.0), _NO_FUNCTION[0][1])])
def adopt(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.9999,
    eps: Scalar = 1e-6,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Array], Any] = fourth_root,
) -> GradientTransformationExtraArgs:
    """ADOPT: `scale_by_adopt`, then minus the learning rate."""
    return chain(
        scale_by_adopt(
            b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn
        ),
        scale_by_learning_rate(learning_rate),
    )

"""ADOPT: normalise by the previous second moment, then apply momentum."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, complement, ema, like, ratio, root, scalar_dtype, scaled
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Count, DType, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState

_NOT_A_FUNCTION = [(example(0.1, clip_value_fn=1.0), "clip_value_fn must be a function of the count, got 1.0")]


@register(example(16.0), kind="function")
def fourth_root(count: Array) -> Array:
    """The fourth root of the count: ADOPT's default bound for clipping."""
    return count**0.25


@register(
    example(),
    example(0.8, 0.99, 1e-3, nesterov=True),
    example(eps=0.0, use_clipping=False),
    errors=_NOT_A_FUNCTION,
    exceptions={"precision": "it averages quotients much larger than the update, so it rounds at their size"},
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
    """Divide each gradient by the root mean square of the previous gradients, then take the running mean.

        n   = g / max(sqrt(nu), eps), clamped to [-c, c],  c = clip_value_fn(t - 1)
        mu <- b1 mu + (1 - b1) n
        nu <- b2 nu + (1 - b2) |g|^2
        u   = mu,  or with nesterov  b1 mu + (1 - b1) n

    The first update is 0, and nu becomes |g|^2.

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.9999.
      eps: lower bound of the root, in units of g, >= 0. Usually 1e-6.
      use_clipping: clamp n to [-c, c]. Usually True.
      clip_value_fn: function (number of previous updates, a float scalar) -> c. Usually `fourth_root`.
    State:   `ScaleByAdamState`: 8 bytes per float32 parameter.
    Raises:  TypeError if clip_value_fn is not a function.
    Source:  Taniguchi et al. 2024, Alg. 1, and its clipped form.
    """
    checks.function("clip_value_fn", clip_value_fn, "a function of the count", arity=1)

    def scalars(t: Count) -> dict[str, Any]:
        previous = (t - 1).astype(scalar_dtype())
        first = t <= 1
        return {
            "not_first": jnp.where(first, 0, jnp.ones_like(previous)),
            "rate": jnp.where(first, 1, complement(previous, b2)),
            "bound": clip_value_fn(previous) if use_clipping else None,
        }

    def rule(g: Array, mu: Array, nu: Array, not_first: Array, rate: Array, bound: Any) -> Any:
        n = ratio(scaled(g, not_first), jnp.maximum(root(nu), like(nu, eps)))
        if use_clipping:
            n = jnp.clip(n, -like(n, bound), like(n, bound))
        mu = ema(mu, n, b1)
        nu = nu + scaled(abs_sq(g) - nu, rate)
        return (ema(n, mu, 1 - b1) if nesterov else mu), (mu, nu)

    return elementwise(
        rule,
        ScaleByAdamState,
        scalars=scalars,
        mu=Slot(dtype=mu_dtype, decay=b1),
        nu=Slot(real=True, non_negative=True),
    )


@register(
    example(0.1), errors=[(example(0.1, clip_value_fn=1.0), _NOT_A_FUNCTION[0][1])], usual={"learning_rate": 0.001}
)
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
    """ADOPT: `scale_by_adopt`, then `scale_by_learning_rate`.

    When:    problems where Adam converges only with a carefully chosen b2; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_adopt(
            b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn
        ),
        scale_by_learning_rate(learning_rate),
    )

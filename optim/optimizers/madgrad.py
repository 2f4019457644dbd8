"""MADGRAD: dual averaging around the initial parameters, with a cube root and momentum."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, complement, cube_root, like, ratio, scalar_dtype, scaled, scheduled
from ..schedules import inverse_time_decay
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, Scalar, ScalarOrSchedule, Updates


class MadgradState(NamedTuple):
    count: Count
    grad_sum_sq: Updates
    s: Updates
    x0: Updates


_SUMS = {"precision": "s and v are sums over all steps: rounding errors never decay, and s may cancel"}


@register(
    example(0.1),
    example(inverse_time_decay(0.1, 1, 0.5), 0.5, 1e-3),
    example(0.1, 0.0, 0.0),
    exceptions=_SUMS,
)
def scale_by_madgrad(
    learning_rate: ScalarOrSchedule, momentum: Scalar = 0.9, eps: Scalar = 1e-6
) -> GradientTransformationExtraArgs:
    """Move towards the initial parameters minus the weighted sum of all gradients, divided by a cube root.

        l  = (learning_rate + eps) sqrt(t)
        s <- s + l g
        v <- v + l |g|^2
        u  = (1 - momentum) (x0 - s / (cbrt(v) + eps) - p)

    The update includes the minus sign and the learning rate: do not apply them again.

    Args:
      momentum: each update moves p by 1 - momentum of the whole way, in [0, 1]. Usually 0.9.
      eps: added to the cube root, in units of cbrt(l g^2), and to the learning rate, >= 0. Usually 1e-6.
    State:   count; grad_sum_sq (v), s, x0 (params at init) shaped like params: 12 bytes per float32 parameter.
    Source:  Defazio & Jelassi 2021, Alg. 1, and its code, which adds eps to the learning rate.
    """

    def scalars(t: Count) -> dict[str, Array]:
        rate = scheduled(learning_rate, t - 1)
        time = t.astype(scalar_dtype())
        return {"weight": (like(time, rate) + like(time, eps)) * jnp.sqrt(time)}

    def rule(g: Array, p: Array, grad_sum_sq: Array, s: Array, x0: Array, weight: Array) -> Any:
        v = grad_sum_sq + scaled(abs_sq(g), weight)
        s = s + scaled(g, weight)
        z = x0 - ratio(s, cube_root(v) + like(v, eps))
        return (z - p) * complement(p, momentum), (v, s, x0)

    return elementwise(
        rule,
        MadgradState,
        scalars=scalars,
        grad_sum_sq=Slot(real=True, non_negative=True),
        s=Slot(decay=1.0),
        x0=Slot(init=lambda p: p),
    )


@register(example(0.1), example(0.1, weight_decay=0.1), exceptions=_SUMS, usual={"learning_rate": 0.01})
def madgrad(
    learning_rate: ScalarOrSchedule, momentum: Scalar = 0.9, weight_decay: ScalarOrSchedule = 0.0, eps: Scalar = 1e-6
) -> GradientTransformationExtraArgs:
    """MADGRAD: `add_decayed_weights`, then `scale_by_madgrad`.

    The weight decay is part of the gradient, so it is averaged too.

    When:    image and language models alike, with little weight decay; a usual learning rate is 1e-2.
    """
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))

"""Coin betting: each coordinate bets on its next gradient, without a learning rate."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import ratio, scaled, surely_positive
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, MaskOrFn, Params, Scalar, ScalarOrSchedule, Updates

_ALPHA = {"alpha": checks.NON_NEGATIVE}
_SUMS = {"precision": "two of its slots are sums over all gradients, rounded at every update: 2e-6 after 1,000"}


class COCOBState(NamedTuple):
    init_particles: Params
    cumulative_gradients: Updates
    scale: Updates
    subgradients: Updates
    reward: Updates


@register(example(), example(3.0, 0.1), example(eps=0.0), ranges=_ALPHA, exceptions=_SUMS)
def scale_by_cocob(alpha: Scalar = 100.0, eps: Scalar = 1e-8) -> GradientTransformationExtraArgs:
    """Bet a fraction of the reward so far on the sign of the next gradient.

        L <- max(L, |g|)                       the scale, eps at first
        G <- G + |g|
        R <- max(R + (p0 - p) g, 0)            the reward
        s <- s - g
        u  = p0 + s / (L max(G + L, alpha L)) (L + R) - p

    The update already points downhill: do not change its sign.

    Args:
      alpha: number of gradients for which bets stay small, >= 0. Usually 100.
      eps: initial L, in units of g, >= 0. Usually 1e-8.
    State:   init_particles (p0), cumulative_gradients (s), scale (L), subgradients (G), reward (R) shaped like params:
             20 bytes per float32 parameter.
    Source:  Orabona & Tommasi 2017, Alg. 2.
    """

    def rule(
        g: Array,
        p: Array,
        init_particles: Array,
        cumulative_gradients: Array,
        scale: Array,
        subgradients: Array,
        reward: Array,
    ) -> Any:
        size = jnp.abs(g)
        scale = jnp.maximum(scale, size)
        subgradients = subgradients + size
        reward = jnp.maximum(reward + (init_particles - p) * g, 0)
        total = cumulative_gradients - g
        # Two ratios, because the product in the paper's denominator overflows float32 much earlier.
        denominator = jnp.maximum(subgradients + scale, scaled(scale, alpha))
        positive = surely_positive(eps, g.dtype)
        bet = ratio(total, scale, positive=positive) * ratio(scale + reward, denominator, positive=positive)
        step = (init_particles - p) + bet
        return step, (init_particles, total, scale, subgradients, reward)

    return elementwise(
        rule,
        COCOBState,
        init_particles=Slot(init=lambda p: p),
        cumulative_gradients=Slot(decay=1.0),
        scale=Slot(init=eps, real=True, non_negative=True),
        subgradients=Slot(real=True, non_negative=True),
        reward=Slot(real=True, non_negative=True),
    )


@register(example(), example(0.5, 3.0, 0.1, weight_decay=0.1, mask=True), ranges=_ALPHA, exceptions=_SUMS)
def cocob(
    learning_rate: ScalarOrSchedule = 1.0,
    alpha: Scalar = 100.0,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Coin betting: `add_decayed_weights`, `scale_by_learning_rate` without the minus sign, then `scale_by_cocob`.

    Args:
      learning_rate: factor on the gradients before the betting, >= 0, or a schedule. Usually 1.0.
    When:    training without tuning a learning rate; leave it at 1.0.
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps),
    )

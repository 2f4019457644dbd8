"""Lion: the sign of a running mean that follows the gradient faster than the stored one."""

from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import ema, scaled
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Updates

Mode = Literal["hard", "smooth", "refined"]


class ScaleByLionState(NamedTuple):
    count: Count
    mu: Updates


@register(
    example(),
    example(0.8, 0.9, mode="smooth", smooth_beta=0.5),
    example(mu_dtype="bfloat16", mode="refined"),
    ranges={"smooth_beta": checks.POSITIVE},
    errors=[(example(mode="soft"), "mode must be 'hard', 'smooth' or 'refined', got 'soft'")],
)
def scale_by_lion(
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    mu_dtype: DType = None,
    *,
    mode: Mode = "hard",
    smooth_beta: Scalar = 1.0,
) -> GradientTransformationExtraArgs:
    """Replace updates by the sign of a weighted mean of update and running mean.

        c   = b1 mu + (1 - b1) g
        u   = sign(c);  with mode "smooth" tanh(smooth_beta c),  with "refined" c clamped to [-1, 1]
        mu <- b2 mu + (1 - b2) g

    Args:
      b1: weight of mu in c, in [0, 1). Usually 0.9.
      b2: decay of mu, in [0, 1). Usually 0.99.
      mode: "hard", "smooth" or "refined". Usually "hard".
      smooth_beta: slope of tanh with mode "smooth", in units of 1 / g, > 0. 1.0 by default.
    State:   count; mu shaped like params: 4 bytes per float32 parameter.
    Raises:  ValueError for any other mode.
    Source:  Chen et al. 2023, Alg. 2, for mode "hard".
    """
    checks.choice("mode", mode, get_args(Mode))

    def rule(g: Array, mu: Array) -> Any:
        c = ema(mu, g, b1)
        if mode == "hard":
            u = jnp.sign(c)
        else:
            u = jnp.tanh(scaled(c, smooth_beta)) if mode == "smooth" else jnp.clip(c, -1, 1)
        return u, ema(mu, g, b2)

    # mu is stored even if b2 is 0: it is then the last gradient, which c needs.
    return elementwise(rule, ScaleByLionState, mu=Slot(dtype=mu_dtype, decay=b2, always_stored=True))


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), usual={"learning_rate": 0.0001})
def lion(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Lion: `scale_by_lion`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    large models and batches, with half of Adam's state; a usual learning rate is 1e-4, a third to a tenth of
             AdamW's, with a weight decay that is larger by the same factor.
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

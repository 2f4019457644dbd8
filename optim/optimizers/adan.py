"""Adan: Nesterov momentum from the change of the gradient."""

from typing import Any, NamedTuple

from .. import checks
from ..combine.chain import chain
from ..combine.masked import masked
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, at, debias, ema, root_ratio, scalar_dtype, scaled
from ..schedules import inverse_time_decay
from ..transforms.scaling import ScaleByScheduleState, scale, scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, MaskOrFn, Scalar, ScalarOrSchedule, Updates


class ScaleByAdanState(NamedTuple):
    m: Updates
    v: Updates
    n: Updates
    g: Updates
    t: Count


@register(
    example(),
    example(0.9, 0.8, 0.95, 1e-3, 1e-6),
    exceptions={"precision": "m and v nearly cancel where the update is small; each is rounded at its own size"},
)
def scale_by_adan(
    b1: Scalar = 0.98, b2: Scalar = 0.92, b3: Scalar = 0.99, eps: Scalar = 1e-8, eps_root: Scalar = 0.0
) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient plus its running change by their root mean square.

        d   = g - the last g,  0 on the first update         x^ = x / (1 - b^t)
        m  <- b1 m + (1 - b1) g
        v  <- b2 v + (1 - b2) d
        n  <- b3 n + (1 - b3) |g + b2 d|^2
        u   = (m^ + b2 v^) / (sqrt(n^ + eps_root) + eps)

    Args:
      b1, b2, b3: decays of m, v and n, in [0, 1); one minus the paper's betas. Usually 0.98, 0.92 and 0.99.
      eps, eps_root: added outside and inside the root, in units of g and of g^2, >= 0. Usually 1e-8 and 0.
    State:   m, v, n, g (the last gradient) shaped like params: 16 bytes per float32 parameter; t, the count.
    Source:  Xie et al. 2022, Alg. 1, with the bias corrections of its code.
    Differs: Optax 0.2.8 has 1 - b2 where the paper and its code have b2 before d and v^.
    """

    def scalars(t: Count) -> dict[str, Array]:
        return {"later": (t > 1).astype(scalar_dtype())}

    def rule(g: Array, last_g: Array, m: Array, v: Array, n: Array, t: Count, later: Array) -> Any:
        change = scaled(g - last_g, later)
        m, v = ema(m, g, b1), ema(v, change, b2)
        n = ema(n, abs_sq(g + scaled(change, b2)), b3)
        top = debias(m, b1, t) + scaled(debias(v, b2, t), b2)
        return root_ratio(top, debias(n, b3, t), eps, eps_root), (m, v, n, g)

    return elementwise(
        rule,
        ScaleByAdanState,
        scalars=scalars,
        m=Slot(decay=b1),
        # A mean of small differences of similar gradients, which a narrower dtype would round to noise.
        v=Slot(decay=1.0),
        n=Slot(real=True, non_negative=True),
        g=Slot(decay=1.0),
    )


@register(
    example(0.1),
    example(0.1, weight_decay=0.1, mask=True),
    example(inverse_time_decay(0.1, 1, 0.01), weight_decay=0.1),
    usual={"learning_rate": 0.001},
)
def adan(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.98,
    b2: Scalar = 0.92,
    b3: Scalar = 0.99,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    proximal_decay: bool = True,
) -> GradientTransformationExtraArgs:
    """Adan: `scale_by_adan`, `add_decayed_weights`, then `scale_by_learning_rate`, divided for a proximal decay.

        p <- (p - learning_rate u) / (1 + learning_rate weight_decay)          u of `scale_by_adan`

    Args:
      proximal_decay: whether to divide by 1 + learning_rate weight_decay. Usually True; False is the decay of `adamw`,
        and Optax's.
    Source:  Xie et al. 2022, Alg. 1, with the bias corrections of its code.
    Differs: in Optax weights decay as in `adamw`: see proximal_decay.
    When:    vision and language transformers with large batches; a usual learning rate is 1e-3 or larger.
    """
    plain = not proximal_decay or (checks.is_number(weight_decay) and weight_decay == 0)
    return chain(
        scale_by_adan(b1, b2, b3, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
        *([] if plain else [_proximal(learning_rate, weight_decay, mask)]),
    )


def _proximal(
    learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule, mask: MaskOrFn
) -> GradientTransformationExtraArgs:
    """Divide by 1 + learning_rate weight_decay where `mask` is True."""
    if callable(learning_rate) or callable(weight_decay):

        def scalars(t: Count) -> dict[str, Array]:
            return {"factor": 1 / (1 + at(learning_rate, t) * at(weight_decay, t))}

        tx = elementwise(lambda g, factor: scaled(g, factor), ScaleByScheduleState, scalars=scalars)
    else:
        tx = scale(1 / (1 + learning_rate * weight_decay))
    return tx if mask is None else masked(tx, mask)

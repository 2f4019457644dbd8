"""ASGD: gradient descent with a falling learning rate, and the average of its parameters."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..checks import Range
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import at, hyperparameter, scalar_dtype, scaled
from ..transforms.weight_decay import add_decayed_weights
from ..tree import cast_like
from ..types import Array, Count, MaskOrFn, Params, Scalar, ScalarOrSchedule


class AsgdState(NamedTuple):
    count: Count
    average: Params


@register(
    example(),
    example(0.1, 0.5, 0.5, 2.0, 0.1, True),
    ranges={
        "lambd": Range(0, means="decay of the weights, and of the learning rate"),
        "alpha": Range(0, means="exponent of the falling learning rate"),
        "t0": Range(0, means="number of the update after which parameters are averaged"),
    },
)
def asgd(
    learning_rate: ScalarOrSchedule = 0.01,
    lambd: Scalar = 1e-4,
    alpha: Scalar = 0.75,
    t0: Scalar = 1e6,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Descend with a learning rate that falls as a power of time, and average the parameters after t0 updates.

        eta = learning_rate / (1 + lambd learning_rate (t - 1))^alpha
        p  <- p - eta (g + (lambd + weight_decay) p)
        a  <- a + (p - a) / max(1, t - 1 - t0)

    `eval_params` returns the average a, which until t0 is p.

    Args:
      learning_rate: first learning rate, >= 0, or a schedule. Usually 1e-2.
      lambd: decay of the weights and of the learning rate, >= 0. Usually 1e-4.
      alpha: exponent of the learning rate's fall, >= 0. Usually 0.75.
      t0: number of the update after which the average begins, >= 0. Usually 1e6.
    State:   that of `add_decayed_weights`, and AsgdState(count, average): 4 bytes per float32 parameter.
    Source:  Polyak & Juditsky 1992; Bottou 2012, Sec. 5, for eta. PyTorch has the same steps.
    When:    convex problems, such as linear models; a usual learning rate is 1e-2.
    """

    def scalars(t: Count) -> dict[str, Array]:
        before, rate = (t - 1).astype(scalar_dtype()), at(learning_rate, t)
        eta = rate / (1 + hyperparameter(lambd) * rate * before) ** hyperparameter(alpha)
        return {"eta": eta, "rest": 1 - 1 / jnp.maximum(before - hyperparameter(t0), 1)}

    def rule(g: Array, p: Array, average: Array, eta: Array, rest: Array) -> Any:
        u = -scaled(g + scaled(p, lambd), eta)
        new = p + u
        return u, new - scaled(new - average, rest)

    tx = elementwise(rule, AsgdState, scalars=scalars, average=Slot(init=lambda p: p, decay=1.0))
    tx = tx.declaring(evaluates=lambda state, params: cast_like(state.average, params))
    return chain(add_decayed_weights(weight_decay, mask), tx)

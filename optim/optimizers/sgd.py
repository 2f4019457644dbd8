"""Gradient descent, with momentum or with noise."""

from typing import Any

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs
from ..transforms.momentum import trace
from ..transforms.noise import add_noise
from ..transforms.scaling import scale_by_learning_rate
from ..types import DType, Scalar, ScalarOrSchedule


@register(
    example(0.1),
    example(0.1, momentum=0.9),
    example(0.1, momentum=0.9, nesterov=True),
    exceptions={"precision": "its momentum is `trace`, a sum"},
    usual={"learning_rate": 0.1},
)
def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    accumulator_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent: `trace` if momentum is given, then `scale_by_learning_rate`.

    When:    image models, with momentum 0.9 and a decaying schedule; a usual learning rate is 0.1.
    """
    return chain(
        identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype),
        scale_by_learning_rate(learning_rate),
    )


@register(
    example(0.1, seed=1),
    ranges={"eta": checks.NON_NEGATIVE, "gamma": checks.NON_NEGATIVE},
    exceptions={"partitioned": "its noise is drawn per shard layout", "independent": "its noise is random"},
    usual={"learning_rate": 0.01},
)
def noisy_sgd(
    learning_rate: ScalarOrSchedule,
    eta: Scalar = 0.01,
    gamma: Scalar = 0.55,
    key: Any = None,
    *,
    seed: int | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with decaying Gaussian noise: `add_noise`, then `scale_by_learning_rate`.

    When:    very deep networks that gradient descent trains badly without noise; a usual learning rate is 1e-2 to 0.1.
    """
    return chain(add_noise(eta, gamma, key, seed=seed), scale_by_learning_rate(learning_rate))

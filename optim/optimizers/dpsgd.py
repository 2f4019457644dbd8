"""Differentially private gradient descent."""

from typing import Any

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs
from ..transforms.momentum import trace
from ..transforms.privacy import differentially_private_aggregate
from ..transforms.scaling import scale_by_learning_rate
from ..types import Scalar, ScalarOrSchedule


@register(
    example(0.1, 1.0, 0.5, 1),
    kind="factory",
    ranges={"l2_norm_clip": checks.POSITIVE, "noise_multiplier": checks.NON_NEGATIVE},
)
def dpsgd(
    learning_rate: ScalarOrSchedule,
    l2_norm_clip: Scalar,
    noise_multiplier: Scalar,
    seed: Any,
    momentum: Scalar | None = None,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Private gradient descent: `differentially_private_aggregate`, `trace`, then `scale_by_learning_rate`.

    Args:
      seed: an int or a PRNG key.
    When:    training on private data, with one gradient per example; a usual learning rate is 0.1, with l2_norm_clip 1.
    """
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed),
        identity() if momentum is None else trace(momentum, nesterov),
        scale_by_learning_rate(learning_rate),
    )

"""Sign descent: steps of one size, along the sign of the gradient or of its running mean."""

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise
from ..transforms.momentum import ema
from ..transforms.scaling import scale_by_learning_rate
from ..types import DType, Scalar, ScalarOrSchedule


@register()
def scale_by_sign() -> GradientTransformationExtraArgs:
    """Replace each element by its sign.

    Source:  Bernstein et al. 2018, Alg. 1.
    """
    return elementwise(lambda g: jnp.sign(g))


@register(example(0.1), usual={"learning_rate": 0.0001})
def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformationExtraArgs:
    """signSGD: `scale_by_sign`, then `scale_by_learning_rate`.

    When:    distributed training that sends one bit per element of a gradient; a usual learning rate is 1e-4.
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


@register(example(0.1), usual={"learning_rate": 0.0001})
def signum(
    learning_rate: ScalarOrSchedule, beta: Scalar = 0.9, accumulator_dtype: DType = None
) -> GradientTransformationExtraArgs:
    """Signum: the sign of a running mean (`ema`, `scale_by_sign`), then `scale_by_learning_rate`.

    Args:
      beta: decay of the running mean, in [0, 1). Usually 0.9.
    Source:  Bernstein et al. 2018, Alg. 2.
    When:    as signSGD, with less noise; a usual learning rate is 1e-4.
    """
    return chain(
        ema(beta, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_sign(),
        scale_by_learning_rate(learning_rate),
    )

"""The seven optimizers of Keras 2.2.4, each a chain of primitives.

`decay` is inverse-time decay by the number of updates done so far, so the first update has the full rate.
`epsilon=None` is 1e-7. `clipnorm` bounds the global norm, then `clipvalue` every element; None turns them off.
"""

from .. import checks
from ..combine.chain import chain
from ..core.registry import example
from ..core.transformation import GradientTransformationExtraArgs
from ..optimizers.adadelta import scale_by_adadelta
from ..optimizers.adagrad import scale_by_adagrad
from ..optimizers.adam import scale_by_adam_eps_hat
from ..optimizers.adamax import scale_by_adamax_eps_hat
from ..optimizers.nadam import scale_by_nadam
from ..optimizers.rms import scale_by_rms
from ..schedules import inverse_time_decay
from ..transforms.clipping import clip, clip_by_global_norm
from ..transforms.momentum import trace
from ..transforms.scaling import scale_by_learning_rate
from ..types import Scalar
from .front import EPSILON, keras_optimizer


def _clipping(clipnorm: Scalar | None, clipvalue: Scalar | None) -> list[GradientTransformationExtraArgs]:
    norm = [] if clipnorm is None else [clip_by_global_norm(clipnorm)]
    return norm if clipvalue is None else [*norm, clip(clipvalue)]


def _descent(lr: Scalar, decay: float) -> GradientTransformationExtraArgs:
    return scale_by_learning_rate(inverse_time_decay(lr, 1, decay) if checks.is_array(decay) or decay else lr)


@keras_optimizer(
    example(),
    example(momentum=0.9, nesterov=True, decay=0.01, clipnorm=1.0, clipvalue=0.5),
    weights=("count", "trace"),
)
def SGD(
    lr: Scalar = 0.01,
    momentum: float = 0.0,
    decay: float = 0.0,
    nesterov: bool = False,
    *,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> GradientTransformationExtraArgs:
    """Keras' SGD, which applies the learning rate before the momentum.

        v <- momentum v - lr_n g
        p <- p + v,  or with nesterov  p + momentum v - lr_n g        lr_n = lr / (1 + decay n)

    Args:
      momentum: decay of v, in [0, 1]. Usually 0.9.
    State:   trace (v) shaped like params: 4 bytes per float32 parameter.
    When:    to continue or reproduce a run of Keras; otherwise optim.sgd. A usual lr is 0.01 to 0.1.
    """
    return chain(*_clipping(clipnorm, clipvalue), _descent(lr, decay), trace(momentum, nesterov))


@keras_optimizer(example(), example(decay=0.01, clipnorm=1.0), weights=("nu",))
def RMSprop(
    lr: Scalar = 0.001,
    rho: float = 0.9,
    epsilon: float | None = None,
    decay: float = 0.0,
    *,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> GradientTransformationExtraArgs:
    """Keras' RMSprop.

        a <- rho a + (1 - rho) g^2
        p <- p - lr_n g / (sqrt(a) + epsilon)        lr_n = lr / (1 + decay n)

    Args:
      rho: decay of a, in [0, 1). Usually 0.9.
      epsilon: added to the root, in units of g, >= 0; None is 1e-7.
    State:   nu (a) shaped like params: 4 bytes per float32 parameter.
    When:    to continue or reproduce a run of Keras; otherwise optim.rmsprop. A usual lr is 1e-3.
    """
    eps = EPSILON if epsilon is None else epsilon
    rms = scale_by_rms(rho, eps, eps_in_sqrt=False)
    return chain(*_clipping(clipnorm, clipvalue), rms, _descent(lr, decay))


@keras_optimizer(example(), example(decay=0.01, clipvalue=0.5), weights=("sum_of_squares",))
def Adagrad(
    lr: Scalar = 0.01,
    epsilon: float | None = None,
    decay: float = 0.0,
    *,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> GradientTransformationExtraArgs:
    """Keras' Adagrad.

        a <- a + g^2
        p <- p - lr_n g / (sqrt(a) + epsilon)        lr_n = lr / (1 + decay n)

    Args:
      epsilon: added to the root, in units of g, >= 0; None is 1e-7.
    State:   sum_of_squares (a) shaped like params: 4 bytes per float32 parameter.
    When:    to continue or reproduce a run of Keras; otherwise optim.adagrad. A usual lr is 0.01.
    """
    eps = EPSILON if epsilon is None else epsilon
    return chain(*_clipping(clipnorm, clipvalue), scale_by_adagrad(0.0, eps), _descent(lr, decay))


@keras_optimizer(example(), example(decay=0.01, clipnorm=1.0), weights=("e_g", "e_x"))
def Adadelta(
    lr: Scalar = 1.0,
    rho: float = 0.95,
    epsilon: float | None = None,
    decay: float = 0.0,
    *,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> GradientTransformationExtraArgs:
    """Keras' Adadelta.

        a <- rho a + (1 - rho) g^2
        u  = g sqrt(d + epsilon) / sqrt(a + epsilon)
        p <- p - lr_n u        lr_n = lr / (1 + decay n)
        d <- rho d + (1 - rho) u^2

    Args:
      rho: decay of a and d, in [0, 1). Usually 0.95.
      epsilon: added inside both roots, in units of g^2 and u^2, >= 0; None is 1e-7.
    State:   e_g (a), e_x (d) shaped like params: 8 bytes per float32 parameter.
    When:    to continue or reproduce a run of Keras; otherwise optim.adadelta. A usual lr is 1.
    """
    eps = EPSILON if epsilon is None else epsilon
    return chain(*_clipping(clipnorm, clipvalue), scale_by_adadelta(rho, eps), _descent(lr, decay))


@keras_optimizer(example(), example(amsgrad=True, decay=0.01, clipnorm=1.0), weights=("count", "mu", "nu", "nu_max"))
def Adam(
    lr: Scalar = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    decay: float = 0.0,
    amsgrad: bool = False,
    *,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> GradientTransformationExtraArgs:
    """Keras' Adam, which adds epsilon to the uncorrected root.

        m <- beta_1 m + (1 - beta_1) g
        v <- beta_2 v + (1 - beta_2) g^2,  and with amsgrad  w <- max(w, v) in its place
        p <- p - lr_n sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)        lr_n = lr / (1 + decay n)

    Args:
      beta_1, beta_2: decays of m and v, in [0, 1). Usually 0.9 and 0.999.
      epsilon: added to the root of v, in units of g, >= 0; None is 1e-7.
      amsgrad: whether to divide by the root of w, the largest v so far.
    State:   mu, nu (and nu_max) shaped like params: 8 (12) bytes per float32 parameter.
    When:    to continue or reproduce a run of Keras; otherwise optim.adam. A usual lr is 1e-3.
    """
    eps = EPSILON if epsilon is None else epsilon
    rule = scale_by_adam_eps_hat(beta_1, beta_2, eps, amsgrad=amsgrad)
    return chain(*_clipping(clipnorm, clipvalue), rule, _descent(lr, decay))


@keras_optimizer(example(), example(decay=0.01, clipvalue=0.5), weights=("count", "mu", "nu"))
def Adamax(
    lr: Scalar = 0.002,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    decay: float = 0.0,
    *,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> GradientTransformationExtraArgs:
    """Keras' Adamax.

        m <- beta_1 m + (1 - beta_1) g
        u <- max(beta_2 u, |g|)
        p <- p - lr_n / (1 - beta_1^t) m / (u + epsilon)        lr_n = lr / (1 + decay n)

    Args:
      beta_1, beta_2: decays of m and u, in [0, 1). Usually 0.9 and 0.999.
      epsilon: added to u, in units of g, >= 0; None is 1e-7.
    State:   mu, nu (u) shaped like params: 8 bytes per float32 parameter.
    When:    to continue or reproduce a run of Keras; otherwise optim.adamax. A usual lr is 2e-3.
    """
    eps = EPSILON if epsilon is None else epsilon
    rule = scale_by_adamax_eps_hat(beta_1, beta_2, eps)
    return chain(*_clipping(clipnorm, clipvalue), rule, _descent(lr, decay))


@keras_optimizer(example(), example(schedule_decay=0.01, clipnorm=1.0), weights=("count", "mu", "nu"))
def Nadam(
    lr: Scalar = 0.002,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    schedule_decay: float = 0.004,
    *,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> GradientTransformationExtraArgs:
    """Keras' Nadam, which has no decay: `scale_by_nadam`, then minus lr.

    Args:
      beta_1, beta_2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      epsilon: added to the root of nu, in units of g, >= 0; None is 1e-7.
      schedule_decay: decay of the momentum schedule, >= 0. Usually 0.004.
    State:   momentum_product; mu, nu shaped like params: 8 bytes per float32 parameter.
    When:    to continue or reproduce a run of Keras; otherwise optim.nadam. A usual lr is 2e-3.
    """
    eps = EPSILON if epsilon is None else epsilon
    rule = scale_by_nadam(beta_1, beta_2, eps, schedule_decay)
    return chain(*_clipping(clipnorm, clipvalue), rule, scale_by_learning_rate(lr))

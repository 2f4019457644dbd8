"""Adam and its variants: decoupled weight decay, Nesterov momentum, AMSGrad, and the paper's efficient form."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, bias_factor, debias, debiased_ratio, ema, nesterov_mean, real_dtype, root, root_ratio
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Updates


class ScaleByAdamState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates


class ScaleByAmsgradState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates
    nu_max: Updates


@register(example(), example(b1=0.8, b2=0.99, eps=1e-3, eps_root=1e-6, nesterov=True), example(mu_dtype="bfloat16"))
def scale_by_adam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient by its running root mean square.

        mu <- b1 mu + (1 - b1) g            x^ = x / (1 - b^t)
        nu <- b2 nu + (1 - b2) |g|^2
        u   = mu^ / (sqrt(nu^ + eps_root) + eps)

    With nesterov mu^ is b1 mu / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t).

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps, eps_root: added outside and inside the root, in units of g and of g^2, >= 0. Usually 1e-8 and 0.
    State:   count; mu, nu shaped like params: 8 bytes per float32 parameter.
    Source:  Kingma & Ba 2015, Alg. 1; nesterov: Dozat 2016, Alg. 8, with constant momentum.
    Differs: Keras adds eps before the correction: see `scale_by_adam_eps_hat`.
    """

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu = ema(mu, g, b1)
        nu = ema(nu, abs_sq(g), b2)
        if nesterov:
            u = root_ratio(nesterov_mean(mu, g, b1, t), debias(nu, b2, t), eps, eps_root)
        else:
            u = debiased_ratio(mu, nu, b1, b2, t, eps, eps_root)
        return u, (mu, nu)

    return elementwise(rule, ScaleByAdamState, mu=Slot(dtype=mu_dtype, decay=b1), nu=Slot(real=True, non_negative=True))


@register(
    example(),
    example(eps=1e-3, bias_correction_mu=False),
    example(eps_root=1e-6, bias_correction_nu=False),
    # In float64, with nothing but the slots rounded to float32, the error is 1.2e-6 as well.
    exceptions={"precision-2": "the largest of a thousand second moments is the one that was rounded up most"},
)
def scale_by_amsgrad(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam that divides by the root of the largest second moment so far.

        mu, nu as in `scale_by_adam`;  mu^ = mu / (1 - b1^t) with bias_correction_mu, else mu;  nu^ likewise
        nu_max <- max(nu_max, nu^)
        u       = mu^ / (sqrt(nu_max + eps_root) + eps)

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps, eps_root: added outside and inside the root, in units of g and of g^2, >= 0. Usually 1e-8 and 0.
      bias_correction_mu, bias_correction_nu: divide mu by 1 - b1^t, and nu by 1 - b2^t. Usually True.
    State:   count; mu, nu, nu_max shaped like params: 12 bytes per float32 parameter.
    Source:  Reddi et al. 2018, Alg. 2, which corrects neither.
    Differs: Keras and PyTorch take the maximum of the uncorrected nu: see `scale_by_adam_eps_hat`.
    """

    def rule(g: Array, mu: Array, nu: Array, nu_max: Array, t: Count) -> Any:
        mu = ema(mu, g, b1)
        nu = ema(nu, abs_sq(g), b2)
        top = debias(mu, b1, t) if bias_correction_mu else mu
        nu_max = jnp.maximum(nu_max, debias(nu, b2, t) if bias_correction_nu else nu)
        return root_ratio(top, nu_max, eps, eps_root), (mu, nu, nu_max)

    return elementwise(
        rule,
        ScaleByAmsgradState,
        mu=Slot(dtype=mu_dtype, decay=b1),
        nu=Slot(real=True, non_negative=True),
        nu_max=Slot(real=True, non_negative=True),
    )


@register(example(), example(amsgrad=True), example(b1=0.8, b2=0.99, eps=1e-3))
def scale_by_adam_eps_hat(
    b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-7, *, amsgrad: bool = False
) -> GradientTransformationExtraArgs:
    """Adam in its efficient form, which adds eps to the uncorrected root.

        mu, nu as in `scale_by_adam`
        u = sqrt(1 - b2^t) / (1 - b1^t) mu / (sqrt(nu) + eps)

    With amsgrad nu_max <- max(nu_max, nu) takes the place of nu in the root.

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps: added to the root, in units of g, >= 0. Usually 1e-7; on the first update it weighs as eps / sqrt(1 - b2).
      amsgrad: divide by the root of the largest nu so far. Usually False.
    State:   `ScaleByAdamState` or `ScaleByAmsgradState`: 8 or 12 bytes per float32 parameter.
    Source:  Kingma & Ba 2015, Sec. 2, last paragraph; amsgrad: Reddi et al. 2018, Alg. 2. Keras and TensorFlow use it.
    """

    def corrected(mu: Array, nu: Array, t: Count) -> Array:
        dtype = real_dtype(mu.dtype)
        size = root(bias_factor(b2, t, dtype)) / bias_factor(b1, t, dtype)
        return size * root_ratio(mu, nu, eps)

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu, nu = ema(mu, g, b1), ema(nu, abs_sq(g), b2)
        return corrected(mu, nu, t), (mu, nu)

    def amsgrad_rule(g: Array, mu: Array, nu: Array, nu_max: Array, t: Count) -> Any:
        mu, nu = ema(mu, g, b1), ema(nu, abs_sq(g), b2)
        nu_max = jnp.maximum(nu_max, nu)
        return corrected(mu, nu_max, t), (mu, nu, nu_max)

    mu, nu = Slot(decay=b1, always_stored=True), Slot(real=True, non_negative=True)
    if amsgrad:
        return elementwise(amsgrad_rule, ScaleByAmsgradState, mu=mu, nu=nu, nu_max=Slot(real=True, non_negative=True))
    return elementwise(rule, ScaleByAdamState, mu=mu, nu=nu)


@register(example(0.1), example(0.1, b1=0.8, nesterov=True), usual={"learning_rate": 0.001})
def adam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam: `scale_by_adam`, then `scale_by_learning_rate`.

    When:    a first choice for most networks without weight decay; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), usual={"learning_rate": 0.001})
def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam with decoupled weight decay: `scale_by_adam`, `add_decayed_weights`, then `scale_by_learning_rate`.

    Source:  Loshchilov & Hutter 2019, Alg. 2; the decay is scaled by the learning rate.
    When:    a first choice for transformers and most other networks; a usual learning rate is 3e-4 to 1e-3.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@register(example(0.1), usual={"learning_rate": 0.001})
def nadam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam with Nesterov momentum: `adam` with nesterov, which is True by default.

    Differs: Keras and PyTorch use Dozat's momentum schedule: see `scale_by_nadam`.
    When:    networks that Adam trains, sometimes in fewer steps; a usual learning rate is 1e-3.
    """
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


@register(example(0.1), usual={"learning_rate": 0.001})
def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam with Nesterov momentum and decoupled weight decay: `adamw` with nesterov, which is True by default.

    When:    networks that AdamW trains, sometimes in fewer steps; a usual learning rate is 3e-4 to 1e-3.
    """
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)


@register(example(0.1), usual={"learning_rate": 0.001})
def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> GradientTransformationExtraArgs:
    """AMSGrad: `scale_by_amsgrad`, then `scale_by_learning_rate`.

    When:    problems where rare large gradients keep Adam from converging; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu),
        scale_by_learning_rate(learning_rate),
    )

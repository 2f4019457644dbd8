"""RMSprop: divide by the running root mean square, or by the running standard deviation."""

from typing import Any, NamedTuple

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..numerics import abs_sq, debias, ema, root_ratio, variance
from ..transforms.momentum import trace
from ..transforms.scaling import scale_by_learning_rate
from ..types import Array, Count, Scalar, ScalarOrSchedule, Updates


class ScaleByRmsState(NamedTuple):
    nu: Updates


class ScaleByRmsWithCountState(NamedTuple):
    count: Count
    nu: Updates


class ScaleByRStdDevState(NamedTuple):
    mu: Updates
    nu: Updates


class ScaleByRStdDevWithCountState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates


def _over_root(g: Array, square: Array, eps: Scalar, eps_in_sqrt: bool) -> Array:
    return root_ratio(g, square, 0.0, eps) if eps_in_sqrt else root_ratio(g, square, eps)


@register(
    example(),
    example(0.8, 1e-3, eps_in_sqrt=False),
    example(0.99, eps=0.0, initial_scale=1.0, bias_correction=True),
)
def scale_by_rms(
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide updates by their running root mean square.

        nu <- decay nu + (1 - decay) |g|^2
        u   = g / sqrt(nu + eps),  or without eps_in_sqrt  g / (sqrt(nu) + eps)

    Args:
      decay: decay of nu, in [0, 1). Usually 0.9.
      eps: added inside the root, in units of g^2, or outside, in units of g, >= 0. Usually 1e-8.
      initial_scale: initial nu, in units of g^2, >= 0. Usually 0.
      eps_in_sqrt: add eps inside the root. Usually True.
      bias_correction: divide nu by 1 - decay^t before the root. Usually False.
    State:   nu shaped like params: 4 bytes per float32 parameter; count before it with bias_correction.
    Source:  Tieleman & Hinton 2012, Lecture 6e.
    """
    nu_slot = Slot(init=initial_scale, real=True, non_negative=True)

    def rule(g: Array, nu: Array) -> Any:
        nu = ema(nu, abs_sq(g), decay)
        return _over_root(g, nu, eps, eps_in_sqrt), nu

    def corrected_rule(g: Array, nu: Array, t: Count) -> Any:
        nu = ema(nu, abs_sq(g), decay)
        return _over_root(g, debias(nu, decay, t), eps, eps_in_sqrt), nu

    if bias_correction:
        return elementwise(corrected_rule, ScaleByRmsWithCountState, nu=nu_slot)
    return elementwise(rule, ScaleByRmsState, nu=nu_slot)


@register(
    example(),
    example(0.8, 1e-3, eps_in_sqrt=False),
    example(0.99, initial_scale=1.0, bias_correction=True),
)
def scale_by_stddev(
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide updates by their running standard deviation.

        mu <- decay mu + (1 - decay) g
        nu <- decay nu + (1 - decay) |g|^2
        u   = g / sqrt(nu - |mu|^2 + eps),  or without eps_in_sqrt  g / (sqrt(nu - |mu|^2) + eps)

    Args:
      decay: decay of mu and nu, in [0, 1). Usually 0.9.
      eps: added inside the root, in units of g^2, or outside, in units of g, >= 0. Usually 1e-8.
      initial_scale: initial nu, in units of g^2, >= 0. Usually 0.
      eps_in_sqrt: add eps inside the root. Usually True.
      bias_correction: divide mu and nu by 1 - decay^t before the root. Usually False.
    State:   mu, nu shaped like params: 8 bytes per float32 parameter; count before them with bias_correction.
    Source:  Graves 2013, Eqs. 38-41.
    """
    # nu - |mu|^2 cancels: a mu narrower than nu would make it noise, so mu has the dtype of a slow average.
    mu_slot, nu_slot = Slot(decay=1.0), Slot(init=initial_scale, real=True, non_negative=True)

    def rule(g: Array, mu: Array, nu: Array) -> Any:
        mu, nu = ema(mu, g, decay), ema(nu, abs_sq(g), decay)
        return _over_root(g, variance(nu, mu), eps, eps_in_sqrt), (mu, nu)

    def corrected_rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu, nu = ema(mu, g, decay), ema(nu, abs_sq(g), decay)
        spread = variance(debias(nu, decay, t), debias(mu, decay, t))
        return _over_root(g, spread, eps, eps_in_sqrt), (mu, nu)

    if bias_correction:
        return elementwise(corrected_rule, ScaleByRStdDevWithCountState, mu=mu_slot, nu=nu_slot)
    return elementwise(rule, ScaleByRStdDevState, mu=mu_slot, nu=nu_slot)


@register(
    example(0.1),
    example(0.1, centered=True, momentum=0.9),
    example(0.1, momentum=0.9, nesterov=True, eps_in_sqrt=False, bias_correction=True),
    exceptions={"precision": "its momentum is `trace`, a sum"},
    usual={"learning_rate": 0.001},
)
def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformationExtraArgs:
    """RMSprop: `scale_by_rms` (`scale_by_stddev` if centered), `scale_by_learning_rate`, then `trace` with momentum.

    Args:
      centered: divide by the running standard deviation instead of the root mean square. Usually False.
    When:    recurrent networks and reinforcement learning; a usual learning rate is 1e-3.
    """
    scale = scale_by_stddev if centered else scale_by_rms
    return chain(
        scale(decay, eps, initial_scale, eps_in_sqrt, bias_correction),
        scale_by_learning_rate(learning_rate),
        identity() if momentum is None else trace(momentum, nesterov),
    )

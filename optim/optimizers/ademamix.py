"""AdEMAMix: Adam with a second, slow mean of the gradients, and its simplified form."""

from typing import Any, NamedTuple

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, elementwise
from ..numerics import abs_sq, debias, decayed, ema, root_ratio, safe_increment, scaled, scheduled
from ..schedules import linear_schedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Updates

_SUM = {"precision": "a sum of 1 / (1 - b1) gradients is rounded at its own size, not the update's"}
_ALPHA = checks.Range(0, schedule=True)
_MIXED = {"b3": checks.Range(0, 1, open_high=True, schedule=True), "alpha": _ALPHA}


class ScaleByAdemamixState(NamedTuple):
    count: Count
    count_m2: Count
    m1: Updates
    m2: Updates
    nu: Updates


class ScaleBySimplifiedAdEMAMixState(NamedTuple):
    t: Count
    m: Updates
    n: Updates


@register(
    example(),
    example(0.8, 0.99, 0.999, 2.0, 1e-3, 1e-6),
    example(b3=linear_schedule(0.9, 0.999, 10), alpha=linear_schedule(0.0, 5.0, 10)),
    ranges=_MIXED,
    exceptions={"precision": "m2 contains the rounding errors of 1 / (1 - b3) steps, multiplied by alpha"},
)
def scale_by_ademamix(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 6.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Divide a fast and a slow running mean gradient by the running root mean square.

        m1 <- b1 m1 + (1 - b1) g            x^ = x / (1 - b^t)
        m2 <- b3 m2 + (1 - b3) g
        nu <- b2 nu + (1 - b2) |g|^2
        u   = (m1^ + alpha m2) / (sqrt(nu^ + eps_root) + eps)

    Args:
      b1, b2: decays of m1 and nu, in [0, 1). Usually 0.9 and 0.999.
      b3: decay of m2, in [0, 1), or a schedule. Usually 0.9999.
      alpha: weight of m2, >= 0, or a schedule. Usually 5 to 10.
      eps, eps_root: added outside and inside the root, in units of g and of g^2, >= 0. Usually 1e-8 and 0.
      mu_dtype: dtype of m1 and m2; None keeps the parameter's, at least float32 where the mean is slow.
    State:   count; count_m2, the count of the schedules; m1, m2, nu shaped like params: 12 bytes per float32 parameter.
    Source:  Pagliardini et al. 2024, Alg. 1.
    """

    def scalars(count_m2: Count) -> dict[str, Any]:
        return {
            "count_m2": safe_increment(count_m2),
            "slow": scheduled(b3, count_m2),
            "share": scheduled(alpha, count_m2),
        }

    def rule(g: Array, m1: Array, m2: Array, nu: Array, t: Count, slow: Scalar, share: Scalar) -> Any:
        m1, m2, nu = ema(m1, g, b1), ema(m2, g, slow), ema(nu, abs_sq(g), b2)
        top = debias(m1, b1, t) + scaled(m2, share)
        return root_ratio(top, debias(nu, b2, t), eps, eps_root), (m1, m2, nu)

    return elementwise(
        rule,
        ScaleByAdemamixState,
        scalars=scalars,
        count_m2=StateScalar(0, "int32"),
        m1=Slot(dtype=mu_dtype, decay=b1),
        m2=Slot(dtype=mu_dtype, decay=b3),
        nu=Slot(real=True, non_negative=True),
    )


@register(example(0.1), example(0.1, weight_decay=0.1, mask=True), ranges=_MIXED, usual={"learning_rate": 0.001})
def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """AdEMAMix: `scale_by_ademamix`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    long training of language models, with schedules for b3 and alpha; a usual learning rate is 3e-4 to 1e-3.
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@register(
    example(),
    example(0.9, 0.99, 2.0, 1e-3, 1e-6),
    example(alpha=linear_schedule(0.0, 5.0, 10)),
    ranges={"alpha": _ALPHA},
    exceptions=_SUM,
)
def scale_by_simplified_ademamix(
    b1: Scalar = 0.99,
    b2: Scalar = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
) -> GradientTransformationExtraArgs:
    """Divide a decaying sum of gradients plus alpha times the last gradient by the running root mean square.

        m <- b1 m + g
        n <- b2 n + (1 - b2) |g|^2
        u  = (m + alpha g) / (sqrt(n / (1 - b2^t) + eps_root) + eps)

    Args:
      b1, b2: decays of m and n, in [0, 1). Usually 0.99 and 0.95.
      alpha: weight of the last gradient, >= 0, or a schedule. Usually 0 to 100.
      eps, eps_root: added outside and inside the root, in units of g and of g^2, >= 0. Usually 1e-8 and 0.
    State:   t, the count; m, n shaped like params: 8 bytes per float32 parameter.
    Source:  Morwani et al. 2025, Simplified-AdEMAMix.
    """

    def scalars(t: Count) -> dict[str, Any]:
        return {"share": scheduled(alpha, t - 1)}

    def rule(g: Array, m: Array, n: Array, t: Count, share: Scalar) -> Any:
        m, n = g + decayed(m, b1), ema(n, abs_sq(g), b2)
        return root_ratio(m + scaled(g, share), debias(n, b2, t), eps, eps_root), (m, n)

    return elementwise(
        rule, ScaleBySimplifiedAdEMAMixState, scalars=scalars, m=Slot(decay=b1), n=Slot(real=True, non_negative=True)
    )


@register(
    example(0.1),
    example(0.1, weight_decay=0.1, mask=True),
    ranges={"alpha": _ALPHA},
    exceptions=_SUM,
    usual={"learning_rate": 1e-05},
)
def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.99,
    b2: Scalar = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Simplified AdEMAMix: `scale_by_simplified_ademamix`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    AdEMAMix without its second mean; since m is a sum, a usual learning rate is 1 - b1 times Adam's: 1e-5.
    """
    return chain(
        scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

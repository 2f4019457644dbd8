"""D-adaptation: Adam whose step size is an estimated lower bound on the distance to the solution."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks, tree
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, treewise
from ..numerics import abs_sq, at, bias_factor, decayed, ema, hyperparameter, like, ratio, root, root_ratio, scaled
from ..schedules import inverse_time_decay
from ..types import Array, Count, Params, Scalar, ScalarOrSchedule, Tree, Updates


class DAdaptAdamWState(NamedTuple):
    exp_avg: Updates
    exp_avg_sq: Updates
    grad_sum: Updates
    estim_lr: Array
    numerator_weighted: Array
    count: Count


class ProdigyState(NamedTuple):
    exp_avg: Updates
    exp_avg_sq: Updates
    grad_sum: Updates
    params0: Params
    estim_lr: Array
    numerator_weighted: Array
    count: Count


_RANGES = {
    "beta3": checks.DECAY,
    "estim_lr0": checks.POSITIVE,
    "estim_lr_coef": checks.POSITIVE,
}
_ERRORS = [
    (example(betas=(0.9, 1.0)), "betas[1] must be in [0, 1), got 1.0"),
    (example(betas=0.9), "betas must be two numbers (b1, b2), got 0.9"),
]


def _pair(betas: Any) -> tuple[Scalar, Scalar]:
    if not (isinstance(betas, tuple | list) and len(betas) == 2):
        checks.fail(f"betas must be two numbers (b1, b2), got {checks.shown(betas)}")
    for i, b in enumerate(betas):
        checks.argument(f"betas[{i}]", b, checks.DECAY)
    return betas[0], betas[1]


def _sqrt(x: Scalar) -> Scalar:
    return root(jnp.asarray(x)) if checks.is_array(x) else math.sqrt(x)


def _rate(learning_rate: ScalarOrSchedule, b1: Scalar, b2: Scalar, t: Count) -> Array:
    """learning_rate sqrt(1 - b2^t) / (1 - b1^t)."""
    rate = at(learning_rate, t)
    return rate * root(bias_factor(b2, t, rate.dtype)) / bias_factor(b1, t, rate.dtype)


@register(
    example(),
    example(0.5, (0.8, 0.9), eps=1e-3, estim_lr0=1e-2, weight_decay=0.1),
    example(inverse_time_decay(0.5, 1, 0.1), (0.0, 0.9), estim_lr0=1e-2),
    ranges={"estim_lr0": _RANGES["estim_lr0"]},
    errors=_ERRORS,
)
def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[Scalar, Scalar] = (0.9, 0.999),
    eps: Scalar = 1e-8,
    estim_lr0: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
) -> GradientTransformationExtraArgs:
    """AdamW with D-adaptation: steps are scaled by d, an estimated lower bound on the distance to the solution.

        l  = d learning_rate sqrt(1 - b2^t) / (1 - b1^t),  q = sqrt(b2)
        r <- q r + (1 - q) l <g, s / (sqrt(v) + eps)>
        m <- b1 m + (1 - b1) l g,  v <- b2 v + (1 - b2) |g|^2,  s <- q s + (1 - q) l g
        u  = -m / (sqrt(v) + eps) - l weight_decay p
        d <- max(d, r / ((1 - q) |s|_1))               for the next update; sums over the whole tree

    Args:
      learning_rate: factor on d, >= 0, or a schedule. Usually 1.0.
      betas: decays (b1, b2) of m and v, in [0, 1). Usually (0.9, 0.999).
      eps: added to the root, in units of g, >= 0. Usually 1e-8.
      estim_lr0: initial d, in units of p, > 0. Usually 1e-6.
    State:   count, estim_lr (d), numerator_weighted (r); exp_avg (m), exp_avg_sq (v), grad_sum (s) shaped like params:
             12 bytes per float32 parameter.
    Source:  Defazio & Mishchenko 2023, D-adapted Adam, with bias corrections and decoupled decay.
    When:    training with AdamW without tuning its learning rate; leave it at 1.0.
    """
    b1, b2 = _pair(betas)
    q = _sqrt(b2)

    def scalars(
        updates: Tree, grad_sum: Tree, exp_avg_sq: Tree, estim_lr: Array, numerator_weighted: Array, t: Count
    ) -> dict[str, Array]:
        d = hyperparameter(estim_lr)
        step = d * _rate(learning_rate, b1, b2, t)
        correlation = tree.total(
            lambda s, v, g: None if g is None else g * root_ratio(s, v, eps), grad_sum, exp_avg_sq, updates
        )
        numerator = ema(hyperparameter(numerator_weighted), step * correlation, q)
        size = tree.total(lambda s, g: jnp.abs(s if g is None else ema(s, scaled(g, step), q)), grad_sum, updates)
        bound = ratio(numerator, (1 - like(size, q)) * size)
        decay = step * at(weight_decay, t)
        return {"estim_lr": jnp.maximum(d, bound), "numerator_weighted": numerator, "step": step, "decay": decay}

    def rule(g: Array, p: Array, exp_avg: Array, exp_avg_sq: Array, grad_sum: Array, step: Array, decay: Array) -> Any:
        m = ema(exp_avg, scaled(g, step), b1)
        v = ema(exp_avg_sq, abs_sq(g), b2)
        s = ema(grad_sum, scaled(g, step), q)
        return -(root_ratio(m, v, eps) + scaled(p, decay)), (m, v, s)

    return treewise(
        rule,
        DAdaptAdamWState,
        scalars=scalars,
        exp_avg=Slot(decay=1.0),  # proportional to d, so float16 would underflow
        exp_avg_sq=Slot(real=True, non_negative=True),
        grad_sum=Slot(decay=1.0),
        estim_lr=StateScalar(lambda _: hyperparameter(estim_lr0)),
        numerator_weighted=StateScalar(),
    )


@register(
    example(),
    example(0.5, (0.8, 0.9), 0.8, 1e-3, estim_lr0=1e-2, estim_lr_coef=2.0, weight_decay=0.1),
    example(inverse_time_decay(0.5, 1, 0.1), (0.0, 0.9), estim_lr0=1e-2, safeguard_warmup=True),
    ranges=_RANGES,
    errors=_ERRORS,
)
def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[Scalar, Scalar] = (0.9, 0.999),
    beta3: Scalar | None = None,
    eps: Scalar = 1e-8,
    estim_lr0: Scalar = 1e-6,
    estim_lr_coef: Scalar = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    safeguard_warmup: bool = False,
) -> GradientTransformationExtraArgs:
    """Prodigy: D-adaptation whose estimate d grows faster, since it uses the displacement p0 - p.

        l  = d learning_rate sqrt(1 - b2^t) / (1 - b1^t)
        r <- beta3 r + (d / d0) l <g, p0 - p>
        s <- beta3 s + (d / d0) l g                    with safeguard_warmup d in place of l
        m <- b1 m + (1 - b1) d g,  v <- b2 v + (1 - b2) |d g|^2
        d' = max(d, estim_lr_coef r / |s|_1)           sums over the whole tree
        u  = -l (m / (sqrt(v) + d' eps) + weight_decay p),  then d <- d'

    Args:
      learning_rate: factor on d, >= 0, or a schedule. Usually 1.0.
      betas: decays (b1, b2) of m and v, in [0, 1). Usually (0.9, 0.999).
      beta3: decay of r and s, in [0, 1); None is sqrt(b2).
      eps: added to the root, times d', in units of g, >= 0. Usually 1e-8.
      estim_lr0: initial d (d0), in units of p, > 0. Usually 1e-6.
      estim_lr_coef: factor on the estimate of d, > 0. Usually 1.0.
      safeguard_warmup: leave the learning rate out of s; use it when the learning rate warms up.
    State:   count, estim_lr (d), numerator_weighted (r); exp_avg (m), exp_avg_sq (v), grad_sum (s), params0 (p0) shaped
             like params: 16 bytes per float32 parameter.
    Source:  Mishchenko & Defazio 2023, the Adam version, and its code; the paper has d eps.
    When:    training and fine-tuning with AdamW without tuning its learning rate; leave it at 1.0.
    """
    b1, b2 = _pair(betas)
    b3 = _sqrt(b2) if beta3 is None else beta3

    def scalars(
        updates: Tree,
        params: Params,
        grad_sum: Tree,
        params0: Params,
        estim_lr: Array,
        numerator_weighted: Array,
        t: Count,
    ) -> dict[str, Array]:
        d = hyperparameter(estim_lr)
        step = d * _rate(learning_rate, b1, b2, t)
        units = d / hyperparameter(estim_lr0)
        weight = units * (d if safeguard_warmup else step)
        correlation = tree.total(lambda x0, x, g: None if g is None else g * (x0 - x), params0, params, updates)
        numerator = decayed(hyperparameter(numerator_weighted), b3) + units * step * correlation
        size = tree.total(
            lambda s, g: jnp.abs(s if g is None else decayed(s, b3) + scaled(g, weight)), grad_sum, updates
        )
        new = jnp.maximum(d, hyperparameter(estim_lr_coef) * ratio(numerator, size))
        return {
            "estim_lr": new,
            "numerator_weighted": numerator,
            "d": d,
            "step": step,
            "weight": weight,
            "floor": new * hyperparameter(eps),
            "decay": step * at(weight_decay, t),
        }

    def rule(
        g: Array,
        p: Array,
        exp_avg: Array,
        exp_avg_sq: Array,
        grad_sum: Array,
        params0: Array,
        d: Array,
        step: Array,
        weight: Array,
        floor: Array,
        decay: Array,
    ) -> Any:
        dg = scaled(g, d)
        m, v = ema(exp_avg, dg, b1), ema(exp_avg_sq, abs_sq(dg), b2)
        s = decayed(grad_sum, b3) + scaled(g, weight)
        return -(scaled(root_ratio(m, v, floor), step) + scaled(p, decay)), (m, v, s, params0)

    return treewise(
        rule,
        ProdigyState,
        scalars=scalars,
        exp_avg=Slot(decay=1.0),
        exp_avg_sq=Slot(real=True, non_negative=True),
        grad_sum=Slot(decay=1.0),
        params0=Slot(init=lambda p: p),
        estim_lr=StateScalar(lambda _: hyperparameter(estim_lr0)),
        numerator_weighted=StateScalar(),
    )

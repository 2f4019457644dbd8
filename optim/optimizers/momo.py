"""MoMo: the learning rate is an upper limit, below which a model of the loss chooses the step."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks, tree
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, treewise
from ..numerics import abs_sq, at, bias_factor, debias, ema, hyperparameter, loss, ratio, root_ratio, scaled, square
from ..schedules import inverse_time_decay
from ..types import Array, Count, Params, Scalar, ScalarOrSchedule, Tree, Updates


class MomoState(NamedTuple):
    exp_avg: Updates
    barf: Array
    gamma: Array
    lb: Array
    count: Count


class MomoAdamState(NamedTuple):
    exp_avg: Updates
    exp_avg_sq: Updates
    barf: Array
    gamma: Array
    lb: Array
    count: Count


_RANGES = {"lower_bound": checks.REAL}


def _correlation(updates: Tree, params: Params) -> Array:
    """<g, p> over the whole tree."""
    return tree.total(lambda x, g: None if g is None else g * x, params, updates)


class _Model(NamedTuple):
    """A linear model of the loss around the parameters, from running averages of the loss, <g, p> and the gradient."""

    barf: Array
    gamma: Array
    inner: Array
    """<m, p>."""
    square: Array
    """|m|^2 in the norm of the preconditioner."""
    mass: Any
    """The sum of the averages' weights: 1, or 1 - b1^t for averages that start at 0."""

    def step(self, rate: Array, decay: Array, lb: Array, lower_bound: Scalar, adapt: bool) -> tuple[Array, Array]:
        """The step along the averaged gradient, and the lower bound for the next update."""
        growth = 1 + rate * decay
        top = growth * (self.barf - self.gamma) + self.inner
        if adapt:
            low = jnp.maximum(top / (2 * growth * self.mass), hyperparameter(lower_bound))
            lb = jnp.where(top < growth * self.mass * lb, low, lb)
        gap = jnp.maximum(top - growth * self.mass * lb, 0)
        step = jnp.minimum(rate / self.mass, ratio(gap, self.square))
        if adapt:
            # This is step |m|^2, in a form that stays finite where |m|^2 overflows.
            descent = jnp.minimum(rate / self.mass * self.square, gap)
            value = self.barf - self.gamma + self.inner - descent / 2
            lb = jnp.maximum(value / self.mass, hyperparameter(lower_bound))
        return step, lb

    def scalars(
        self, rate: Array, decay: Array, lb: Array, lower_bound: Scalar, adapt: bool, decay_step: bool
    ) -> dict[str, Array]:
        """The state's new scalars, and those of the rule."""
        step, lb = self.step(rate, decay, hyperparameter(lb), lower_bound, adapt)
        growth = 1 + rate * decay
        step = step / growth if decay_step else step
        return {"barf": self.barf, "gamma": self.gamma, "lb": lb, "step": step, "shrink": rate * decay / growth}


@register(
    example().given(value=1.0),
    example(0.5, lower_bound=0.3, weight_decay=0.1).given(value=1.0),
    example(inverse_time_decay(5.0, 1, 0.1), 0.5, adapt_lower_bound=True).given(value=1.0),
    ranges=_RANGES,
)
def momo(
    learning_rate: ScalarOrSchedule = 1.0,
    beta: Scalar = 0.9,
    lower_bound: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    adapt_lower_bound: bool = False,
    *,
    decay_step: bool = True,
) -> GradientTransformationExtraArgs:
    """Momentum with an adaptive step: running averages of the loss choose it, up to the learning rate.

        f <- beta f + (1 - beta) value,  c <- beta c + (1 - beta) <g, p>,  m <- beta m + (1 - beta) g
        a  = 1 + learning_rate weight_decay
        s  = min(learning_rate, max(a (f - c - lb) + <m, p>, 0) / |m|^2)
        u  = (p - s m) / a - p                          sums over the whole tree; f, c, m at first: value, <g, p>, g

    update needs value=..., the loss at params. With adapt_lower_bound, an lb that allows no step is first lowered to
    half of the model's value, and after the step lb becomes the model's new value; lb is never below lower_bound.

    Args:
      learning_rate: largest step, >= 0, or a schedule. Usually 1.0.
      beta: decay of f, c and m, in [0, 1). Usually 0.9.
      lower_bound: lower bound of the loss, in its units. Usually 0.
      adapt_lower_bound: adapt lb, which starts at lower_bound. Usually False.
      decay_step: whether to divide s m by a too. Usually True; False gives Optax's numbers.
    State:   count, barf (f), gamma (c), lb; exp_avg (m) shaped like params: 4 bytes per float32 parameter.
    Raises:  TypeError for an update without value.
    Source:  Schaipp et al. 2023, Alg. 1, with weight decay as in the authors' code.
    Differs: Optax does not divide s m by a, so that a capped step misses the model's bound: see decay_step.
    When:    momentum SGD without a carefully tuned learning rate or schedule; 1.0 is usual.
    """

    def decay_at(t: Count) -> Array:
        return jnp.where(t > 1, hyperparameter(beta), 0)

    def scalars(
        updates: Tree, params: Params, exp_avg: Tree, barf: Array, gamma: Array, lb: Array, t: Count, value: Any
    ) -> dict[str, Array]:
        b = decay_at(t)
        model = _Model(
            ema(hyperparameter(barf), loss(value), b),
            ema(hyperparameter(gamma), _correlation(updates, params), b),
            tree.total(lambda m, x, g: x * (m if g is None else ema(m, g, b)), exp_avg, params, updates),
            tree.total(lambda m, g: square(m if g is None else ema(m, g, b)), exp_avg, updates),
            1.0,
        )
        rate, decay = at(learning_rate, t), at(weight_decay, t)
        return {"b": b, **model.scalars(rate, decay, lb, lower_bound, adapt_lower_bound, decay_step)}

    def rule(g: Array, p: Array, exp_avg: Array, b: Array, step: Array, shrink: Array) -> Any:
        m = ema(exp_avg, g, b)
        return -(scaled(m, step) + scaled(p, shrink)), m

    return treewise(
        rule,
        MomoState,
        scalars=scalars,
        exp_avg=Slot(decay=1.0),  # <m, p> cancels against gamma, so m is not narrowed
        barf=StateScalar(),
        gamma=StateScalar(),
        lb=StateScalar(lambda _: hyperparameter(lower_bound)),
    )


@register(
    example().given(value=1.0),
    example(0.5, 0.8, 0.9, 1e-3, lower_bound=0.3, weight_decay=0.1).given(value=1.0),
    example(inverse_time_decay(5.0, 1, 0.1), eps=0.1, adapt_lower_bound=True).given(value=1.0),
    ranges=_RANGES,
)
def momo_adam(
    learning_rate: ScalarOrSchedule = 1e-2,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    lower_bound: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    adapt_lower_bound: bool = False,
    *,
    decay_step: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam with an adaptive step: `momo` in the norm of Adam's denominator.

        f, c, m as in momo with b1, but 0 at first;  v <- b2 v + (1 - b2) |g|^2
        k  = 1 - b1^t,  D = sqrt(v / (1 - b2^t)) + eps,  a = 1 + learning_rate weight_decay
        s  = min(learning_rate / k, max(a (f - c - k lb) + <m, p>, 0) / <m, m / D>)
        u  = (p - s m / D) / a - p

    update needs value=..., the loss at params.

    Args:
      learning_rate: largest step, >= 0, or a schedule. Usually 1e-2.
      b1: decay of f, c and m, in [0, 1). Usually 0.9.
      b2: decay of v, in [0, 1). Usually 0.999.
      eps: added to the root, in units of g, >= 0. Usually 1e-8.
    State:   count, barf (f), gamma (c), lb; exp_avg (m), exp_avg_sq (v) shaped like params: 8 bytes per float32
             parameter.
    Raises:  TypeError for an update without value.
    Source:  Schaipp et al. 2023, Alg. 2, with weight decay as in the authors' code.
    Differs: Optax does not divide s m / D by a: see decay_step.
    When:    Adam without a carefully tuned learning rate or schedule; 1e-2 is usual.
    """

    def scalars(
        updates: Tree,
        params: Params,
        exp_avg: Tree,
        exp_avg_sq: Tree,
        barf: Array,
        gamma: Array,
        lb: Array,
        t: Count,
        value: Any,
    ) -> dict[str, Array]:
        def squared_norm(m: Array, v: Array, g: Array | None) -> Array:
            m, v = (m, v) if g is None else (ema(m, g, b1), ema(v, abs_sq(g), b2))
            return m * root_ratio(m, debias(v, b2, t), eps)

        current = loss(value)
        model = _Model(
            ema(hyperparameter(barf), current, b1),
            ema(hyperparameter(gamma), _correlation(updates, params), b1),
            tree.total(lambda m, x, g: x * (m if g is None else ema(m, g, b1)), exp_avg, params, updates),
            tree.total(squared_norm, exp_avg, exp_avg_sq, updates),
            bias_factor(b1, t, current.dtype),
        )
        rate, decay = at(learning_rate, t), at(weight_decay, t)
        return model.scalars(rate, decay, lb, lower_bound, adapt_lower_bound, decay_step)

    def rule(g: Array, p: Array, exp_avg: Array, exp_avg_sq: Array, t: Count, step: Array, shrink: Array) -> Any:
        m, v = ema(exp_avg, g, b1), ema(exp_avg_sq, abs_sq(g), b2)
        return -(scaled(root_ratio(m, debias(v, b2, t), eps), step) + scaled(p, shrink)), (m, v)

    return treewise(
        rule,
        MomoAdamState,
        scalars=scalars,
        exp_avg=Slot(decay=1.0),
        exp_avg_sq=Slot(real=True, non_negative=True),
        barf=StateScalar(),
        gamma=StateScalar(),
        lb=StateScalar(lambda _: hyperparameter(lower_bound)),
    )

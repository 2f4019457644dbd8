"""Mechanic: a learned factor for the learning rate."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks, numerics, tree
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot, StateScalar
from ..lift.wrap import wrap
from ..transforms.momentum import ema
from ..transforms.scaling import scale
from ..types import Array, Count, Params, Scalar, TransformationLike, Tree


class MechanicState(NamedTuple):
    base_optimizer_state: Any
    count: Count
    r: Array
    m: Array
    v: Array
    s: Array
    x0: Params


@register(
    example(ema(0.9)),
    example(scale(-0.1), weight_decay=0.1, s_init=0.01, num_betas=2),
    ranges={
        "weight_decay": checks.NON_NEGATIVE,
        "s_init": checks.NON_NEGATIVE,
        "num_betas": checks.Range(1, integer=True),
    },
    errors=[(example(1), "base_optimizer must be a transformation (init, update), got 1")],
    exceptions={
        "independent": "the authors' package for PyTorch starts m at 1e-6, clips h by the new m, and keeps r above 0"
    },
)
def mechanize(
    base_optimizer: TransformationLike,
    weight_decay: Scalar = 1e-2,
    eps: Scalar = 1e-8,
    s_init: Scalar = 1e-6,
    num_betas: int = 6,
) -> GradientTransformationExtraArgs:
    """Scale the sum of all updates of `base_optimizer` by a factor learned during training.

        D <- D + u;  p = x0 + sum(s) D        for each beta_i = 1 - 10^-i:
        h = -<D, g + lambda sum(s) |g| p / |p|>,  with D as it was before;  c = min(max(h, -m), m)
        m <- max(beta m, |h| + eps);  v <- beta^2 v + h^2;  r <- beta r + s c
        s <- (s_init m / n + max(r, 0)) / (sqrt(v) + eps)

    Args:
      base_optimizer: a transformation that descends; its learning rate is a schedule of magnitude 1.
      weight_decay: lambda, >= 0. Usually 0.01.
      eps: added to denominators, also to |p| and sum(s), >= 0. Usually 1e-8.
      s_init: initial scale, >= 0. Usually 1e-6 or smaller.
      num_betas: n, number of decays beta_i, a Python integer >= 1. Usually 6.
    State:   MechanicState(base_optimizer_state, count, r, m, v, s, x0): r, m, v, s have shape (n,); x0, the initial
             parameters, takes 4 bytes per float32 parameter. D is (p - x0) / (sum(s) + eps).
    Source:  Cutkosky, Defazio & Mehta 2023, Alg. 1, with h clipped in r as in the authors' code.
    When:    the best learning rate is unknown.
    """
    member = taking_extra_args(base_optimizer, "base_optimizer")
    if not isinstance(num_betas, int):
        checks.fail(f"num_betas must be a Python integer, got {checks.shown(num_betas)}", TypeError)
    n = num_betas

    def scalars(updates: Tree, params: Params, x0: Params, r: Array, m: Array, v: Array, s: Array) -> dict[str, Array]:
        beta = jnp.asarray([1 - 0.1**i for i in range(1, n + 1)], s.dtype)
        least, total = numerics.like(s, eps), jnp.sum(s)
        h = _slope(updates, params, x0, total, numerics.like(s, weight_decay), least)
        limited = jnp.clip(h, -m, m)
        m = jnp.maximum(beta * m, jnp.abs(h) + least)
        v = numerics.saturated(jnp.square(beta) * v + jnp.square(h))
        r = beta * r + s * limited
        s = (numerics.like(s, s_init) / n * m + jnp.maximum(r, 0)) / (numerics.root(v) + least)
        now = jnp.sum(s)
        return {"r": r, "m": m, "v": v, "s": s, "grown": (now - total - least) / (total + least), "total": now}

    def rule(u: Array, p: Array, x0: Array, grown: Array, total: Array) -> Any:
        return numerics.scaled(p - x0, grown) + numerics.scaled(u, total), x0

    def each(value: Scalar) -> StateScalar:
        return StateScalar(lambda _: numerics.full(n, value, numerics.scalar_dtype()))

    return wrap(
        member,
        rule,
        MechanicState,
        grain="treewise",
        scalars=scalars,
        r=each(0),
        m=each(0),
        v=each(0),
        s=each(s_init),
        x0=Slot(init=lambda p: p),
    )


def _slope(g: Tree, p: Tree, x0: Tree, total: Array, decay: Scalar, least: Scalar) -> Array:
    """-<D, g + decay total |g| p / |p|>, clipped so that its square is finite."""
    dtype = total.dtype
    most = numerics.saturated(jnp.full((), jnp.inf, dtype))
    p = tree.map(lambda g, p: p, g, p)
    raised = decay * total * numerics.saturated(tree.global_norm(g).astype(dtype))
    inverse = 1 / (tree.global_norm(p).astype(dtype) + least)
    # Clip the sums to finite numbers, so that zero times one of them is zero.
    along_g = jnp.clip(tree.total(lambda g, x, p: (x - p) * g, g, x0, p).astype(dtype), -most, most)
    along_p = jnp.clip(tree.total(lambda _, x, p: (x - p) * p, g, x0, p).astype(dtype), -most, most)
    h = (along_g + raised * (inverse * along_p)) / (total + least)
    return jnp.clip(h, -numerics.root(most), numerics.root(most))

"""Mechanic: a learning rate that tunes itself."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, numerics, tree
from ..base import GradientTransformationExtraArgs, taking_extra_args
from ..compose import around
from ..lift import Slot, elementwise
from ..registry import example, register
from ..transforms.momentum import ema
from ..transforms.scale import scale
from ..types import Array, Count, Params, Scalar, Tree
from .gate import fitted, present, restored, seeing_all


class MechanicState(NamedTuple):
    base_optimizer_state: Any
    count: Count
    r: Array
    m: Array
    v: Array
    s: Array
    x0: Params


class _Start(NamedTuple):
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
)
def mechanize(
    base_optimizer: Any,
    weight_decay: Scalar = 1e-2,
    eps: Scalar = 1e-8,
    s_init: Scalar = 1e-6,
    num_betas: int = 6,
) -> GradientTransformationExtraArgs:
    """Scale all that `base_optimizer` has done so far by a factor that is learnt as the run goes on.

        D <- D + u;  p = x0 + sum(s) D        for each beta_i = 1 - 10^-i:
        h = -<D, g + lambda sum(s) |g| p / |p|>,  with D as it was before;  c = min(max(h, -m), m)
        m <- max(beta m, |h| + eps);  v <- beta^2 v + h^2;  r <- beta r + s c
        s <- (s_init m / n + max(r, 0)) / (sqrt(v) + eps)

    Args:    base_optimizer: a transformation that descends, its learning rate a schedule of size 1. weight_decay
             (lambda), s_init, eps >= 0: eps also keeps the divisions by |p| and sum(s) safe. num_betas (n): an
             integer >= 1, a Python number.
    State:   MechanicState(base_optimizer_state, count, r, m, v, s, x0): n numbers each, and x0 the parameters at
             first: 4 bytes per float32 parameter. D is (p - x0) / (sum(s) + eps).
    Source:  Cutkosky, Defazio & Mehta 2023, Alg. 1, with h limited in r as the authors' own code does.
    """
    member = taking_extra_args(base_optimizer, "base_optimizer")
    if not isinstance(num_betas, int):
        checks.fail(f"num_betas must be a Python integer, got {checks.shown(num_betas)}", TypeError)
    n = num_betas

    def rule(g: Array, p: Array, x0: Array, grown: Array, total: Array) -> Any:
        return numerics.scaled(p - x0, grown) + numerics.scaled(g, total), x0

    def scalars(grown: Array, total: Array) -> dict[str, Array]:
        return {"grown": grown, "total": total}

    rescale = elementwise(rule, _Start, scalars=scalars, x0=Slot(init=lambda p: p))

    def init(params: Params) -> MechanicState:
        dtype = numerics.scalar_dtype()
        r, m, v = (jnp.zeros(n, dtype) for _ in range(3))
        s = jnp.zeros(n, dtype) + numerics.like(r, s_init)
        return MechanicState(member.init(params), jnp.zeros((), jnp.int32), r, m, v, s, rescale.init(params).x0)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        wide = tree.widen(present(updates))
        steps, base_state = member.update(wide, state.base_optimizer_state, params, **extra_args)
        r, m, v, s = state.r, state.m, state.v, state.s
        beta = jnp.asarray([1 - 0.1**i for i in range(1, n + 1)], s.dtype)
        least, total = numerics.like(s, eps), jnp.sum(s)
        h = _slope(wide, params, state.x0, total, numerics.like(s, weight_decay), least)
        limited = jnp.clip(h, -m, m)
        m = jnp.maximum(beta * m, jnp.abs(h) + least)
        v = numerics.saturated(jnp.square(beta) * v + jnp.square(h))
        r = beta * r + s * limited
        s = (numerics.like(s, s_init) / n * m + jnp.maximum(r, 0)) / (numerics.root(v) + least)
        now = jnp.sum(s)
        start = _Start(state.x0)
        new, _ = rescale.update(steps, start, params, grown=(now - total - least) / (total + least), total=now)
        count = numerics.safe_increment(state.count)
        base_state = fitted(base_state, state.base_optimizer_state)
        return restored(new, updates), MechanicState(base_state, count, r, m, v, s, state.x0)

    return around(
        member,
        init,
        update,
        inner=lambda state: state.base_optimizer_state,
        grain=seeing_all(member),
        state_classes=(MechanicState,),
        slots=("x0",),
    )


def _slope(g: Tree, p: Tree, x0: Tree, total: Array, decay: Scalar, least: Scalar) -> Array:
    """-<D, g + decay total |g| p / |p|>, held where its square is finite."""
    if p is None:
        checks.fail("update needs the parameters: call update(updates, state, params)")
    home = [tree.match(t, x0, name, "state.x0") for t, name in ((x0, "x0"), (p, "params"), (g, "updates"))]
    there = [(tree.widen(a), tree.widen(b), c) for a, b, c in zip(*home, strict=True) if c is not None]
    if not there:
        return jnp.zeros((), total.dtype)
    dtype = total.dtype
    most = numerics.saturated(jnp.full((), jnp.inf, dtype))
    raised = decay * total * numerics.saturated(tree.global_norm([g for *_, g in there]).astype(dtype))
    inverse = 1 / (tree.global_norm([p for _, p, _ in there]).astype(dtype) + least)
    # Sums held finite, so that a zero times one of them is zero.
    along_g = jnp.clip(sum(_dot(a - p, g, dtype) for a, p, g in there), -most, most)
    along_p = jnp.clip(sum(_dot(a - p, p, dtype) for a, p, _ in there), -most, most)
    h = (along_g + raised * (inverse * along_p)) / (total + least)
    return jnp.clip(h, -numerics.root(most), numerics.root(most))


def _dot(a: Array, b: Array, dtype: Any) -> Array:
    with jax.numpy_dtype_promotion("standard"):  # of precisions, where gradients are wider than parameters
        return jnp.real(jnp.sum(jnp.conj(a) * b)).astype(dtype)

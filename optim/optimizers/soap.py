"""SOAP: Adam in the eigenbases of Shampoo's statistics."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from .. import checks, tree
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot
from ..lift.rules import check_updates
from ..matrix.bases import eigenbasis, power_step, product, rotated
from ..matrix.stacks import as_matrices, axes_of_matrices, numbers_of
from ..numerics import (
    abs_sq,
    bias_factor,
    convert,
    ema,
    gathered,
    inverse_bias,
    real_dtype,
    restored,
    root_of_square,
    root_ratio,
    safe_increment,
    scaled,
    scheduled,
    whole_zeros,
    wide_dtype,
    zero_count,
)
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..tree.params import trainable_arrays
from ..types import Array, Count, DType, MaskOrFn, Params, Scalar, ScalarOrSchedule, Tree, Updates
from .adam import adamw
from .matrices import groups
from .muon import matrix_leaves
from .normuon import ADAM


class ScaleBySoapState(NamedTuple):
    count: Count
    failures: Count
    mu: Updates
    nu: Updates
    statistics: Tree
    bases: Tree


_RANGES = {
    "precondition_frequency": checks.Range(1, integer=True, means="number of updates between new eigenbases"),
    "max_precond_dim": checks.Range(0, integer=True, means="largest side of a matrix that has a basis"),
    "shampoo_beta": checks.Range(0, 1, open_high=True, means="decay of the statistics; None is b2"),
}
_EXCEPTIONS = {
    "sharding": "the eigenbases of a sharded matrix are those of the whole matrix",
    "inject": "the sweep's gradients span two of three rows, and the rounding in the third is divided by its own size",
}


@register(
    example(), example(precondition_frequency=1, max_precond_dim=2, b1=0.5), ranges=_RANGES, exceptions=_EXCEPTIONS
)
def scale_by_soap(
    b1: Scalar = 0.95,
    b2: Scalar = 0.95,
    eps: Scalar = 1e-8,
    precondition_frequency: int = 10,
    max_precond_dim: int = 10000,
    *,
    shampoo_beta: Scalar | None = None,
    mu_dtype: DType = None,
    weight_dimension_numbers: Any = None,
) -> GradientTransformationExtraArgs:
    """Divide as Adam does, in the eigenbases of the second moments of a matrix's rows and columns.

        mu <- b1 mu + (1 - b1) g,   nu <- b2 nu + (1 - b2) |Q_L^H g Q_R|^2
        u   = Q_L [Q_L^H mu Q_R / (sqrt(nu) + eps)] Q_R^H sqrt(1 - b2^s) / (1 - b1^s),   s = t - 1
        then L <- b L + (1 - b) g g^H,  R <- b R + (1 - b) g^H g,  and if f divides s, Q = qr(L Q), nu re-ordered with Q

    The first update is zero: it makes the bases, eigenvectors of L and R. Vectors have none.

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.95.
      eps: added to sqrt(nu), in units of g, >= 0. Usually 1e-8.
      weight_dimension_numbers: as in `scale_by_muon`.
    State:   count; failures, the number of products and factorisations that were not finite and have changed nothing;
             mu and nu shaped like params; statistics (L, R) and bases: 8 + 8 (m^2 + n^2) / (m n) bytes per float32
             parameter.
    Source:  Vyas et al. 2024, SOAP, Alg. 3, and its code for the order.
    """
    b = b2 if shampoo_beta is None else shampoo_beta
    kinds = {"mu": Slot(dtype=mu_dtype, decay=b1, always_stored=True), "nu": Slot(real=True)}

    def sides(x: Any, numbers: Any) -> tuple[int, int]:
        """The sizes of the bases of a leaf, 0 where it has none."""
        if x.size == 0 or (numbers is None and x.ndim < 2):
            return 0, 0
        _, *axes = axes_of_matrices(x.shape, numbers)
        rows, columns = (math.prod(x.shape[i] for i in side) for side in axes)
        return rows if rows <= max_precond_dim else 0, columns if columns <= max_precond_dim else 0

    def squares(p: Array, numbers: Any) -> tuple[Array, ...]:
        stack = [p.shape[i] for i in axes_of_matrices(p.shape, numbers)[0]]
        dtype = wide_dtype(p.dtype)

        def zeros(n: int) -> Array:
            return whole_zeros(p, (*(stack if n else ()), n, n), dtype)

        return tuple(map(zeros, sides(p, numbers)))

    def init(params: Params) -> ScaleBySoapState:
        arrays, structure = trainable_arrays(params)
        numbers = numbers_of(weight_dimension_numbers, params, params)

        def each(make: Any) -> Any:
            return structure.unflatten(
                [None if p is None else make(p, n) for p, n in zip(arrays, numbers, strict=True)]
            )

        mu, nu = (each(lambda p, n, slot=kinds[name]: slot.make(p)) for name in ("mu", "nu"))
        return ScaleBySoapState(zero_count(), zero_count(), mu, nu, each(squares), each(squares))

    def rule(g: Array, slots: Any, numbers: Any, count: Count) -> Any:
        """The paper's steps on a stack of matrices."""
        mu, nu, stats, bases = slots
        leaf, g = g, gathered(g)
        old_mu, mu = mu, convert(gathered(mu), g.dtype)
        old_nu, nu = nu, convert(gathered(nu), real_dtype(g.dtype))
        used = [q.size > 0 for q in bases]
        if any(used):
            (gm, back), (m, _), (v, _) = (as_matrices(x, numbers) for x in (g, mu, nu))
        else:
            back, gm, m, v = (lambda x: x), g, mu, nu
        qs = [convert(q, gm.dtype) if use else None for q, use in zip(bases, used, strict=True)]
        first = count == 0
        m_new = ema(m, gm, b1)
        v_new = ema(v, abs_sq(rotated(gm, *qs)), b2)
        s = jnp.maximum(count, 1)
        dtype = real_dtype(gm.dtype)
        factor = root_of_square(bias_factor(b2, s, dtype)) * inverse_bias(s, b1, dtype)
        inverse = root_ratio(jnp.ones_like(v_new), v_new, eps)
        u = scaled(rotated(rotated(m_new, *qs) * convert(inverse, gm.dtype), *qs, back=True), factor)
        u, m, v = (jnp.where(first, a, b) for a, b in ((jnp.zeros_like(u), u), (m, m_new), (v, v_new)))
        new_stats, new_bases, failed = list(stats), list(bases), jnp.zeros((), jnp.int32)
        kind = jnp.where(first, 2, jnp.where(count % precondition_frequency == 0, 1, 0))
        for side in (0, 1):
            if not used[side]:
                continue
            h = jnp.conj(jnp.swapaxes(gm, -1, -2))
            square = product(gm, h) if side == 0 else product(h, gm)
            old = convert(stats[side], gm.dtype)
            finite = jnp.all(jnp.isfinite(square), axis=(-2, -1), keepdims=True)
            stat = jnp.where(finite, ema(old, lax.stop_gradient(square), b), old)
            q, v, bad = lax.switch(kind, _REFRESH[side], stat, qs[side], v)
            new_stats[side] = convert(stat, stats[side].dtype)
            new_bases[side] = convert(q, bases[side].dtype)
            failed += bad + jnp.sum(~finite, dtype=jnp.int32)
        return (
            restored(back(u), leaf),
            restored(back(m), old_mu),
            restored(back(v), old_nu),
            tuple(new_stats),
            tuple(new_bases),
            failed,
        )

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        wide = tree.widen(updates)
        gs = tree.match(wide, state.mu, "updates", "state.mu")
        over = updates if params is None else params
        check_updates(gs, tree.match(over, state.mu, "params", "state.mu"), state.mu)
        structure = tree.structure(state.mu)
        numbers = numbers_of(weight_dimension_numbers, over, structure.unflatten(gs))
        columns = [tree.flatten(state.mu)[0], tree.flatten(state.nu)[0]]
        columns += [structure.flatten_up_to(state.statistics), structure.flatten_up_to(state.bases)]
        rows, failures = [], state.failures
        for g, n, *slots_ in zip(gs, numbers, *columns, strict=True):
            if tree.absent(g):
                rows.append((g, *slots_))
                continue
            *row, failed = rule(tree.as_array(g), slots_, n, state.count)
            rows.append(tuple(row))
            failures = failures + failed
        us, mu, nu, stats, bases = (structure.unflatten([row[i] for row in rows]) for i in range(5))
        likes = tree.match(updates, state.mu, "updates", "state.mu")
        out = tree.cast_like(us, structure.unflatten(likes))
        return out, ScaleBySoapState(safe_increment(state.count), failures, mu, nu, stats, bases)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(ScaleBySoapState,), slots=("mu", "nu"))


def _refreshes(side: int) -> list[Any]:
    """What becomes of a basis and of nu: kept, one power step, eigenvectors."""
    axis = -2 if side == 0 else -1

    def keep(stat: Array, q: Array, v: Array) -> Any:
        return q, v, jnp.zeros((), jnp.int32)

    def power(stat: Array, q: Array, v: Array) -> Any:
        new, order, ok = power_step(lax.stop_gradient(stat), lax.stop_gradient(q))
        order = order[..., :, None] if axis == -2 else order[..., None, :]
        moved = jnp.take_along_axis(v, jnp.broadcast_to(order, v.shape), axis)
        good = ok[..., None, None]
        return jnp.where(good, new, q), jnp.where(good, moved, v), jnp.sum(~ok, dtype=jnp.int32)

    def first(stat: Array, q: Array, v: Array) -> Any:
        new, ok = eigenbasis(lax.stop_gradient(stat))
        eye = jnp.broadcast_to(jnp.eye(q.shape[-1], dtype=q.dtype), q.shape)
        return jnp.where(ok[..., None, None], new, eye), v, jnp.sum(~ok, dtype=jnp.int32)

    return [keep, power, first]


_REFRESH = [_refreshes(side) for side in (0, 1)]


@register(
    example(0.1),
    example(0.1, precondition_frequency=2, mask=True),
    ranges={**_RANGES, **ADAM},
    exceptions=_EXCEPTIONS,
    usual={"learning_rate": 3e-3},
)
def soap(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.95,
    b2: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    precondition_frequency: int = 10,
    max_precond_dim: int = 10000,
    *,
    mask: MaskOrFn = None,
    shampoo_beta: Scalar | None = None,
    mu_dtype: DType = None,
    weight_dimension_numbers: Any = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformationExtraArgs:
    """SOAP: `scale_by_soap` for matrices, `adamw` for all other parameters.

    Then follow, for the matrices, `add_decayed_weights`, after the first update, and `scale_by_learning_rate`.

    Args:
      weight_dimension_numbers: as muon_weight_dimension_numbers of `muon`.
      adam_b1, adam_b2, adam_learning_rate: b1, b2 and the learning rate of `adamw`; None takes learning_rate.
    Differs: the code decays the weights after they have moved, here before, as everywhere.
    When:    matrices whose rows and columns are strongly correlated, and problems that are badly conditioned; a usual
             learning rate is 3e-3.
    """

    def after_first(count: Count) -> Any:
        """The first update only makes the bases: it decays nothing either."""
        value = scheduled(weight_decay, count) if callable(weight_decay) else weight_decay
        return jnp.where(count > 0, value, jnp.zeros_like(value))

    def matrices(numbers: Any) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_soap(
                b1,
                b2,
                eps,
                precondition_frequency,
                max_precond_dim,
                shampoo_beta=shampoo_beta,
                mu_dtype=mu_dtype,
                weight_dimension_numbers=numbers,
            ),
            add_decayed_weights(after_first, mask),
            scale_by_learning_rate(learning_rate),
        )

    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    spec = matrix_leaves if weight_dimension_numbers is None else weight_dimension_numbers
    others = adamw(rate, adam_b1, adam_b2, mu_dtype=mu_dtype, weight_decay=weight_decay, mask=mask)
    return groups(spec, matrices, others)

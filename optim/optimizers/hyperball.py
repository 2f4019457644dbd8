"""Hyperball: steps on the sphere on which each matrix starts, in place of weight decay."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..combine.partition import partition
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..matrix.orthogonal import Preconditioning
from ..matrix.stacks import as_matrices, numbers_of
from ..numerics import at, last, norm, ratio, scaled, scheduled
from ..schedules import inverse_time_decay
from ..types import Array, Count, DType, MaskOrFn, Params, Scalar, ScalarOrSchedule, Updates
from .adam import adamw, scale_by_adam
from .matrices import groups
from .muon import matrix_leaves, scale_by_muon


class HyperballState(NamedTuple):
    count: Count
    radius: Updates


def _norms(x: Array) -> Array:
    """The Frobenius norm of each matrix in the last two axes; 0 for a leaf that has no matrices."""
    return norm(x, (-2, -1)) if x.ndim >= 2 else jnp.zeros((), jnp.float32)


_NORMS = {"init": "the radius is a norm of the parameters"}


@register(
    example(0.1),
    example(inverse_time_decay(0.1, 1, 0.5)),
    exceptions=_NORMS,
    usual={"learning_rate": 0.01},
)
def hyperball(learning_rate: ScalarOrSchedule) -> GradientTransformationExtraArgs:
    """Take a step whose length is learning_rate times the norm of the matrix, and return to the sphere it began on.

        W' = W - learning_rate R U / |U|            U: the direction that comes in, R = |W| when init was called
        W <- R W' / |W'|                            norms of each matrix in the last two axes

    It is the last member of a chain, after a direction that has no learning rate and no weight decay. Leaves with fewer
    than two axes have no matrices: they take the plain step -learning_rate U.

    Args:
      learning_rate: length of a step relative to the norm, >= 0, or a schedule. Usually 1e-2; sqrt(learning_rate
        weight_decay) of the AdamW that it replaces is a first guess.
    State:   count; radius, one float32 number per matrix: a leaf of shape (10, 64, 64) has 10.
    Source:  "Fantastic Pretraining Optimizers II", 2606.16899.
    Differs: other implementations take the norm before each step as the radius, which drifts as it is rounded, or a
             constant of the user's, which refuses other parameters. The norm at init does neither.
    When:    matrices between normalisation layers, in place of weight decay; a usual learning rate is 1e-2.
    """

    def scalars(t: Count) -> dict[str, Array]:
        return {"rate": at(learning_rate, t)}

    def rule(g: Array, p: Array, radius: Array, rate: Array) -> Any:
        if g.ndim < 2:
            return -scaled(g, rate), radius
        sphere = radius[..., None, None]
        step = g * (rate.astype(sphere.dtype) * ratio(sphere, norm(g, (-2, -1), keepdims=True))).astype(g.dtype)
        moved = norm(p - step, (-2, -1), keepdims=True)
        # R W' / |W'| - W without the difference of two numbers as large as W.
        back = ratio(sphere - moved, moved).astype(g.dtype)
        return back * p - (1 + back) * step, radius

    tx = leafwise(rule, HyperballState, scalars=scalars, radius=Slot(init=_norms, real=True, decay=1.0, free=True))
    return tx.declaring(exposes=lambda state: {"learning_rate": scheduled(learning_rate, last(state.count))})


def _on_matrices(tx: GradientTransformationExtraArgs, weight_dimension_numbers: Any) -> GradientTransformationExtraArgs:
    """`tx` on leaves whose matrices have been moved to the last two axes."""

    def stack(x: Any, n: Any) -> Any:
        if tree.absent(x):
            return x
        return jax.eval_shape(lambda x: as_matrices(x, n)[0], x) if checks.is_shape(x) else as_matrices(x, n)[0]

    def stacks(xs: Any, params: Params) -> Any:
        leaves, structure = tree.flatten(xs)
        numbers = numbers_of(weight_dimension_numbers, params, xs)
        return structure.unflatten([stack(x, n) for x, n in zip(leaves, numbers, strict=True)])

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        places = updates if params is None else params
        ps = None if params is None else stacks(params, params)
        us, state = tx.update(stacks(updates, places), state, ps, **extra_args)
        leaves, structure = tree.flatten(updates)
        numbers = numbers_of(weight_dimension_numbers, places, updates)
        rows = zip(leaves, tree.match(us, updates, "updates", "updates"), numbers, strict=True)
        return structure.unflatten([x if tree.absent(x) else as_matrices(x, n)[1](u) for x, u, n in rows]), state

    return around(
        tx,
        lambda params: tx.init(stacks(params, params)),
        update,
        inner=lambda state: state,
        sees=lambda params: stacks(params, params),
        check=tx.check_state,
    )


def by_axes(params: Params) -> Any:
    """The label "matrix" for leaves of two or more axes, "other" for all others."""
    leaves, structure = tree.flatten(params)
    return structure.unflatten(["other" if p is None or jnp.ndim(p) < 2 else "matrix" for p in leaves])


_RANGES = {
    "adam_learning_rate": checks.RATE,
    "adam_weight_decay": checks.RATE,
    **dict.fromkeys(["adam_b1", "adam_b2"], checks.DECAY),
}


@register(
    example(0.1),
    example(0.1, adam_learning_rate=0.01),
    ranges=_RANGES,
    exceptions=_NORMS,
    usual={"learning_rate": 0.01},
)
def adamh(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_weight_decay_mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """AdamH: `scale_by_adam`, then `hyperball`, for leaves of two or more axes, and `adamw` for all others.

    Args:
      learning_rate: learning rate of the matrices: the length of a step relative to their norm. Usually 1e-2.
      adam_learning_rate: learning rate of the other parameters, >= 0, or a schedule; None takes learning_rate.
      adam_weight_decay, adam_weight_decay_mask: weight decay of the other parameters, and where it acts. Usually 0.
    State:   PartitionState of the groups "matrix" and "other": 8 bytes per float32 parameter.
    Source:  2606.16899.
    When:    the head of a language model, and matrices that AdamW trains; a usual learning rate is 1e-2.
    """
    moments = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    others = adamw(rate, b1, b2, eps, eps_root, mu_dtype, adam_weight_decay, adam_weight_decay_mask, nesterov=nesterov)
    return partition({"matrix": chain(moments, hyperball(learning_rate)), "other": others}, by_axes)


@register(
    example(0.1),
    example(0.1, nesterov=False, adam_learning_rate=0.01),
    ranges={**_RANGES, "ns_steps": checks.STEPS, "adam_eps_root": checks.NON_NEGATIVE},
    exceptions={
        **_NORMS,
        "independent": "packages run the iteration in bfloat16",
        "traced": "the iteration amplifies the rounding of an array argument",
    },
    usual={"learning_rate": 0.01},
)
def muonh(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = "jordan",
    ns_steps: int = 5,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
    preconditioning: Preconditioning = "frobenius",
    weight_dimension_numbers: Any = None,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_eps_root: Scalar = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
) -> GradientTransformationExtraArgs:
    """MuonH: `scale_by_muon`, then `hyperball`, for matrices, and `adamw` for all other parameters.

    Args:
      learning_rate: learning rate of the matrices: the length of a step relative to their norm. Usually 1e-2.
      weight_dimension_numbers: as in `scale_by_muon`, with None for each leaf that `adamw` updates; None makes
        matrices of leaves with two axes.
      adam_learning_rate: learning rate of the other parameters, >= 0, or a schedule; None takes learning_rate.
      adam_b1, adam_b2, adam_eps_root: b1, b2 and eps_root of `adamw`, whose eps is eps. Usually 0.9, 0.999 and 0.
      adam_weight_decay: weight decay of the other parameters, >= 0, or a schedule. Usually 0.
    State:   PartitionState of the groups "muon" and "adam": 4 and 8 bytes per float32 parameter.
    Source:  2606.16899.
    When:    hidden layers of transformers, in place of `muon` with weight decay; a usual learning rate is 1e-2.
    """
    spec = matrix_leaves if weight_dimension_numbers is None else weight_dimension_numbers

    def matrices(numbers: Any) -> GradientTransformationExtraArgs:
        direction = scale_by_muon(
            ns_coeffs,
            ns_steps,
            beta,
            eps,
            mu_dtype,
            nesterov=nesterov,
            preconditioning=preconditioning,
            weight_dimension_numbers=numbers,
        )
        return chain(direction, _on_matrices(hyperball(learning_rate), numbers))

    others = adamw(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        adam_b1,
        adam_b2,
        eps,
        adam_eps_root,
        mu_dtype,
        adam_weight_decay,
        nesterov=nesterov,
    )
    return groups(spec, matrices, others)

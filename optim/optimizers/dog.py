"""Distance over gradients: a step size from the distance to the initial parameters and the size of the gradients."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, treewise
from ..numerics import hyperparameter, root, root_ratio, scaled, square
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, MaskOrFn, Params, Scalar, ScalarOrSchedule, Tree


class DoGState(NamedTuple):
    is_init_step: Array
    init_params: Params
    max_dist: Array
    sum_sq_norm_grads: Array


class DoWGState(NamedTuple):
    init_params: Params
    weighted_sq_norm_grads: Array
    estim_sq_dist: Array


_INIT_STEPS = ("heuristic", "distance", "learning_rate")


def _sq_dist(init_params: Params, params: Params) -> Array:
    return tree.total(lambda x0, x: square(x - x0), init_params, params)


def _sq_norm(updates: Tree) -> Array:
    return tree.total(square, updates)


def _rule(g: Array, init_params: Array, size: Array) -> Any:
    return scaled(g, size), init_params


def _decayed(weight_decay: ScalarOrSchedule | None, mask: MaskOrFn) -> GradientTransformationExtraArgs:
    return identity() if weight_decay is None else add_decayed_weights(weight_decay, mask)


@register(
    example(),
    example(0.5, ("distance", 0.01), weight_decay=0.1, mask=True),
    example(0.5, ("learning_rate", 0.02), 1e-2),
    exceptions={"init": "its first step is a norm of the parameters"},
    errors=[
        (example(init_step=("length", 0.1)), "init_step must be one of ('heuristic', x), ('distance', x)"),
        (example(init_step=0.1), "init_step must be one of ('heuristic', x), ('distance', x)"),
        (example(init_step=("distance", 0.0)), "init_step[1] must be > 0, got 0.0"),
    ],
)
def dog(
    learning_rate: ScalarOrSchedule = 1.0,
    init_step: tuple[str, Scalar] = ("heuristic", 1e-6),
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Distance over gradients: the step size is the largest distance so far over the root of all squared gradients.

        r <- max(r, |p - p0|)
        G <- G + |g|^2                                  norms over the whole tree
        u  = -learning_rate r / sqrt(G + eps) g         g with weight_decay p added

    Args:
      learning_rate: factor on the step size, >= 0, or a schedule. Usually 1.0.
      init_step: ("heuristic", x) makes the initial r x (1 + |p0|), and ("distance", x) makes it x; ("learning_rate", x)
        makes x the first value of r / sqrt(G + eps). x > 0. Usually ("heuristic", 1e-6).
      eps: added inside the root, in units of |g|^2, >= 0. Usually 1e-8.
    State:   is_init_step, max_dist (r), sum_sq_norm_grads (G), and init_params (p0) shaped like params: 4 bytes per
             float32 parameter.
    Source:  Ivgi, Hinder & Carmon 2023, Sec. 2.
    Differs: in Optax a zero first gradient uses up ("learning_rate", x), and the parameters never move afterwards.
    When:    training and fine-tuning without tuning a learning rate; leave it at 1.0, and average the parameters.
    """
    if not (isinstance(init_step, tuple | list) and len(init_step) == 2 and init_step[0] in _INIT_STEPS):
        choices = ", ".join(f"({name!r}, x)" for name in _INIT_STEPS)
        checks.fail(f"init_step must be one of {choices}, got {checks.shown(init_step)}")
    kind, start = init_step
    checks.argument("init_step[1]", start, checks.POSITIVE)

    def first_dist(params: Params) -> Array:
        x = hyperparameter(start)
        if kind == "heuristic":
            return x * (1 + root(tree.total(square, params)))
        return x if kind == "distance" else jnp.zeros_like(x)

    def scalars(
        updates: Tree,
        params: Params,
        is_init_step: Array,
        init_params: Params,
        max_dist: Array,
        sum_sq_norm_grads: Array,
    ) -> dict[str, Array]:
        squares = hyperparameter(sum_sq_norm_grads) + _sq_norm(updates)
        dist = jnp.maximum(hyperparameter(max_dist), root(_sq_dist(init_params, params)))
        size = root_ratio(dist, squares, 0.0, eps)
        if kind == "learning_rate":
            size = jnp.where(is_init_step, hyperparameter(start), size)
        still_initial = is_init_step & (squares == 0)
        return {"is_init_step": still_initial, "max_dist": dist, "sum_sq_norm_grads": squares, "size": size}

    core = treewise(
        _rule,
        DoGState,
        scalars=scalars,
        is_init_step=StateScalar(True, bool),
        init_params=Slot(init=lambda p: p),
        max_dist=StateScalar(first_dist),
        sum_sq_norm_grads=StateScalar(),
    )
    return chain(_decayed(weight_decay, mask), core, scale_by_learning_rate(learning_rate))


@register(
    example(),
    example(0.5, 0.01, 1e-3, weight_decay=0.1),
    ranges={"init_estim_sq_dist": checks.POSITIVE},
    errors=[(example(eps=0.0), "eps must be > 0 if init_estim_sq_dist is None, got 0.0")],
)
def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: Scalar | None = None,
    eps: Scalar = 1e-4,
    weight_decay: ScalarOrSchedule | None = None,
    mask: MaskOrFn = None,
) -> GradientTransformationExtraArgs:
    """Distance over weighted gradients: as `dog`, with each squared gradient weighted by the squared distance so far.

        d <- max(d, |p - p0|^2)
        v <- v + d |g|^2                                norms over the whole tree
        u  = -learning_rate d / (sqrt(v) + eps) g       g with weight_decay p added

    Args:
      learning_rate: factor on the step size, >= 0, or a schedule. Usually 1.0.
      init_estim_sq_dist: initial d, in units of |p|^2, > 0; None takes eps.
      eps: added outside the root, in units of |p| |g|, >= 0. Usually 1e-4.
    State:   weighted_sq_norm_grads (v), estim_sq_dist (d), and init_params (p0) shaped like params: 4 bytes per
             float32 parameter.
    Source:  Khaled, Mishchenko & Jin 2023, Alg. 1.
    When:    as `dog`, but step sizes can grow again after large early gradients; leave the learning rate at 1.0.
    """
    first = eps if init_estim_sq_dist is None else init_estim_sq_dist
    if checks.is_number(first) and first == 0:
        checks.fail(f"eps must be > 0 if init_estim_sq_dist is None, got {checks.shown(eps)}")

    def scalars(
        updates: Tree, params: Params, init_params: Params, weighted_sq_norm_grads: Array, estim_sq_dist: Array
    ) -> dict[str, Array]:
        dist = jnp.maximum(hyperparameter(estim_sq_dist), _sq_dist(init_params, params))
        weighted = hyperparameter(weighted_sq_norm_grads) + dist * _sq_norm(updates)
        size = root_ratio(dist, weighted, eps)
        return {"weighted_sq_norm_grads": weighted, "estim_sq_dist": dist, "size": size}

    core = treewise(
        _rule,
        DoWGState,
        scalars=scalars,
        init_params=Slot(init=lambda p: p),
        weighted_sq_norm_grads=StateScalar(),
        estim_sq_dist=StateScalar(lambda _: hyperparameter(first)),
    )
    return chain(_decayed(weight_decay, mask), core, scale_by_learning_rate(learning_rate))

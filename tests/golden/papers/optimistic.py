"""Optimistic gradient descent and optimistic Adam."""

import numpy as np

from . import paper
from .adam import scale_by_adam
from .parts import descend, fading

OPTIMISTIC = ("sign", "zero_start", "swapped", "no_optimism")


@paper(
    "scale_by_optimistic_gradient",
    configs=({}, {"alpha": 0.5, "beta": 0.3}, {"alpha": -0.5, "beta": -0.25}),
    mutations=OPTIMISTIC,
    source="Mokhtari et al. 2020, generalized OGDA; Daskalakis et al. 2018 for alpha = beta",
)
def scale_by_optimistic_gradient(grads, params, *, mutation=None, alpha=1.0, beta=1.0):
    """u_t = (alpha + beta) g_t - beta g_(t-1), g_0 = g_1."""
    if mutation == "swapped":
        alpha, beta = beta, alpha
    if mutation == "no_optimism":
        beta = 0
    before = [np.zeros_like(params) if mutation == "zero_start" else grads[0], *grads]
    return [(alpha + beta) * g - beta * h for g, h in zip(grads, before, strict=False)]


@paper(
    "optimistic_gradient_descent",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "alpha": 0.5, "beta": 0.3}),
    mutations=(*OPTIMISTIC, "late_count"),
    source="Mokhtari et al. 2020, generalized OGDA",
)
def optimistic_gradient_descent(grads, params, *, mutation=None, learning_rate, **others):
    """theta <- theta - eta u."""
    directions = scale_by_optimistic_gradient(grads, params, mutation=mutation, **others)
    return descend(directions, learning_rate, mutation)


@paper(
    "optimistic_adam",
    configs=({"learning_rate": 1e-2}, {"learning_rate": 1e-2, "optimism": 0.03, "b2": 0.99, "nesterov": False}),
    mutations=(*OPTIMISTIC, "no_nesterov", "optimism_scaled"),
    source="Daskalakis et al. 2018, Algorithm 1",
)
def optimistic_adam(grads, params, *, mutation=None, learning_rate, optimism=None, nesterov=True, **moments):
    """theta <- theta - eta a_t - rho (a_t - a_(t-1)), a_t Adam's direction. Daskalakis et al. 2018, Algorithm 1."""
    rho = learning_rate if optimism is None else optimism
    nesterov = nesterov and mutation != "no_nesterov"
    directions = scale_by_adam(grads, params, nesterov=nesterov, **moments)
    rho = rho * learning_rate if mutation == "optimism_scaled" else rho
    return [
        -u for u in scale_by_optimistic_gradient(directions, params, mutation=mutation, alpha=learning_rate, beta=rho)
    ]


@paper(
    "optimistic_adam_v2",
    configs=(
        {"learning_rate": fading},
        {"learning_rate": 1e-2, "alpha": 0.7, "beta": 0.3, "b2": 0.99, "nesterov": False},
    ),
    mutations=(*OPTIMISTIC, "no_nesterov", "late_count", "gradient_first"),
    source="Daskalakis et al. 2018, Algorithm 1",
)
def optimistic_adam_v2(grads, params, *, mutation=None, learning_rate, alpha=1.0, beta=1.0, nesterov=True, **moments):
    """theta <- theta - eta_t (alpha a_t + beta (a_t - a_(t-1))), a_t Adam's direction."""
    moments["nesterov"] = nesterov and mutation != "no_nesterov"
    ahead = {"mutation": mutation, "alpha": alpha, "beta": beta}
    if mutation == "gradient_first":
        directions = scale_by_adam(scale_by_optimistic_gradient(grads, params, **ahead), params, **moments)
    else:
        directions = scale_by_optimistic_gradient(scale_by_adam(grads, params, **moments), params, **ahead)
    return descend(directions, learning_rate, mutation)

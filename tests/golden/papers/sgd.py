"""Gradient descent with and without momentum."""

import numpy as np

from . import paper
from .parts import descend, fading, rate, steps


@paper(
    "trace",
    configs=({"decay": 0.9}, {"decay": 0.5, "nesterov": True}),
    mutations=("sign", "no_decay", "no_nesterov", "dampened"),
    source="Sutskever et al. 2013, eqs. 1 and 3, with the learning rate outside the trace",
)
def trace(grads, params, *, mutation=None, decay, nesterov=False):
    """v <- mu v + g; u = v, or u = g + mu v for Nesterov. Sutskever et al. 2013."""
    mu = 1.0 if mutation == "no_decay" else decay
    v = np.zeros_like(params)
    updates = []
    for g in grads:
        v = mu * v + ((1 - mu) * g if mutation == "dampened" else g)
        updates.append(g + mu * v if nesterov and mutation != "no_nesterov" else v)
    return updates


@paper(
    "sgd",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "momentum": 0.9},
        {"learning_rate": fading, "momentum": 0.9},
        {"learning_rate": fading, "momentum": 0.9, "nesterov": True},
    ),
    mutations=("sign", "no_decay", "no_nesterov", "dampened", "late_count", "rate_in_trace"),
    source="Robbins & Monro 1951; Sutskever et al. 2013, eqs. 1 and 3",
)
def sgd(grads, params, *, mutation=None, learning_rate, momentum=None, nesterov=False):
    """u = -eta_t trace(g): the learning rate is applied after the trace. Sutskever et al. 2013."""
    if momentum is None:
        return descend(grads, learning_rate, mutation)
    if mutation == "rate_in_trace":
        grads = [rate(learning_rate, t) * g for t, g in steps(grads)]
        learning_rate = 1.0
    directions = trace(grads, params, mutation=mutation, decay=momentum, nesterov=nesterov)
    return descend(directions, learning_rate, mutation)


@paper(
    "noisy_sgd",
    configs=({"learning_rate": 0.1, "eta": 0.0, "seed": 0},),
    mutations=("sign",),
    source="Neelakantan et al. 2015, eq. 1, without its noise",
)
def noisy_sgd(grads, params, *, mutation=None, learning_rate, eta, gamma=0.55, seed=0):
    """u = -alpha (g + N(0, sigma_t^2)); with eta = 0 there is no noise."""
    if eta != 0.0:
        raise ValueError(f"noisy_sgd: eta must be 0 because noise has no golden, got {eta}")
    return descend(grads, learning_rate)


def noise_std(t, eta, gamma):
    """sigma_t = sqrt(eta / t^gamma), t = 1 at the first update. Neelakantan et al. 2015, eq. 1."""
    return np.sqrt(eta / t**gamma)

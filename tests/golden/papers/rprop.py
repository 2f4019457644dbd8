"""Rprop."""

import numpy as np

from . import paper

RPROP = ("sign", "stale", "no_stop", "stop_twice", "no_limits", "frozen")


@paper(
    "scale_by_rprop",
    configs=(
        {"learning_rate": 0.1},
        {
            "learning_rate": 0.1,
            "eta_minus": 0.7,
            "eta_plus": 1.5,
            "min_step_size": 0.08,
            "max_step_size": 0.12,
        },
        {"learning_rate": 0.5, "max_step_size": 0.12},
    ),
    mutations=RPROP,
    source="Riedmiller & Braun 1993; Igel & Huesken 2000, Rprop-",
)
def scale_by_rprop(
    grads,
    params,
    *,
    mutation=None,
    learning_rate,
    eta_minus=0.5,
    eta_plus=1.2,
    min_step_size=1e-6,
    max_step_size=50.0,
):
    """The element-wise rule of the paper's figure; the product of two signs is > 0, < 0 or 0.

    Both limits apply at every change, also if the initial size is outside of them.
    """
    if mutation == "no_limits":
        min_step_size, max_step_size = 0, np.inf
    if mutation == "frozen":
        eta_plus = eta_minus = 1.0
    size = np.full_like(params, learning_rate)
    last = np.zeros_like(params)  # the previous gradient, 0 after a change of sign
    stale, updates = np.zeros_like(params), []
    for g in grads:
        u = np.zeros_like(params)
        for i in np.ndindex(*params.shape):
            slope, product = g[i], np.sign(g[i]) * np.sign(last[i])
            if product > 0:
                size[i] = max(min(size[i] * eta_plus, max_step_size), min_step_size)
            elif product < 0:
                size[i] = min(max(size[i] * eta_minus, min_step_size), max_step_size)
                slope = slope if mutation == "no_stop" else 0.0
            u[i] = np.sign(slope) * size[i]
            last[i] = g[i] if mutation == "stop_twice" else slope
        updates.append(stale if mutation == "stale" else u)
        stale = u
    return updates


@paper(
    "rprop",
    configs=({"learning_rate": 0.1}, {"learning_rate": 0.1, "min_step_size": 0.08, "max_step_size": 0.12}),
    mutations=RPROP,
    source="Riedmiller & Braun 1993; Igel & Huesken 2000, Rprop-",
)
def rprop(grads, params, *, mutation=None, **others):
    """w <- w - sign(g) size."""
    return [-u for u in scale_by_rprop(grads, params, mutation=mutation, **others)]

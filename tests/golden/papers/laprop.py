"""LaProp."""

import numpy as np

from . import paper
from .parts import average, debiased, descend_decayed, fading, ratio, steps

LAPROP = ("sign", "no_decay", "no_correction", "eps_moved", "momentum_first", "late_count")
SOURCE = "Ziyin et al. 2020, LaProp, Algorithm 1"


@paper("scale_by_laprop", configs=({}, {"b1": 0.8, "b2": 0.95, "eps": 0.1}), mutations=LAPROP, source=SOURCE)
def scale_by_laprop(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-15):
    """n <- nu n + (1 - nu) g^2; m <- mu m + (1 - mu) g / (sqrt(n / c_n) + eps); u = m / c_m."""
    m = v = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        v = average(v, g**2, b2, mutation)
        v_hat = debiased(v, b2, t, mutation)
        below = np.sqrt(v_hat + eps) if mutation == "eps_moved" else np.sqrt(v_hat) + eps
        if mutation == "momentum_first":
            m = average(m, g, b1)
            updates.append(ratio(debiased(m, b1, t), below))
            continue
        m = average(m, ratio(g, below), b1, mutation)
        updates.append(debiased(m, b1, t, mutation))
    return updates


@paper(
    "laprop",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "eps": 0.1, "weight_decay": 0.1}),
    mutations=(*LAPROP, "decay_without_rate"),
    source=SOURCE,
)
def laprop(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, **moments):
    """theta <- theta - lambda (u + w theta)."""
    directions = scale_by_laprop(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

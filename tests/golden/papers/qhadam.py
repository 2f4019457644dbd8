"""QHAdam."""

import numpy as np

from . import paper
from .parts import average, debiased, descend_decayed, fading, ratio, steps

QHADAM = ("sign", "no_decay", "no_correction", "eps_moved", "swapped", "late_count")
SOURCE = "Ma & Yarats 2019, QHAdam"


@paper(
    "scale_by_qhadam",
    configs=({}, {"b1": 0.8, "b2": 0.95, "nu1": 0.5, "nu2": 0.75, "eps": 1e-3}),
    mutations=QHADAM,
    source=SOURCE,
)
def scale_by_qhadam(grads, params, *, mutation=None, b1=0.9, b2=0.999, nu1=0.7, nu2=1.0, eps=1e-8):
    """u = ((1 - nu1) g + nu1 m^) / (sqrt((1 - nu2) g^2 + nu2 v^) + eps)."""
    m = v = np.zeros_like(params)
    nu1, nu2 = (1 - nu1, 1 - nu2) if mutation == "swapped" else (nu1, nu2)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        v = average(v, g**2, b2, mutation)
        below = (1 - nu2) * g**2 + nu2 * debiased(v, b2, t, mutation)
        below = np.sqrt(below + eps) if mutation == "eps_moved" else np.sqrt(below) + eps
        updates.append(ratio((1 - nu1) * g + nu1 * debiased(m, b1, t, mutation), below))
    return updates


@paper(
    "qhadam",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "nu2": 0.75, "weight_decay": 0.1}),
    mutations=(*QHADAM, "decay_without_rate"),
    source=SOURCE,
)
def qhadam(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, **moments):
    """theta <- theta - alpha (u + lambda theta)."""
    directions = scale_by_qhadam(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

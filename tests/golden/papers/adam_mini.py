"""Adam-mini."""

import numpy as np

from . import paper
from .parts import average, debiased, descend_decayed, fading, ratio, steps

MINI = ("sign", "no_decay", "no_correction", "elementwise", "other_axis", "mean_first", "late_count")
SOURCE = "Zhang et al. 2024, Adam-mini, Algorithm 1"


def rows(path, shape):
    """One second moment for each row."""
    return (1,)


@paper(
    "scale_by_adam_mini",
    configs=({}, {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "blocks": rows}),
    mutations=MINI,
    source=SOURCE,
)
def scale_by_adam_mini(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-8, blocks=lambda path, shape: (0,)):
    """v_b <- b2 v_b + (1 - b2) mean(g_b * g_b)."""
    m, v, updates = np.zeros_like(params), 0.0, []
    (axis,) = blocks("", params.shape)
    axis = 1 - axis if mutation == "other_axis" else axis
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        mean = g.mean(axis, keepdims=True) ** 2 if mutation == "mean_first" else (g**2).mean(axis, keepdims=True)
        v = average(v, g**2 if mutation == "elementwise" else mean, b2, mutation)
        below = np.sqrt(debiased(v, b2, t, mutation)) + eps
        updates.append(ratio(debiased(m, b1, t, mutation), below + 0 * g))
    return updates


@paper(
    "adam_mini",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "weight_decay": 0.1}),
    mutations=(*MINI, "decay_without_rate"),
    source=SOURCE,
)
def adam_mini(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, **moments):
    """theta <- theta - eta (u + lambda theta)."""
    directions = scale_by_adam_mini(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

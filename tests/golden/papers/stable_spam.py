"""Stable-SPAM."""

import numpy as np

from . import paper
from .parts import average, debiased, descend_decayed, fading, ratio

SPAM = ("sign", "no_clip", "no_norm", "no_reset", "late_reset", "norms_reset", "no_correction")
SOURCE = "Huang et al. 2025, Stable-SPAM, Algorithm 1"


@paper(
    "scale_by_stable_spam",
    configs=({}, {"b1": 0.8, "b2": 0.95, "gamma1": 0.5, "gamma2": 0.8, "gamma3": 0.9, "reset_interval": 4}),
    mutations=SPAM,
    source=SOURCE,
)
def scale_by_stable_spam(
    grads,
    params,
    *,
    mutation=None,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    gamma1=0.7,
    gamma2=0.9,
    gamma3=0.999,
    reset_interval=1000,
):
    """AdaClip, AdaGN, then Adam with moments that are reset where T divides t."""
    m = v = np.zeros_like(params)
    largest = mean = squared = 0.0
    age, start, updates = 0, 0, []
    for t, g in enumerate(grads, 1):
        if (t - (mutation == "late_reset")) % reset_interval == 0 and mutation != "no_reset":
            m, v, age = 0 * m, 0 * v, 0
            start = t - 1 if mutation == "norms_reset" else 0
        age += 1
        top = np.abs(g).max()
        largest = average(largest, top, gamma3)
        bound = debiased(largest, gamma3, t - start, mutation)
        if mutation != "no_clip":
            g = np.where(np.abs(g) > bound, g / (top or 1.0) * bound, g)
        size = np.sqrt(np.sum(g**2))
        mean, squared = average(mean, size, gamma1), average(squared, size**2, gamma2)
        if mutation != "no_norm" and size > 0:
            below = np.sqrt(debiased(squared, gamma2, t - start, mutation)) + eps
            g = g / size * debiased(mean, gamma1, t - start, mutation) / below
        m, v = average(m, g, b1), average(v, g**2, b2)
        updates.append(ratio(debiased(m, b1, age, mutation), np.sqrt(debiased(v, b2, age, mutation)) + eps))
    return updates


@paper(
    "stable_spam",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "reset_interval": 4, "weight_decay": 0.1}),
    mutations=(*SPAM, "decay_without_rate", "late_count"),
    source=SOURCE,
)
def stable_spam(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, **moments):
    """theta <- theta - eta (u + lambda theta)."""
    inner = mutation if mutation in SPAM else None
    directions = scale_by_stable_spam(grads, params, mutation=inner, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

"""Lion."""

import numpy as np

from . import paper
from .parts import average, descend_decayed, fading

LION = ("sign", "no_decay", "swapped", "new_mean")


@paper(
    "scale_by_lion",
    configs=(
        {},
        {"b1": 0.5, "b2": 0.0},
        {"mode": "smooth"},
        {"b1": 0.8, "b2": 0.9, "mode": "smooth", "smooth_beta": 3.0},
        {"b1": 0.8, "b2": 0.9, "mode": "refined"},
    ),
    mutations=(*LION, "always_hard", "beta_below"),
    source="Chen et al. 2023, Algorithm 2",
)
def scale_by_lion(grads, params, *, mutation=None, b1=0.9, b2=0.99, mode="hard", smooth_beta=1.0):
    """u = sign(b1 m + (1 - b1) g), then m <- b2 m + (1 - b2) g. Chen et al. 2023, Algorithm 2."""
    if mutation == "swapped":
        b1, b2 = b2, b1
    m, updates = np.zeros_like(params), []
    for g in grads:
        old, m = m, average(m, g, b2, mutation)
        c = average(m if mutation == "new_mean" else old, g, b1, mutation)
        if mode == "hard" or mutation == "always_hard":
            updates.append(np.sign(c))
        elif mode == "smooth":
            updates.append(np.tanh(c / smooth_beta if mutation == "beta_below" else smooth_beta * c))
        else:
            updates.append(np.sign(c) * np.minimum(np.abs(c), 1))
    return updates


@paper(
    "lion",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "b2": 0.9, "weight_decay": 0.1}),
    mutations=(*LION, "late_count", "decay_without_rate"),
    source="Chen et al. 2023, Algorithm 2",
)
def lion(grads, params, *, mutation=None, learning_rate, weight_decay=1e-3, **moments):
    """theta <- theta - eta (u + lambda theta). Chen et al. 2023, Algorithm 2."""
    directions = scale_by_lion(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

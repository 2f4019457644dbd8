"""MARS."""

import numpy as np

from . import paper
from .adam import scale_by_adam
from .parts import descend_decayed, fading

MARS = ("sign", "no_clip", "clip_elements", "uncorrected", "no_momentum_factor", "other_start")
SOURCE = "Yuan et al. 2024, MARS, Algorithm 2"


@paper(
    "scale_by_mars",
    configs=({}, {"b1": 0.8, "b2": 0.95, "gamma": 0.2, "eps": 1e-3}, {"start": "gradient"}),
    mutations=(*MARS, "no_correction"),
    source=SOURCE,
)
def scale_by_mars(grads, params, *, mutation=None, b1=0.95, b2=0.99, gamma=0.025, eps=1e-8, start="zero"):
    """c = g + gamma b1 / (1 - b1) (g - g'), clipped to the norm 1; Adam of c."""
    from_zero = (start == "zero") != (mutation == "other_start")
    last, clipped = np.zeros_like(params) if from_zero else grads[0], []
    for g in grads:
        size = (
            0.0 if mutation == "uncorrected" else gamma if mutation == "no_momentum_factor" else gamma * b1 / (1 - b1)
        )
        c = g + size * (g - last)
        if mutation == "clip_elements":
            c = np.clip(c, -1, 1)
        elif mutation != "no_clip":
            c = c / max(1.0, np.sqrt(np.sum(c**2)))
        clipped.append(c)
        last = g
    inner = mutation if mutation == "no_correction" else None
    return scale_by_adam(clipped, params, mutation=inner, b1=b1, b2=b2, eps=eps)


@paper(
    "mars",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "gamma": 0.2, "weight_decay": 0.1}),
    mutations=(*MARS, "decay_without_rate", "late_count"),
    source=SOURCE,
)
def mars(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, **moments):
    """x <- x - eta (u + lambda x)."""
    directions = scale_by_mars(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

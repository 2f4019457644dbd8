"""CAME."""

import numpy as np

from . import paper
from .parts import average, descend_decayed, fading

CAME = ("sign", "no_decay", "no_mean", "no_clip", "no_confidence", "one_decay", "whole")
SOURCE = "Luo et al. 2023, CAME, Algorithm 2"


def _outer(row, col, mutation):
    """row col / mean(row)."""
    mean = 1.0 if mutation == "no_mean" else row.mean()
    return np.outer(row, col) / mean


@paper(
    "scale_by_came",
    configs=({}, {"b1": 0.5, "b2": 0.9, "b3": 0.8, "eps": 1e-3, "eps_confidence": 1e-2, "clipping_threshold": 0.5}),
    mutations=CAME,
    source=SOURCE,
)
def scale_by_came(
    grads,
    params,
    *,
    mutation=None,
    b1=0.9,
    b2=0.999,
    b3=0.9999,
    eps=1e-30,
    eps_confidence=1e-16,
    clipping_threshold=1.0,
):
    """u = g / sqrt(r c / mean(r)), clipped; m its mean; m / sqrt(R C / mean(R)) of (u - m)^2."""
    m, whole = np.zeros_like(params), np.zeros_like(params)
    r, c, row, col = (np.zeros(params.shape[i]) for i in (0, 1, 0, 1))
    updates = []
    for g in grads:
        square = g**2 + eps
        r, c = average(r, square.mean(1), b2, mutation), average(c, square.mean(0), b2, mutation)
        whole = average(whole, square, b2)
        u = g / np.sqrt(whole if mutation == "whole" else _outer(r, c, mutation))
        if mutation != "no_clip":
            u = u / max(1.0, np.sqrt(np.mean(u**2)) / clipping_threshold)
        m = average(m, u, b1, mutation)
        unstable = (u - m) ** 2 + eps_confidence
        last = b2 if mutation == "one_decay" else b3
        row, col = average(row, unstable.mean(1), last), average(col, unstable.mean(0), last)
        updates.append(m if mutation == "no_confidence" else m / np.sqrt(_outer(row, col, mutation)))
    return updates


@paper(
    "came",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "weight_decay": 0.1}),
    mutations=("sign", "decay_without_rate", "late_count"),
    source=SOURCE,
)
def came(grads, params, *, mutation=None, learning_rate, weight_decay=0.0):
    """theta <- theta - eta (u + lambda theta)."""
    return descend_decayed(scale_by_came(grads, params), params, learning_rate, weight_decay, mutation)

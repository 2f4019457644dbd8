"""MADGRAD."""

import numpy as np

from . import paper
from .parts import fading, rate, steps

MADGRAD = ("sign", "late_count", "square_root", "eps_inside", "eps_once", "no_weight", "moving_start", "no_momentum")


@paper(
    "scale_by_madgrad",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": fading, "momentum": 0.5, "eps": 1e-3},
        {"learning_rate": 0.1, "momentum": 0.0, "eps": 0.0},
        {"learning_rate": 1e-2, "eps": 0.1},
    ),
    mutations=MADGRAD,
    source="Defazio & Jelassi 2021, Algorithm 1",
)
def scale_by_madgrad(grads, params, *, mutation=None, learning_rate, momentum=0.9, weight_decay=0.0, eps=1e-6):
    """x <- (1 - c) x + c (x0 - s / (cbrt(v) + eps)), c = 1 - momentum. Defazio & Jelassi 2021, Algorithm 1.

    s and v sum lambda_k g and lambda_k g^2, lambda_k = (gamma_k + eps) sqrt(k + 1), with eps as in the authors' code.
    """
    x = x0 = params
    s = v = np.zeros_like(params)
    c = 1.0 if mutation == "no_momentum" else 1 - momentum
    updates = []
    for t, g in steps(grads, mutation):
        g = g + weight_decay * x
        weight = rate(learning_rate, t) + (0 if mutation == "eps_once" else eps)
        weight = weight * (1 if mutation == "no_weight" else np.sqrt(t))
        s, v = s + weight * g, v + weight * g**2
        if mutation == "eps_inside":
            bottom = (v + eps) ** (1 / 3)
        else:
            bottom = v ** (1 / 2 if mutation == "square_root" else 1 / 3) + eps
        z = (x if mutation == "moving_start" else x0) - np.divide(s, bottom, out=np.zeros_like(s), where=bottom != 0)
        new = (1 - c) * x + c * z
        updates.append(new - x)
        x = new
    return updates


@paper(
    "madgrad",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "momentum": 0.5, "eps": 1e-2, "weight_decay": 0.1}),
    mutations=(*MADGRAD, "no_weight_decay"),
    source="Defazio & Jelassi 2021, Algorithm 1, with decay in the gradient",
)
def madgrad(grads, params, *, mutation=None, weight_decay=0.0, **others):
    """The gradient is g + lambda x."""
    decay = 0.0 if mutation == "no_weight_decay" else weight_decay
    return scale_by_madgrad(grads, params, mutation=mutation, weight_decay=decay, **others)

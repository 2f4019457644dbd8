"""Adam in the infinity norm."""

import numpy as np

from . import paper
from .parts import average, debiased, descend, descend_decayed, fading, ratio, steps

ADAMAX = ("sign", "no_decay", "no_correction", "eps_moved", "late_count")


def _adamax(grads, params, mutation, b1, b2, eps, eps_in_max):
    """u = m / ((1 - b1^t) n), n the decayed maximum of |g|. Kingma & Ba 2015, Algorithm 2."""
    if mutation == "eps_moved":
        eps_in_max = not eps_in_max
    m = n = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        decayed = n if mutation == "no_decay" else b2 * n
        n = np.maximum(decayed, abs(g) + eps) if eps_in_max else np.maximum(decayed, abs(g))
        updates.append(ratio(debiased(m, b1, t, mutation), n if eps_in_max else n + eps))
    return updates


@paper(
    "scale_by_adamax",
    configs=({}, {"eps": 1e-3}, {"b1": 0.8, "b2": 0.9}),
    mutations=ADAMAX,
    source="Kingma & Ba 2015, Algorithm 2, with eps added to |g|",
)
def scale_by_adamax(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-8):
    """n <- max(b2 n, |g| + eps); u = m^ / n. Kingma & Ba 2015, Algorithm 2.

    The paper has no eps; common implementations add it inside the maximum, so that the slot includes it.
    """
    return _adamax(grads, params, mutation, b1, b2, eps, eps_in_max=True)


@paper(
    "scale_by_adamax_eps_hat",
    configs=({}, {"eps": 1e-3}, {"b1": 0.8, "b2": 0.9}),
    mutations=ADAMAX,
    source="Kingma & Ba 2015, Algorithm 2, with eps added to the maximum",
)
def scale_by_adamax_eps_hat(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-7):
    """n <- max(b2 n, |g|); u = m^ / (n + eps). Kingma & Ba 2015, Algorithm 2."""
    return _adamax(grads, params, mutation, b1, b2, eps, eps_in_max=False)


@paper(
    "adamax",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "b2": 0.9, "eps": 1e-3}),
    mutations=ADAMAX,
    source="Kingma & Ba 2015, Algorithm 2",
)
def adamax(grads, params, *, mutation=None, learning_rate, **moments):
    """theta <- theta - alpha m^ / n. Kingma & Ba 2015, Algorithm 2."""
    directions = scale_by_adamax(grads, params, mutation=mutation, **moments)
    return descend(directions, learning_rate, mutation)


@paper(
    "adamaxw",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": fading, "b2": 0.9, "eps": 1e-3, "weight_decay": 0.1},
    ),
    mutations=(*ADAMAX, "coupled", "decay_without_rate"),
    source="Kingma & Ba 2015, Algorithm 2; Loshchilov & Hutter 2019, Algorithm 2",
)
def adamaxw(grads, params, *, mutation=None, learning_rate, weight_decay=1e-4, **moments):
    """theta <- theta - alpha (m^ / n + lambda theta). Loshchilov & Hutter 2019."""
    if mutation == "coupled":
        grads = [g + weight_decay * params for g in grads]
        weight_decay = 0.0
    directions = scale_by_adamax(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

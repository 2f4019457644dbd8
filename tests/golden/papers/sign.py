"""Methods that only use the sign."""

import numpy as np

from . import paper
from .parts import average, descend, fading


@paper(
    "scale_by_sign",
    configs=({},),
    mutations=("sign", "zero_is_one"),
    source="Bernstein et al. 2018, Algorithm 1",
)
def scale_by_sign(grads, params, *, mutation=None):
    """u = sign(g), sign(0) = 0. Bernstein et al. 2018, Algorithm 1."""
    if mutation == "zero_is_one":
        return [np.where(g >= 0, 1.0, -1.0) for g in grads]
    return [np.sign(g) for g in grads]


@paper(
    "sign_sgd",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading}),
    mutations=("sign", "zero_is_one", "late_count"),
    source="Bernstein et al. 2018, Algorithm 1",
)
def sign_sgd(grads, params, *, mutation=None, learning_rate):
    """u = -delta sign(g). Bernstein et al. 2018, Algorithm 1."""
    return descend(scale_by_sign(grads, params, mutation=mutation), learning_rate, mutation)


@paper(
    "signum",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "beta": 0.5},
        {"learning_rate": fading},
    ),
    mutations=("sign", "no_decay", "zero_is_one", "late_count", "wrong_order"),
    source="Bernstein et al. 2018, Algorithm 2",
)
def signum(grads, params, *, mutation=None, learning_rate, beta=0.9):
    """m <- beta m + (1 - beta) g; u = -delta sign(m). Bernstein et al. 2018, Algorithm 2.

    The bias correction is positive and cannot change a sign, so it is left out.
    """
    if mutation == "wrong_order":
        grads = [np.sign(g) for g in grads]
    m = np.zeros_like(params)
    means = []
    for g in grads:
        m = average(m, g, beta, mutation)
        means.append(m)
    if mutation == "wrong_order":
        return descend(means, learning_rate)
    return descend(scale_by_sign(means, params, mutation=mutation), learning_rate, mutation)

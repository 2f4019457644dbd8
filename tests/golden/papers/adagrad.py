"""AdaGrad, with the two usual initial values and positions of epsilon."""

import numpy as np

from . import paper
from .parts import descend, fading, ratio

ADAGRAD = ("sign", "no_sum", "eps_moved", "no_initial")


@paper(
    "scale_by_rss",
    configs=({}, {"eps": 1e-3}, {"initial_accumulator_value": 0.0, "eps": 1e-3}),
    mutations=ADAGRAD,
    source="Duchi et al. 2011, Figure 1, with delta inside the root",
)
def scale_by_rss(grads, params, *, mutation=None, initial_accumulator_value=0.1, eps=1e-7):
    """a <- a + g^2; u = g / sqrt(a + eps), 0 where a = 0. Duchi et al. 2011."""
    a = np.full_like(params, 0.0 if mutation == "no_initial" else initial_accumulator_value)
    updates = []
    for g in grads:
        a = g**2 if mutation == "no_sum" else a + g**2
        bottom = np.sqrt(a) + eps if mutation == "eps_moved" else np.sqrt(a + eps)
        updates.append(ratio(g, bottom))
    return updates


@paper(
    "adagrad",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "eps": 1e-3}),
    mutations=(*ADAGRAD, "late_count"),
    source="Duchi et al. 2011, Figure 1",
)
def adagrad(grads, params, *, mutation=None, learning_rate, **scaling):
    """theta <- theta - eta g / sqrt(a + eps). Duchi et al. 2011."""
    directions = scale_by_rss(grads, params, mutation=mutation, **scaling)
    return descend(directions, learning_rate, mutation)


@paper(
    "scale_by_adagrad",
    configs=({}, {"eps": 1e-3}, {"initial_accumulator_value": 0.1, "eps": 1e-3}),
    mutations=ADAGRAD,
    source="Duchi et al. 2011, Figure 1: H = delta I + diag(G)^(1/2)",
)
def scale_by_adagrad(grads, params, *, mutation=None, initial_accumulator_value=0.0, eps=1e-7):
    """a <- a + g^2; u = g / (sqrt(a) + eps). Duchi et al. 2011, Figure 1."""
    a = np.full_like(params, 0.0 if mutation == "no_initial" else initial_accumulator_value)
    updates = []
    for g in grads:
        a = g**2 if mutation == "no_sum" else a + g**2
        bottom = np.sqrt(a + eps) if mutation == "eps_moved" else np.sqrt(a) + eps
        updates.append(ratio(g, bottom))
    return updates

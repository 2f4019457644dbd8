"""AdaDelta."""

import numpy as np

from . import paper
from .parts import average, fading, rate, ratio, steps

ADADELTA = ("sign", "no_decay", "eps_moved", "no_delta")


def _adadelta(g, a, d, rho, eps, mutation):
    """One update of Zeiler 2012, Algorithm 1: the direction and the new averages."""
    a = average(a, g**2, rho, mutation)
    if mutation == "eps_moved":
        u = ratio(g * (np.sqrt(d) + eps), np.sqrt(a) + eps)
    elif mutation == "no_delta":
        u = ratio(g, np.sqrt(a + eps))
    else:
        u = ratio(g * np.sqrt(d + eps), np.sqrt(a + eps))
    return u, a, average(d, u**2, rho, mutation)


@paper(
    "scale_by_adadelta",
    configs=({}, {"eps": 1e-3}, {"rho": 0.8}),
    mutations=ADADELTA,
    source="Zeiler 2012, Algorithm 1",
)
def scale_by_adadelta(grads, params, *, mutation=None, rho=0.9, eps=1e-6):
    """u = sqrt(d + eps) / sqrt(a + eps) g, d the average of previous u^2. Zeiler 2012, Alg. 1."""
    a = d = np.zeros_like(params)
    updates = []
    for g in grads:
        u, a, d = _adadelta(g, a, d, rho, eps, mutation)
        updates.append(u)
    return updates


@paper(
    "adadelta",
    configs=(
        {},
        {"learning_rate": 0.5, "eps": 1e-3},
        {"learning_rate": fading, "rho": 0.8, "weight_decay": 0.1},
    ),
    mutations=(*ADADELTA, "late_count", "decoupled"),
    source="Zeiler 2012, Algorithm 1, with a learning rate",
)
def adadelta(grads, params, *, mutation=None, learning_rate=None, rho=0.9, eps=1e-6, weight_decay=0.0):
    """theta <- theta - eta u(g + lambda theta). Zeiler 2012, Algorithm 1.

    The decay is added to the gradient before the scaling: common implementations do not decouple it.
    Without a learning rate they return +u, and leave the sign to the caller.
    """
    a = d = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        scale = 1.0 if learning_rate is None else -rate(learning_rate, t)
        decay = weight_decay * params
        if mutation == "decoupled":
            u, a, d = _adadelta(g, a, d, rho, eps, mutation)
            u = u + decay
        else:
            u, a, d = _adadelta(g + decay, a, d, rho, eps, mutation)
        params = params + scale * u
        updates.append(scale * u)
    return updates

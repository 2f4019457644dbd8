"""Adan."""

import numpy as np

from . import paper
from .parts import average, debiased, fading, rate, ratio, steps

ADAN = ("sign", "no_decay", "no_correction", "eps_moved", "late_count", "paper_beta", "first_change", "no_change")


@paper(
    "scale_by_adan",
    configs=({}, {"b1": 0.9, "b2": 0.8, "b3": 0.95, "eps": 1e-3, "eps_root": 1e-4}, {"b1": 0.0, "b2": 0.0, "b3": 0.9}),
    mutations=(*ADAN, "root_moved"),
    source="Xie et al. 2022, Algorithm 1",
)
def scale_by_adan(grads, params, *, mutation=None, b1=0.98, b2=0.92, b3=0.99, eps=1e-8, eps_root=0.0):
    """u = (m^ + (1 - beta2) v^) / (sqrt(n^ + eps_root) + eps). Xie et al. 2022, Algorithm 1, lines 3-7.

    m averages g_t, v averages d_t = g_t - g_(t-1), n averages (g_t + (1 - beta2) d_t)^2; the paper's beta
    is the weight of the new value, b = 1 - beta the weight of the old average.
    """
    ahead = {"paper_beta": 1 - b2, "no_change": 0}.get(mutation, b2)
    m = v = n = np.zeros_like(params)
    last = np.zeros_like(params) if mutation == "first_change" else grads[0]
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        v = average(v, g - last, b2, mutation)
        n = average(n, (g + ahead * (g - last)) ** 2, b3, mutation)
        last = g
        m_hat, v_hat, n_hat = (debiased(x, b, t, mutation) for x, b in ((m, b1), (v, b2), (n, b3)))
        if mutation == "eps_moved":
            bottom = np.sqrt(n_hat + eps_root + eps)
        elif mutation == "root_moved":
            bottom = np.sqrt(n_hat) + eps_root + eps
        else:
            bottom = np.sqrt(n_hat + eps_root) + eps
        updates.append(ratio(m_hat + ahead * v_hat, bottom))
    return updates


@paper(
    "adan",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": fading, "eps": 1e-3, "weight_decay": 0.1},
        {"learning_rate": 0.1, "weight_decay": 0.1},
        {"learning_rate": 0.1, "weight_decay": fading, "proximal_decay": False},
    ),
    mutations=(*ADAN, "decay_without_rate", "other_decay"),
    source="Xie et al. 2022, Algorithm 1, line 7",
)
def adan(
    grads, params, *, mutation=None, learning_rate, weight_decay=0.0, eps_root=1e-8, proximal_decay=True, **moments
):
    """theta <- (theta - eta u) / (1 + lambda eta); without proximal_decay (1 - lambda eta) theta - eta u."""
    updates = []
    proximal = proximal_decay != (mutation == "other_decay")
    for t, u in steps(scale_by_adan(grads, params, mutation=mutation, eps_root=eps_root, **moments), mutation):
        eta, decay = rate(learning_rate, t), rate(weight_decay, t)
        shrink = decay if mutation == "decay_without_rate" else eta * decay
        new = (params - eta * u) / (1 + shrink) if proximal else (1 - shrink) * params - eta * u
        updates.append(new - params)
        params = new
    return updates

"""RAdam."""

import numpy as np

from . import paper
from .parts import average, debiased, descend, fading, ratio, steps

RADAM = ("sign", "no_decay", "no_correction", "eps_moved", "late_count", "unrectified", "never", "always")


@paper(
    "scale_by_radam",
    configs=(
        {},
        {"b2": 0.9, "eps": 1e-3},
        {"b1": 0.8, "b2": 0.95, "eps_root": 1e-4, "threshold": 4.0, "nesterov": True},
        {"b2": 0.2, "eps": 1e-3},
        {"b1": 0.0, "b2": 0.0},
        {"b2": 0.9, "threshold": 10.0},
    ),
    mutations=(*RADAM, "root_moved", "no_nesterov"),
    source="Liu et al. 2020, Algorithm 2",
)
def scale_by_radam(
    grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, threshold=5.0, nesterov=False
):
    """u = r_t m^ / (sqrt(v^ + eps_root) + eps) where rho_t >= threshold, else m^. Liu et al. 2020, Algorithm 2.

    rho_t = rho_inf - 2 t b2^t / (1 - b2^t), rho_inf = 2 / (1 - b2) - 1,
    r_t = sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t)).
    """
    m = v = np.zeros_like(params)
    rho_inf = 2 / (1 - b2) - 1
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        v = average(v, g**2, b2, mutation)
        m_hat, v_hat = debiased(m, b1, t, mutation), debiased(v, b2, t, mutation)
        if nesterov and mutation != "no_nesterov":
            m_hat = b1 * debiased(m, b1, t + 1, mutation) + (1 - b1) * debiased(g, b1, t, mutation)
        if mutation == "eps_moved":
            bottom = np.sqrt(v_hat + eps_root + eps)
        elif mutation == "root_moved":
            bottom = np.sqrt(v_hat) + eps_root + eps
        else:
            bottom = np.sqrt(v_hat + eps_root) + eps
        rho = rho_inf - 2 * t * b2**t / (1 - b2**t)
        rectified = {"never": False, "always": True}.get(mutation, rho >= threshold)
        r = np.sqrt(np.abs((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)))
        r = 1 if mutation == "unrectified" else r
        updates.append(r * ratio(m_hat, bottom) if rectified else m_hat)
    return updates


@paper(
    "radam",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "b2": 0.9, "eps": 1e-3, "nesterov": True}),
    mutations=RADAM,
    source="Liu et al. 2020, Algorithm 2",
)
def radam(grads, params, *, mutation=None, learning_rate, **moments):
    """theta <- theta - alpha u. Liu et al. 2020, Algorithm 2."""
    return descend(scale_by_radam(grads, params, mutation=mutation, **moments), learning_rate, mutation)

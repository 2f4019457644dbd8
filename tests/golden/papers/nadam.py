"""Nadam with the momentum schedule of its paper."""

import numpy as np

from . import paper
from .parts import average, debiased, ratio, steps


@paper(
    "scale_by_nadam",
    configs=({}, {"eps": 1e-3}, {"b1": 0.8, "b2": 0.9, "schedule_decay": 0.1}),
    mutations=(
        "sign",
        "no_decay",
        "no_correction",
        "eps_moved",
        "eps_uncorrected",
        "late_count",
        "no_nesterov",
        "no_schedule",
    ),
    source="Dozat 2016, Algorithm 2, and the momentum schedule of its section 3 (Sutskever 2013)",
)
def scale_by_nadam(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-7, schedule_decay=0.004):
    """u = ((1 - mu_t) g^ + mu_(t+1) m^) / (sqrt(v^) + eps). Dozat 2016, Algorithm 2.

    mu_t = b1 (1 - 0.5 0.96^(t schedule_decay)), P_t = mu_1 ... mu_t, g^ = g / (1 - P_t),
    m^ = m / (1 - P_(t+1)); m is averaged with b1, as in Keras, not with mu_t.
    """

    def mu(t):
        return b1 if mutation == "no_schedule" else b1 * (1 - 0.5 * 0.96 ** (t * schedule_decay))

    m = v = np.zeros_like(params)
    P = 1.0
    updates = []
    for t, g in steps(grads, mutation):
        P = P * mu(t)
        m = average(m, g, b1, mutation)
        v = average(v, g**2, b2, mutation)
        g_hat = g if mutation == "no_correction" else g / (1 - P)
        m_hat = m if mutation == "no_correction" else m / (1 - P * mu(t + 1))
        v_hat = debiased(v, b2, t, mutation)
        top = (1 - mu(t)) * g_hat + mu(t + 1) * m_hat
        if mutation == "no_nesterov":
            top = m / (1 - P)
        if mutation == "eps_moved":
            bottom = np.sqrt(v_hat + eps)
        elif mutation == "eps_uncorrected":
            bottom = np.sqrt(v_hat) + eps / np.sqrt(1 - b2**t)
        else:
            bottom = np.sqrt(v_hat) + eps
        updates.append(ratio(top, bottom))
    return updates

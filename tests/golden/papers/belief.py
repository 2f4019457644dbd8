"""AdaBelief, and ACProp, which divides by the belief of the previous step."""

import numpy as np

from . import paper
from .parts import average, debiased, descend, descend_decayed, fading, ratio, steps

BELIEF = ("sign", "no_decay", "no_correction", "eps_moved", "late_count", "uncentred", "old_mean", "root_once")
ACPROP = ("sign", "no_decay", "no_correction", "eps_moved", "uncentred", "old_mean", "root_once", "synchronous")


@paper(
    "scale_by_belief",
    configs=(
        {},
        {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-6},
        {"b1": 0.0, "b2": 0.9, "eps_root": 1e-4},
        {"b2": 0.99, "eps": 1e-3, "nesterov": True},
    ),
    mutations=(*BELIEF, "no_nesterov"),
    source="Zhuang et al. 2020, Algorithm 2",
)
def scale_by_belief(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, nesterov=False):
    """s = b2 s + (1 - b2) (g - m)^2 + eps_root; u = m^ / (sqrt(s^) + eps). Zhuang et al. 2020, Algorithm 2."""
    m = s = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        old, m = m, average(m, g, b1, mutation)
        mean = {"uncentred": 0, "old_mean": old}.get(mutation, m)
        s = average(s, (g - mean) ** 2, b2, mutation) + (0 if mutation == "root_once" else eps_root)
        m_hat, s_hat = debiased(m, b1, t, mutation), debiased(s, b2, t, mutation)
        if nesterov and mutation != "no_nesterov":
            m_hat = b1 * debiased(m, b1, t + 1, mutation) + (1 - b1) * debiased(g, b1, t, mutation)
        if mutation == "root_once":
            s_hat = s_hat + eps_root
        updates.append(ratio(m_hat, np.sqrt(s_hat + eps) if mutation == "eps_moved" else np.sqrt(s_hat) + eps))
    return updates


@paper(
    "adabelief",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "eps": 1e-3, "eps_root": 1e-6, "nesterov": True}),
    mutations=BELIEF,
    source="Zhuang et al. 2020, Algorithm 2",
)
def adabelief(grads, params, *, mutation=None, learning_rate, **moments):
    """theta <- theta - alpha m^ / (sqrt(s^) + eps). Zhuang et al. 2020, Algorithm 2."""
    return descend(scale_by_belief(grads, params, mutation=mutation, **moments), learning_rate, mutation)


@paper(
    "scale_by_acprop",
    configs=({}, {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-6}, {"b1": 0.0, "b2": 0.9, "eps_root": 1e-4}),
    mutations=ACPROP,
    source="Zhuang et al. 2021, Algorithm 2",
)
def scale_by_acprop(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16):
    """u_t = g_t / (sqrt(s_(t-1)^) + eps), s_0^ = 1; m and s as in AdaBelief. Zhuang et al. 2021, Algorithm 2."""
    m = s = np.zeros_like(params)
    s_hat = np.ones_like(params)
    updates = []
    for t, g in steps(grads):
        before = s_hat
        old, m = m, average(m, g, b1, mutation)
        mean = {"uncentred": 0, "old_mean": old}.get(mutation, m)
        s = average(s, (g - mean) ** 2, b2, mutation) + (0 if mutation == "root_once" else eps_root)
        s_hat = debiased(s, b2, t, mutation) + (eps_root if mutation == "root_once" else 0)
        under = s_hat if mutation == "synchronous" else before
        updates.append(ratio(g, np.sqrt(under + eps) if mutation == "eps_moved" else np.sqrt(under) + eps))
    return updates


@paper(
    "acprop",
    configs=(
        {"learning_rate": 1e-2, "eps": 1e-3, "eps_root": 1e-6},
        {"learning_rate": fading, "eps_root": 1e-4, "weight_decay": 0.1},
    ),
    mutations=(*ACPROP, "late_count", "decay_without_rate"),
    source="Zhuang et al. 2021, Algorithm 2; Loshchilov & Hutter 2019, Algorithm 2",
)
def acprop(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, **moments):
    """theta <- theta - alpha (u + lambda theta)."""
    directions = scale_by_acprop(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

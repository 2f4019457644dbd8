"""AdEMAMix and simplified AdEMAMix."""

import numpy as np

from . import paper
from .parts import average, debiased, descend_decayed, fading, ratio, steps

MIX = ("sign", "no_decay", "no_correction", "eps_moved", "late_count", "no_slow", "slow_corrected")
SIMPLE = ("sign", "no_decay", "no_correction", "eps_moved", "late_count", "averaged", "no_gradient")


def warming(count):
    """A schedule for b3: from 0.9 towards 1."""
    return 1 - fading(count)


def growing(count):
    """A schedule for alpha: from 0.1 towards 1."""
    return 1 - 9 * fading(count) + 0.01 * count


def at(value, t, mutation):
    """A number, or a schedule at the number of updates before update t."""
    return value(t - (0 if mutation == "schedule_late" else 1)) if callable(value) else value


@paper(
    "scale_by_ademamix",
    configs=(
        {},
        {"b1": 0.8, "b2": 0.95, "b3": 0.99, "alpha": 2.0, "eps": 1e-3, "eps_root": 1e-4},
        {"b1": 0.0, "b3": warming, "alpha": 2.0},
        {"b3": 0.99, "alpha": fading},
    ),
    mutations=(*MIX, "root_moved", "schedule_late"),
    source="Pagliardini et al. 2024, Algorithm 1",
)
def scale_by_ademamix(grads, params, *, mutation=None, b1=0.9, b2=0.999, b3=0.9999, alpha=6.0, eps=1e-8, eps_root=0.0):
    """u = (m1^ + alpha m2) / (sqrt(v^ + eps_root) + eps), m2 uncorrected. Pagliardini et al. 2024, Algorithm 1."""
    m1 = m2 = v = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        beta3, share = at(b3, t, mutation), at(alpha, t, mutation)
        m1 = average(m1, g, b1, mutation)
        m2 = average(m2, g, beta3, mutation)
        v = average(v, g**2, b2, mutation)
        v_hat = debiased(v, b2, t, mutation)
        slow = {"no_slow": 0 * m2, "slow_corrected": m2 / (1 - beta3**t)}.get(mutation, m2)
        if mutation == "eps_moved":
            bottom = np.sqrt(v_hat + eps_root + eps)
        elif mutation == "root_moved":
            bottom = np.sqrt(v_hat) + eps_root + eps
        else:
            bottom = np.sqrt(v_hat + eps_root) + eps
        updates.append(ratio(debiased(m1, b1, t, mutation) + share * slow, bottom))
    return updates


@paper(
    "ademamix",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "b3": 0.99, "eps": 1e-3, "weight_decay": 0.1}),
    mutations=(*MIX, "decay_without_rate"),
    source="Pagliardini et al. 2024, Algorithm 1",
)
def ademamix(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, alpha=5.0, **moments):
    """theta <- theta - eta (u + lambda theta). Pagliardini et al. 2024, Algorithm 1."""
    directions = scale_by_ademamix(grads, params, mutation=mutation, alpha=alpha, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)


@paper(
    "scale_by_simplified_ademamix",
    configs=(
        {},
        {"b1": 0.9, "b2": 0.99, "alpha": 2.0, "eps": 1e-3, "eps_root": 1e-4},
        {"b1": 0.0, "alpha": fading},
        {"b1": 0.9, "alpha": fading},
    ),
    mutations=(*SIMPLE, "root_moved", "schedule_late"),
    source="Morwani et al. 2025, Simplified-AdEMAMix",
)
def scale_by_simplified_ademamix(grads, params, *, mutation=None, b1=0.99, b2=0.95, alpha=0.0, eps=1e-8, eps_root=0.0):
    """m <- b1 m + g; u = (m + alpha g) / (sqrt(v^ + eps_root) + eps). Morwani et al. 2025."""
    m = v = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1) if mutation == "averaged" else (m if mutation == "no_decay" else b1 * m) + g
        v = average(v, g**2, b2, mutation)
        v_hat = debiased(v, b2, t, mutation)
        share = 0 if mutation == "no_gradient" else at(alpha, t, mutation)
        if mutation == "eps_moved":
            bottom = np.sqrt(v_hat + eps_root + eps)
        elif mutation == "root_moved":
            bottom = np.sqrt(v_hat) + eps_root + eps
        else:
            bottom = np.sqrt(v_hat + eps_root) + eps
        updates.append(ratio(m + share * g, bottom))
    return updates


@paper(
    "simplified_ademamix",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "alpha": 2.0, "eps": 1e-3, "weight_decay": 0.1}),
    mutations=(*SIMPLE, "decay_without_rate"),
    source="Morwani et al. 2025, Simplified-AdEMAMix",
)
def simplified_ademamix(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, **moments):
    """theta <- theta - eta (u + lambda theta)."""
    directions = scale_by_simplified_ademamix(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)

"""Yogi."""

import numpy as np

from . import paper
from .parts import average, debiased, descend, fading, ratio, steps

YOGI = ("sign", "no_decay", "no_correction", "eps_moved", "late_count", "adam", "flipped")


@paper(
    "scale_by_yogi",
    configs=(
        {},
        {"b1": 0.8, "b2": 0.9, "eps": 1e-8, "eps_root": 1e-2, "initial_accumulator_value": 0.1},
        {"b1": 0.0, "b2": 0.9, "initial_accumulator_value": 0.0},
    ),
    mutations=(*YOGI, "root_moved", "zero_start"),
    source="Zaheer et al. 2018, Algorithm 2",
)
def scale_by_yogi(
    grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-3, eps_root=0.0, initial_accumulator_value=1e-6
):
    """v <- v - (1 - b2) sign(v - g^2) g^2; u = m^ / (sqrt(v^ + eps_root) + eps). Zaheer et al. 2018, Algorithm 2.

    The paper has no bias correction; common implementations correct both moments and start both at the initial value.
    """
    m = v = np.full_like(params, 0 if mutation == "zero_start" else initial_accumulator_value)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        if mutation == "adam":
            v = average(v, g**2, b2)
        else:
            v = v - (-1 if mutation == "flipped" else 1) * (1 - b2) * np.sign(v - g**2) * g**2
        m_hat, v_hat = debiased(m, b1, t, mutation), debiased(v, b2, t, mutation)
        v_hat = np.abs(v_hat) if mutation == "flipped" else v_hat
        if mutation == "eps_moved":
            bottom = np.sqrt(v_hat + eps_root + eps)
        elif mutation == "root_moved":
            bottom = np.sqrt(v_hat) + eps_root + eps
        else:
            bottom = np.sqrt(v_hat + eps_root) + eps
        updates.append(ratio(m_hat, bottom))
    return updates


@paper(
    "yogi",
    configs=({"learning_rate": 1e-2}, {"learning_rate": fading, "b2": 0.9, "eps": 1e-2}),
    mutations=YOGI,
    source="Zaheer et al. 2018, Algorithm 2",
)
def yogi(grads, params, *, mutation=None, learning_rate, **moments):
    """theta <- theta - alpha u. Zaheer et al. 2018, Algorithm 2."""
    return descend(scale_by_yogi(grads, params, mutation=mutation, **moments), learning_rate, mutation)

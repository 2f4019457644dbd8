"""Adam, and the variants that change only one line of it."""

import numpy as np

from . import paper
from .parts import average, debiased, descend, descend_decayed, fading, ratio, steps

ADAM = ("sign", "no_decay", "no_correction", "eps_moved", "eps_uncorrected", "late_count")
NADAM = (*ADAM, "no_nesterov")


@paper(
    "scale_by_adam",
    configs=(
        {},
        {"eps": 1e-3},
        {"b1": 0.8, "b2": 0.95, "eps_root": 1e-4},
        {"b1": 0.0, "b2": 0.9},
        {"b2": 0.99, "eps": 1e-3, "nesterov": True},
    ),
    mutations=(*NADAM, "root_moved"),
    source="Kingma & Ba 2015, Algorithm 1; nesterov: Dozat 2016, Algorithm 2, constant mu",
)
def scale_by_adam(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, nesterov=False):
    """u = m^ / (sqrt(v^ + eps_root) + eps). Kingma & Ba 2015, Algorithm 1."""
    m = v = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        v = average(v, g**2, b2, mutation)
        if nesterov and mutation != "no_nesterov":
            m_hat = b1 * debiased(m, b1, t + 1, mutation) + (1 - b1) * debiased(g, b1, t, mutation)
        else:
            m_hat = debiased(m, b1, t, mutation)
        v_hat = debiased(v, b2, t, mutation)
        if mutation == "eps_moved":
            bottom = np.sqrt(v_hat + eps_root + eps)
        elif mutation == "eps_uncorrected":
            bottom = np.sqrt(v_hat + eps_root) + eps / np.sqrt(1 - b2**t)
        elif mutation == "root_moved":
            bottom = np.sqrt(v_hat) + eps_root + eps
        else:
            bottom = np.sqrt(v_hat + eps_root) + eps
        updates.append(ratio(m_hat, bottom))
    return updates


@paper(
    "adam",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": fading, "eps": 1e-3},
        {"learning_rate": 1e-2, "b2": 0.99, "eps_root": 1e-4, "nesterov": True},
    ),
    mutations=NADAM,
    source="Kingma & Ba 2015, Algorithm 1",
)
def adam(grads, params, *, mutation=None, learning_rate, **moments):
    """theta <- theta - alpha m^ / (sqrt(v^) + eps). Kingma & Ba 2015, Algorithm 1."""
    directions = scale_by_adam(grads, params, mutation=mutation, **moments)
    return descend(directions, learning_rate, mutation)


@paper(
    "adamw",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": 1e-2, "eps": 1e-3, "weight_decay": 0.1},
        {"learning_rate": fading, "weight_decay": 0.1, "nesterov": True},
    ),
    mutations=(*NADAM, "coupled", "decay_without_rate"),
    source="Loshchilov & Hutter 2019, Algorithm 2, with the schedule multiplier in alpha",
)
def adamw(grads, params, *, mutation=None, learning_rate, weight_decay=1e-4, **moments):
    """theta <- theta - alpha (m^ / (sqrt(v^) + eps) + lambda theta). Loshchilov & Hutter 2019.

    The paper's lambda is not multiplied by alpha; here it is, as in common implementations.
    """
    if mutation == "coupled":
        grads = [g + weight_decay * params for g in grads]
        weight_decay = 0.0
    directions = scale_by_adam(grads, params, mutation=mutation, **moments)
    return descend_decayed(directions, params, learning_rate, weight_decay, mutation)


@paper(
    "nadam",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": 1e-2, "eps": 1e-3},
        {"learning_rate": 1e-2, "nesterov": False},
    ),
    mutations=NADAM,
    source="Dozat 2016, Algorithm 2, with constant mu = b1",
)
def nadam(grads, params, *, mutation=None, learning_rate, nesterov=True, **moments):
    """m^ = b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t), the rest as Adam. Dozat 2016."""
    return adam(grads, params, mutation=mutation, learning_rate=learning_rate, nesterov=nesterov, **moments)


@paper(
    "nadamw",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": 1e-2, "eps": 1e-3, "weight_decay": 0.1},
        {"learning_rate": 1e-2, "nesterov": False},
    ),
    mutations=(*NADAM, "coupled", "decay_without_rate"),
    source="Dozat 2016, Algorithm 2; Loshchilov & Hutter 2019, Algorithm 2",
)
def nadamw(grads, params, *, mutation=None, learning_rate, nesterov=True, **others):
    """nadam with lambda theta added to its direction. Loshchilov & Hutter 2019."""
    return adamw(grads, params, mutation=mutation, learning_rate=learning_rate, nesterov=nesterov, **others)


@paper(
    "scale_by_amsgrad",
    configs=(
        {},
        {"eps": 1e-3, "b2": 0.9},
        {"b2": 0.9, "eps_root": 1e-4},
        {"b2": 0.9, "bias_correction_mu": False},
        {"b2": 0.9, "bias_correction_nu": False},
    ),
    mutations=(*ADAM, "root_moved", "no_max", "max_uncorrected"),
    source="Reddi et al. 2018, Algorithm 2, with Adam's bias corrections",
)
def scale_by_amsgrad(
    grads,
    params,
    *,
    mutation=None,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    eps_root=0.0,
    bias_correction_mu=True,
    bias_correction_nu=True,
):
    """w <- max(w, v^); u = m^ / (sqrt(w + eps_root) + eps). Reddi et al. 2018, Algorithm 2.

    The paper has no bias correction and takes the max of v; common implementations take the max of the corrected v.
    """
    m = v = w = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        v = average(v, g**2, b2, mutation)
        m_hat = debiased(m, b1, t, mutation) if bias_correction_mu else m
        v_hat = debiased(v, b2, t, mutation) if bias_correction_nu else v
        if mutation == "max_uncorrected":
            w = np.maximum(w, v)
            w_hat = debiased(w, b2, t)
        else:
            w = v_hat if mutation == "no_max" else np.maximum(w, v_hat)
            w_hat = w
        if mutation == "eps_moved":
            bottom = np.sqrt(w_hat + eps_root + eps)
        elif mutation == "eps_uncorrected":
            bottom = np.sqrt(w_hat + eps_root) + eps / np.sqrt(1 - b2**t)
        elif mutation == "root_moved":
            bottom = np.sqrt(w_hat) + eps_root + eps
        else:
            bottom = np.sqrt(w_hat + eps_root) + eps
        updates.append(ratio(m_hat, bottom))
    return updates


@paper(
    "amsgrad",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": fading, "b2": 0.9, "eps": 1e-3},
        {"learning_rate": 1e-2, "bias_correction_mu": False, "bias_correction_nu": False},
    ),
    mutations=(*ADAM, "no_max", "max_uncorrected"),
    source="Reddi et al. 2018, Algorithm 2, with Adam's bias corrections",
)
def amsgrad(grads, params, *, mutation=None, learning_rate, **moments):
    """theta <- theta - alpha m^ / (sqrt(w) + eps). Reddi et al. 2018, Algorithm 2."""
    directions = scale_by_amsgrad(grads, params, mutation=mutation, **moments)
    return descend(directions, learning_rate, mutation)


@paper(
    "scale_by_adam_eps_hat",
    configs=(
        {},
        {"eps": 1e-3},
        {"b1": 0.0, "b2": 0.9},
        {"b2": 0.9, "amsgrad": True},
        {"b2": 0.9, "eps": 1e-3, "amsgrad": True},
    ),
    mutations=(
        "sign",
        "no_decay",
        "no_correction",
        "eps_moved",
        "eps_corrected",
        "late_count",
        "no_max",
        "max_corrected",
    ),
    source="Kingma & Ba 2015, section 2, last paragraph; amsgrad: Reddi et al. 2018, Algorithm 2",
)
def scale_by_adam_eps_hat(grads, params, *, mutation=None, b1=0.9, b2=0.999, eps=1e-7, amsgrad=False):
    """u = sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps). Kingma & Ba 2015, section 2.

    With amsgrad the running maximum of the uncorrected v replaces v.
    """
    m = v = w = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, b1, mutation)
        v = average(v, g**2, b2, mutation)
        if amsgrad and mutation == "max_corrected":
            w = np.maximum(w, v / (1 - b2**t))
            top = w * (1 - b2**t)
        else:
            w = np.maximum(w, v) if amsgrad and mutation != "no_max" else v
            top = w
        alpha = 1.0 if mutation == "no_correction" else np.sqrt(1 - b2**t) / (1 - b1**t)
        if mutation == "eps_moved":
            bottom = np.sqrt(top + eps)
        elif mutation == "eps_corrected":
            bottom = np.sqrt(top) + eps * np.sqrt(1 - b2**t)
        else:
            bottom = np.sqrt(top) + eps
        updates.append(alpha * ratio(m, bottom))
    return updates

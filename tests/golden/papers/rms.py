"""RMSprop, plain and centred."""

import numpy as np

from . import paper
from .parts import average, debiased, descend, fading, ratio, steps
from .sgd import trace

RMS = ("sign", "no_decay", "no_correction", "eps_moved", "late_count")


def _root(x, eps, eps_in_sqrt, mutation):
    """sqrt(x + eps), or sqrt(x) + eps."""
    if mutation == "eps_moved":
        eps_in_sqrt = not eps_in_sqrt
    return np.sqrt(x + eps) if eps_in_sqrt else np.sqrt(x) + eps


@paper(
    "scale_by_rms",
    configs=(
        {},
        {"decay": 0.8, "eps": 1e-3},
        {"eps": 1e-3, "eps_in_sqrt": False},
        {"initial_scale": 0.5},
        {"eps": 1e-3, "initial_scale": 0.5, "bias_correction": True},
        {"eps": 1e-3, "eps_in_sqrt": False, "bias_correction": True},
    ),
    mutations=RMS,
    source="Tieleman & Hinton 2012, lecture 6.5",
)
def scale_by_rms(
    grads,
    params,
    *,
    mutation=None,
    decay=0.9,
    eps=1e-8,
    initial_scale=0.0,
    eps_in_sqrt=True,
    bias_correction=False,
):
    """n <- gamma n + (1 - gamma) g^2; u = g / sqrt(n + eps). Tieleman & Hinton 2012.

    The correction divides n by 1 - gamma^t, also if n starts at initial_scale.
    """
    n = np.full_like(params, initial_scale)
    updates = []
    for t, g in steps(grads, mutation):
        n = average(n, g**2, decay, mutation)
        n_hat = debiased(n, decay, t, mutation) if bias_correction else n
        updates.append(ratio(g, _root(n_hat, eps, eps_in_sqrt, mutation)))
    return updates


@paper(
    "scale_by_stddev",
    configs=(
        {},
        {"decay": 0.8, "eps": 1e-3},
        {"eps": 1e-3, "eps_in_sqrt": False},
        {"initial_scale": 0.5},
        {"eps": 1e-3, "initial_scale": 0.5, "bias_correction": True},
    ),
    mutations=(*RMS, "not_centered"),
    source="Graves 2013, eqs. 38 to 40",
)
def scale_by_stddev(
    grads,
    params,
    *,
    mutation=None,
    decay=0.9,
    eps=1e-8,
    initial_scale=0.0,
    eps_in_sqrt=True,
    bias_correction=False,
):
    """u = g / sqrt(n - m^2 + eps), m and n the averages of g and g^2. Graves 2013, eqs. 38-40.

    Only n starts at initial_scale. With bias correction and initial_scale 0, n - m^2 is 0 at the first update.
    """
    m = np.zeros_like(params)
    n = np.full_like(params, initial_scale)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, decay, mutation)
        n = average(n, g**2, decay, mutation)
        m_hat = debiased(m, decay, t, mutation) if bias_correction else m
        n_hat = debiased(n, decay, t, mutation) if bias_correction else n
        variance = np.maximum(n_hat - (0 if mutation == "not_centered" else m_hat**2), 0)
        updates.append(ratio(g, _root(variance, eps, eps_in_sqrt, mutation)))
    return updates


@paper(
    "rmsprop",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": 1e-2, "eps": 1e-3, "centered": True},
        {"learning_rate": fading, "eps": 1e-3, "eps_in_sqrt": False, "momentum": 0.9},
        {"learning_rate": 1e-2, "centered": True, "momentum": 0.9, "nesterov": True},
        {"learning_rate": 1e-2, "eps": 1e-3, "bias_correction": True},
        {"learning_rate": 1e-2, "initial_scale": 0.5, "centered": True, "bias_correction": True},
    ),
    mutations=(*RMS, "not_centered", "no_momentum", "no_nesterov", "momentum_first"),
    source="Tieleman & Hinton 2012, lecture 6.5; Graves 2013, eqs. 38 to 42",
)
def rmsprop(
    grads,
    params,
    *,
    mutation=None,
    learning_rate,
    centered=False,
    momentum=None,
    nesterov=False,
    **scaling,
):
    """delta <- mu delta - eta_t u_t: the momentum accumulates scaled steps. Graves 2013, eq. 41."""
    scale_by = scale_by_stddev if centered else scale_by_rms
    updates = scale_by(grads, params, mutation=mutation, **scaling)
    if momentum is None or mutation == "no_momentum":
        return descend(updates, learning_rate, mutation)
    if mutation == "momentum_first":
        updates = trace(updates, params, decay=momentum, nesterov=nesterov)
        return descend(updates, learning_rate)
    updates = descend(updates, learning_rate, mutation)
    return trace(updates, params, mutation=mutation, decay=momentum, nesterov=nesterov)

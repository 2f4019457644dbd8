"""Transformations that are not part of an optimizer."""

import numpy as np

from . import paper, stream
from .parts import average, debiased, fading, rate, rising, steps


@paper("identity", configs=({},), mutations=("sign",), source="u = g")
def identity(grads, params, *, mutation=None):
    """u = g."""
    return [g.copy() for g in grads]


@paper("set_to_zero", configs=({},), mutations=("unchanged",), source="u = 0")
def set_to_zero(grads, params, *, mutation=None):
    """u = 0."""
    return [g.copy() if mutation == "unchanged" else np.zeros_like(g) for g in grads]


@paper(
    "scale",
    configs=({"step_size": -0.1}, {"step_size": 3.0}),
    mutations=("sign", "divided"),
    source="u = c g",
)
def scale(grads, params, *, mutation=None, step_size):
    """u = c g."""
    return [g / step_size if mutation == "divided" else step_size * g for g in grads]


@paper(
    "scale_by_learning_rate",
    configs=(
        {},
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "flip_sign": False},
        {"learning_rate": fading},
    ),
    mutations=("sign", "late_count"),
    source="u = -eta_n g",
)
def scale_by_learning_rate(grads, params, *, mutation=None, learning_rate=None, flip_sign=True):
    """u = -eta_n g, or +eta_n g; without a learning rate u = g, regardless of flip_sign."""
    if learning_rate is None:
        return [g.copy() for g in grads]
    sign = -1 if flip_sign else 1
    return [sign * rate(learning_rate, t) * g for t, g in steps(grads, mutation)]


@paper(
    "scale_by_schedule",
    configs=({"step_size_fn": fading},),
    mutations=("sign", "late_count"),
    source="u = f(n) g, n = 0 at the first update",
)
def scale_by_schedule(grads, params, *, mutation=None, step_size_fn):
    """u = f(n) g, n the number of previous updates."""
    return [step_size_fn(t - 1) * g for t, g in steps(grads, mutation)]


@paper(
    "ema",
    configs=({"decay": 0.9}, {"decay": 0.99}, {"decay": 0.9, "debias": False}),
    mutations=("sign", "no_decay", "no_correction", "late_count", "stored_debiased"),
    source="Kingma & Ba 2015, section 3",
)
def ema(grads, params, *, mutation=None, decay, debias=True):
    """m <- b m + (1 - b) g; u = m / (1 - b^t). Kingma & Ba 2015, section 3."""
    m = np.zeros_like(params)
    updates = []
    for t, g in steps(grads, mutation):
        m = average(m, g, decay, mutation)
        u = debiased(m, decay, t, mutation) if debias else m
        if mutation == "stored_debiased":
            m = u
        updates.append(u)
    return updates


@paper(
    "centralize",
    configs=({}, {"output_axis": 0}),
    mutations=("sign", "wrong_axis", "per_leaf"),
    source="Yong et al. 2020, eq. 1",
)
def centralize(grads, params, *, mutation=None, output_axis=-1):
    """u = g - mean of the column of g, whose elements are the weights of one unit of a kernel of shape (in, out)."""
    axis = 0 if output_axis == -1 else 1
    if mutation == "wrong_axis":
        axis = 1 - axis
    return [g - g.mean(axis=None if mutation == "per_leaf" else axis, keepdims=True) for g in grads]


def poisoned_stream(steps=25, seed=0):
    """The standard stream with a few NaNs and infinities."""
    grads, params = stream(steps, seed)
    grads[1][0, 1] = np.nan
    grads[4][2, :] = np.nan
    grads[4][3, 0] = np.inf
    return grads, params


@paper(
    "zero_nans",
    configs=({},),
    mutations=("sign", "per_leaf", "unchanged", "infinities_too"),
    source="u = 0 where g is NaN, else g",
    stream=poisoned_stream,
)
def zero_nans(grads, params, *, mutation=None):
    """u = 0 where g is NaN, element-wise; infinities are unchanged."""
    if mutation == "unchanged":
        return [g.copy() for g in grads]
    if mutation == "per_leaf":
        return [np.where(np.isnan(g).any(), 0.0, g) for g in grads]
    if mutation == "infinities_too":
        return [np.where(np.isfinite(g), g, 0.0) for g in grads]
    return [np.where(np.isnan(g), 0.0, g) for g in grads]


@paper(
    "add_decayed_weights",
    configs=(
        {"weight_decay": 0.1},
        {},
        {"weight_decay": 0.1, "mode": "cautious"},
        {"weight_decay": 0.1, "mode": "corrected", "learning_rate": fading, "max_learning_rate": 0.2},
        {"weight_decay": fading, "mode": "corrected", "learning_rate": rising},
    ),
    mutations=("sign", "negated", "still", "careless", "uncorrected", "largest_of_all"),
    source="Krogh & Hertz 1991, eq. 5: the gradient of lambda / 2 |theta|^2; cautious: 2510.12402, Algorithm 1; "
    "corrected: Defazio 2025, AdamC",
)
def add_decayed_weights(
    grads, params, *, mutation=None, weight_decay=0.0, mode="plain", learning_rate=None, max_learning_rate=None
):
    """u = g + lambda theta; the sign of descent is applied later in a chain."""
    updates, largest = [], 0.0
    for t, g in steps(grads):
        decay = rate(weight_decay, t) * params
        if mode == "cautious" and mutation != "careless":
            decay = decay * (g * params >= 0)
        if mode == "corrected" and mutation != "uncorrected":
            now = rate(learning_rate, t)
            largest = max(largest, now) if mutation != "largest_of_all" else 10.0
            decay = decay * now / (max_learning_rate or largest)
        u = g - decay if mutation == "negated" else g + decay
        if mutation != "still":
            params = params + u
        updates.append(u)
    return updates

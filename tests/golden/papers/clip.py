"""Gradient clipping."""

import numpy as np

from . import paper


@paper(
    "clip",
    configs=({"max_delta": 0.5}, {"max_delta": 1e-3}),
    mutations=("sign", "one_sided"),
    source="Pascanu et al. 2013, section 3.2 (Mikolov's elementwise clipping)",
)
def clip(grads, params, *, mutation=None, max_delta):
    """u = min(max(g, -delta), delta)."""
    if mutation == "one_sided":
        return [np.minimum(g, max_delta) for g in grads]
    return [np.minimum(np.maximum(g, -max_delta), max_delta) for g in grads]


@paper(
    "clip_by_global_norm",
    configs=({"max_norm": 1.0}, {"max_norm": 5.0}, {"max_norm": 1e6}),
    mutations=("sign", "always", "per_leaf", "rms"),
    source="Pascanu et al. 2013, Algorithm 1",
)
def clip_by_global_norm(grads, params, *, mutation=None, max_norm):
    """u = (c / |g|) g if |g| >= c, else g. Pascanu et al. 2013, Algorithm 1.

    The array stands for the whole tree; the mutation per_leaf treats its rows as leaves.
    """
    updates = []
    for g in grads:
        norm = np.sqrt((g**2).sum())
        if mutation == "per_leaf":
            norm = np.sqrt((g**2).sum(axis=1, keepdims=True))
        if mutation == "rms":
            norm = np.sqrt((g**2).mean())
        clipped = max_norm / np.where(norm == 0, 1, norm) * g
        updates.append(clipped if mutation == "always" else np.where(norm >= max_norm, clipped, g))
    return updates


@paper(
    "clip_by_block_rms",
    configs=({"threshold": 0.5}, {"threshold": 5.0}),
    mutations=("sign", "always", "norm"),
    source="Shazeer & Stern 2018, Algorithm 5 (update clipping)",
)
def clip_by_block_rms(grads, params, *, mutation=None, threshold):
    """u = g / max(1, RMS(g) / d), for each leaf separately. Shazeer & Stern 2018, Algorithm 5."""
    updates = []
    for g in grads:
        rms = np.sqrt((g**2).sum() if mutation == "norm" else (g**2).mean())
        floor = 1e-9 if mutation == "always" else 1.0
        updates.append(g / max(floor, rms / threshold))
    return updates


@paper(
    "adaptive_grad_clip",
    configs=(
        {"clipping": 0.01},
        {"clipping": 0.5, "eps": 0.1},
        {"clipping": 0.1, "axis": 1},
        {"clipping": 0.1, "axis": (0, 1)},
    ),
    mutations=("sign", "eps_moved", "no_floor", "wrong_axis", "per_leaf"),
    source="Brock et al. 2021, eq. 3",
)
def adaptive_grad_clip(grads, params, *, mutation=None, clipping, eps=1e-3, axis=None):
    """u = lambda max(|W|, eps) / |g| g, if |g| / max(|W|, eps) > lambda. Brock et al. 2021, eq. 3.

    There is one norm for each unit. Without an axis, common implementations sum a matrix over
    axis 0, so its units are the columns.
    """
    if axis is None:
        axis = 0
    if mutation == "wrong_axis":
        axis = 1 if axis == 0 else 0
    if mutation == "per_leaf":
        axis = (0, 1)

    def norm(x):
        return np.sqrt((x**2).sum(axis=axis, keepdims=True))

    updates = []
    for g in grads:
        floored = np.maximum(norm(params), eps)
        if mutation == "eps_moved":
            floored = norm(params) + eps
        if mutation == "no_floor":
            floored = norm(params)
        G = norm(g)
        clipped = clipping * floored / np.where(G == 0, 1, G) * g
        u = np.where(clipping * floored < G, clipped, g)
        params = params + u
        updates.append(u)
    return updates

"""ADOPT."""

import numpy as np

from . import paper
from .parts import average, descend, fading

ADOPT = ("sign", "no_decay", "eps_added", "synchronous", "zero_start", "no_clip", "clip_late")


def constant(count):
    """A constant clip value for configurations."""
    return 0 * count + 0.75


@paper(
    "scale_by_adopt",
    configs=(
        {},
        {"b1": 0.8, "b2": 0.95, "eps": 0.1},
        {"b2": 0.9, "nesterov": True},
        {"b1": 0.0, "b2": 0.9, "use_clipping": False},
        {"b2": 0.9, "eps": 0.0, "clip_value_fn": constant},
    ),
    mutations=(*ADOPT, "no_nesterov", "moment_first"),
    source="Taniguchi et al. 2024, Algorithm 1, and its clipped form",
)
def scale_by_adopt(
    grads,
    params,
    *,
    mutation=None,
    b1=0.9,
    b2=0.9999,
    eps=1e-6,
    nesterov=False,
    use_clipping=True,
    clip_value_fn=lambda n: n**0.25,
):
    """v_0 = g_0^2; m <- b1 m + (1 - b1) clip(g / max(sqrt(v), eps), c_t); u = m; then v <- b2 v + (1 - b2) g^2.

    Taniguchi et al. 2024, Algorithm 1, t from 1 after g_0, c_t = t^(1/4).
    """
    m = np.zeros_like(params)
    v = grads[0] ** 2
    if mutation == "zero_start":
        v = (1 - b2) * v
    updates = [m]
    for t, g in enumerate(grads[1:], 1):
        if mutation == "synchronous":
            v = average(v, g**2, b2)
        bottom = np.sqrt(v) + eps if mutation == "eps_added" else np.maximum(np.sqrt(v), eps)
        n = np.divide(g, bottom, out=np.zeros_like(g), where=bottom != 0)
        if use_clipping and mutation != "no_clip":
            c = clip_value_fn(t + (1 if mutation == "clip_late" else 0))
            n = np.minimum(np.maximum(n, -c), c)
        old, m = m, average(m, n, b1, mutation)
        if mutation != "synchronous":
            v = average(v, g**2, b2, mutation)
        u = b1 * m + (1 - b1) * n if nesterov and mutation != "no_nesterov" else m
        updates.append(old if mutation == "moment_first" else u)
    return updates


@paper(
    "adopt",
    configs=(
        {"learning_rate": 1e-2},
        {"learning_rate": fading, "b2": 0.9, "eps": 0.1, "nesterov": True},
        {"learning_rate": 1e-2, "b2": 0.9, "use_clipping": False},
    ),
    mutations=(*ADOPT, "late_count"),
    source="Taniguchi et al. 2024, Algorithm 1, and its clipped form",
)
def adopt(grads, params, *, mutation=None, learning_rate, **others):
    """theta <- theta - alpha u. Taniguchi et al. 2024, Algorithm 1."""
    return descend(scale_by_adopt(grads, params, mutation=mutation, **others), learning_rate, mutation)

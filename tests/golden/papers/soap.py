"""SOAP, in the order of its code: the bases are made by the first update, and change after a step."""

import numpy as np

from . import paper
from .parts import fading, rate, steps


@paper(
    "scale_by_soap",
    configs=(
        {"precondition_frequency": 2},
        {"b1": 0.5, "b2": 0.8, "eps": 1e-3, "precondition_frequency": 1},
        {"max_precond_dim": 3, "shampoo_beta": 0.5, "precondition_frequency": 3},
    ),
    mutations=("sign", "first_step", "no_order", "stale", "early", "rotated_mean", "corrected_root", "no_correction"),
    source="Vyas et al. 2024, SOAP, Alg. 3",
)
def scale_by_soap(
    grads,
    params,
    *,
    mutation=None,
    b1=0.95,
    b2=0.95,
    eps=1e-8,
    precondition_frequency=10,
    max_precond_dim=10000,
    shampoo_beta=None,
):
    """Adam on Q_L^T g Q_R, with momentum in the original basis."""
    beta = b2 if shampoo_beta is None else shampoo_beta
    stats = [np.zeros((n, n)) if n <= max_precond_dim else None for n in params.shape]
    bases = [np.eye(n) for n in params.shape]
    m, v, updates = np.zeros_like(params), np.zeros_like(params), []

    def learn(g, step):
        nonlocal v
        for side, x in enumerate((g, g.T)):
            if stats[side] is None:
                continue
            stats[side] = beta * stats[side] + (1 - beta) * x @ x.T
            q = bases[side]
            if step == 0:
                bases[side] = np.linalg.eigh(stats[side])[1][:, ::-1]
            elif step % precondition_frequency == 0 and mutation != "stale":
                order = np.argsort(-np.diag(q.T @ stats[side] @ q))
                bases[side] = np.linalg.qr(stats[side] @ q[:, order])[0]
                if mutation != "no_order":
                    v = np.take(v, order, axis=side)

    for step, g in enumerate(grads):
        if step == 0:
            learn(g, step)
            updates.append(g / (np.abs(g) + 1) if mutation == "first_step" else np.zeros_like(g))
            continue
        if mutation == "early":
            learn(g, step)
        left, right = bases
        low = left.T @ g @ right
        m = b1 * m + (1 - b1) * (low if mutation == "rotated_mean" else g)
        v = b2 * v + (1 - b2) * low**2
        top = m if mutation == "rotated_mean" else left.T @ m @ right
        correction = 1.0 if mutation == "no_correction" else np.sqrt(1 - b2**step) / (1 - b1**step)
        below = np.sqrt(v) + eps * (np.sqrt(1 - b2**step) if mutation == "corrected_root" else 1)
        updates.append(left @ (top / below) @ right.T * correction)
        if mutation != "early":
            learn(g, step)
    return updates


@paper(
    "soap",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "precondition_frequency": 2}),
    mutations=("sign", "late_count", "no_weight_decay", "decay_at_once"),
    source="Vyas et al. 2024, SOAP, Alg. 3",
)
def soap(grads, params, *, mutation=None, learning_rate, weight_decay=0.01, precondition_frequency=10):
    """w <- w - eta (u + lambda w)."""
    updates = []
    for t, u in steps(scale_by_soap(grads, params, precondition_frequency=precondition_frequency), mutation):
        skipped = mutation != "decay_at_once" and not updates
        decay = 0.0 if mutation == "no_weight_decay" or skipped else weight_decay
        updates.append(-rate(learning_rate, t) * (u + decay * params))
        params = params + updates[-1]
    return updates

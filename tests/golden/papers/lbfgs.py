"""Limited-memory BFGS with an explicit inverse Hessian."""

import numpy as np

from . import paper
from .parts import descend, fading

SOURCE = "Nocedal & Wright 1999, Eqs. 7.16, 7.17 and 7.20"
EPS = np.finfo(float).eps
MUTATIONS = ("sign", "negative_kept", "one_pair_more", "uncapped", "oldest_scales", "order")


def rugged(steps=25, seed=0):
    """Random gradients: for descent steps most pairs have positive curvature, and some do not."""
    rng = np.random.default_rng(seed)
    grads = [rng.normal(size=(4, 3)) * (0.1 if n < 2 else 1.0) for n in range(steps)]
    grads[7] = np.zeros((4, 3))
    return grads, rng.normal(size=(4, 3))


def growing(steps=25):
    """The same for ascent steps."""
    grads, params = rugged(steps)
    return [1.2**n * (0.1 * np.sin(np.arange(12.0)).reshape(4, 3) + 0.08 * g) for n, g in enumerate(grads)], params


@paper(
    "scale_by_lbfgs",
    configs=({}, {"memory_size": 3}, {"memory_size": 1}, {"memory_size": 4, "scale_init_precond": False}),
    mutations=MUTATIONS,
    source=SOURCE,
    stream=growing,
)
def scale_by_lbfgs(grads, params, *, mutation=None, memory_size=10, scale_init_precond=True, signs=None):
    """u = H g with H_k+1 = V' H_k V + rho s s', V = I - rho y s', from the oldest stored pair to the newest.

    `signs` are the factors by which the updates are multiplied before they are added to the parameters.
    """
    p, pairs, last, updates = params.ravel().copy(), [], None, []
    identity = np.eye(p.size)
    for n, g in enumerate(np.reshape(grads, (len(grads), -1))):
        if last is not None:
            s, y = p - last[0], g - last[1]
            positive = s @ y > EPS * np.linalg.norm(s) * np.linalg.norm(y) or (
                mutation == "negative_kept" and s @ y != 0
            )
            pairs.append((s, y) if positive else None)  # a skipped pair occupies its slot in the memory
        last = p.copy(), g
        memory = [pair for pair in pairs[-memory_size - (mutation == "one_pair_more") :] if pair is not None]
        if not scale_init_precond:
            gamma = 1.0
        elif memory:
            s, y = memory[0 if mutation == "oldest_scales" else -1]
            gamma = (s @ y) / (y @ y)
        else:
            norm = np.linalg.norm(g)
            gamma = 1 / norm if norm > 1 or (mutation == "uncapped" and norm > 0) else 1.0
        h = gamma * identity
        for s, y in memory[::-1] if mutation == "order" else memory:
            rho = 1 / (s @ y)
            v = identity - rho * np.outer(y, s)
            h = v.T @ h @ v + rho * np.outer(s, s)
        u = h @ g
        updates.append(u.reshape(params.shape))
        p = p + (1.0 if signs is None else signs[n]) * u
    return updates


@paper(
    "lbfgs",
    configs=(
        {"learning_rate": fading, "memory_size": 3, "linesearch": None},
        {"memory_size": 2, "scale_init_precond": False, "linesearch": None},
    ),
    mutations=(*MUTATIONS, "late_count"),
    source=SOURCE,
    stream=rugged,
)
def lbfgs(grads, params, *, mutation=None, learning_rate=1.0, linesearch=None, **memory):
    """u = -alpha_t H g."""
    assert linesearch is None
    rates = descend([1.0] * len(grads), learning_rate, mutation)
    directions = scale_by_lbfgs(grads, params, mutation=mutation, signs=rates, **memory)
    return [r * u for r, u in zip(rates, directions, strict=True)]

"""Signs that agree with the gradient's."""

import numpy as np

from . import paper
from .wrappers import HEAVY_BALL


def _uphill(g, m, params=None):
    """Heavy ball without its minus sign."""
    u, m = HEAVY_BALL[1](g, m)
    return -u, m


UPHILL = (HEAVY_BALL[0], _uphill)
CONFIGS = ({"inner": HEAVY_BALL}, {"inner": UPHILL, "ascending": True})


def _descents(grads, params, inner, ascending):
    """Updates of the inner optimizer, all of them against the gradient."""
    m = inner[0](params)
    for g in grads:
        u, m = inner[1](g, m)
        yield g, -u if ascending else u


@paper(
    "cautious",
    configs=CONFIGS,
    mutations=("sign", "no_mask", "no_scale", "mean_of_mask", "other_side"),
    source="Liang et al. 2024, Cautious Optimizers, Algorithm 1",
)
def cautious(grads, params, *, mutation=None, inner, ascending=False):
    """phi = 1(u g > 0); u <- u phi d / (|phi|_0 + 1)."""
    updates = []
    for g, u in _descents(grads, params, inner, ascending):
        agrees = u * g > 0 if mutation == "other_side" else u * g < 0
        mask = np.ones_like(g) if mutation == "no_mask" else agrees.astype(float)
        below = mask.sum() + (0 if mutation == "mean_of_mask" and mask.sum() else 1)
        scale = 1.0 if mutation == "no_scale" else mask.size / below
        updates.append((-1 if ascending else 1) * u * mask * scale)
    return updates


@paper(
    "grams",
    configs=CONFIGS,
    mutations=("sign", "own_sign"),
    source="Cao et al. 2024, Grams, Algorithm 1",
)
def grams(grads, params, *, mutation=None, inner, ascending=False):
    """w <- w - eta sign(g) |u|."""
    side = 1 if ascending else -1
    return [
        -side * u if mutation == "own_sign" else side * np.sign(g) * np.abs(u)
        for g, u in _descents(grads, params, inner, ascending)
    ]

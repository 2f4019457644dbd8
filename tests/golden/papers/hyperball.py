"""Steps on a sphere."""

import numpy as np

from . import paper
from .adam import scale_by_adam
from .parts import fading, rate, steps
from .trust import scale_by_muon

HYPERBALL = ("sign", "no_return", "plain_step", "late_count")
SOURCE = "2606.16899: W' = W - eta |W| U / |U|, then back to the sphere of |W_0|"


def size(x):
    return np.sqrt(np.sum(x**2))


@paper(
    "hyperball",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading}),
    mutations=HYPERBALL,
    source=SOURCE,
)
def hyperball(grads, params, *, mutation=None, learning_rate):
    """W' = W - eta R U / |U|; W <- R W' / |W'|."""
    radius, w, updates = size(params), params, []
    for t, u in steps(grads, mutation):
        length = 1.0 if mutation == "plain_step" or size(u) == 0 else radius / size(u)
        moved = w - rate(learning_rate, t) * length * u
        new = moved if mutation == "no_return" else radius * moved / size(moved)
        updates.append(new - w)
        w = new
    return updates


@paper(
    "adamh",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "b2": 0.95, "eps": 1e-3}),
    mutations=(*HYPERBALL, "no_correction"),
    source=SOURCE,
)
def adamh(grads, params, *, mutation=None, learning_rate, **moments):
    """Adam's direction, whose length does not matter: no_correction shows where eps is large."""
    inner = "no_correction" if mutation == "no_correction" else None
    return hyperball(
        scale_by_adam(grads, params, mutation=inner, **moments), params, mutation=mutation, learning_rate=learning_rate
    )


@paper(
    "muonh",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "nesterov": False}),
    mutations=(*HYPERBALL, "no_nesterov"),
    source=SOURCE,
)
def muonh(grads, params, *, mutation=None, learning_rate, nesterov=True):
    """Muon's direction."""
    inner = "no_nesterov" if mutation == "no_nesterov" else None
    directions = scale_by_muon(grads, params, mutation=inner, nesterov=nesterov)
    return hyperball(directions, params, mutation=mutation, learning_rate=learning_rate)

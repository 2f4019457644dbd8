"""Scaling by norms, sums of several updates, bounds on parameters, Polyak's step, distances per leaf."""

import numpy as np

from . import paper
from .parts import descend

OWN = "its formula"


def norm(x):
    return np.sqrt(np.sum(x**2))


@paper("normalize", configs=({},), mutations=("sign", "mean"), source=OWN)
def normalize(grads, params, *, mutation=None):
    """g / |g|, and 0 for 0."""
    sizes = [norm(g) / (np.sqrt(g.size) if mutation == "mean" else 1) for g in grads]
    return [g / n if n > 0 else g for g, n in zip(grads, sizes, strict=True)]


@paper(
    "normalize_by_update_norm",
    configs=({}, {"scale_factor": 2.0, "eps": 0.5}),
    mutations=("sign", "eps_inside"),
    source=OWN,
)
def normalize_by_update_norm(grads, params, *, mutation=None, scale_factor=1.0, eps=1e-6):
    """c g / (|g| + eps)."""
    if mutation == "eps_inside":
        return [scale_factor * g / np.sqrt(np.sum(g**2) + eps) for g in grads]
    return [scale_factor * g / (norm(g) + eps) for g in grads]


@paper(
    "scale_by_trust_ratio",
    configs=({}, {"min_norm": 5.0, "trust_coefficient": 0.3, "eps": 0.5}),
    mutations=("sign", "upside_down", "no_floor", "no_eps"),
    source="You et al. 2017, Eq. 6",
)
def scale_by_trust_ratio(grads, params, *, mutation=None, min_norm=0.0, trust_coefficient=1.0, eps=0.0):
    """c |p| / (|g| + eps) g, or g where one of them is 0."""
    updates = []
    for g in grads:
        least = 0 if mutation == "no_floor" else min_norm
        p_norm, g_norm = max(norm(params), least), max(norm(g), least)
        below = g_norm + (0 if mutation == "no_eps" else eps)
        ratio = p_norm / below if below > 0 else 1.0
        size = trust_coefficient * (1 / ratio if mutation == "upside_down" and ratio else ratio)
        u = size * g if p_norm > 0 and g_norm > 0 else g
        params = params + u
        updates.append(u)
    return updates


@paper("scale_by_param_block_norm", configs=({}, {"min_scale": 20.0}), mutations=("sign", "no_floor"), source=OWN)
def scale_by_param_block_norm(grads, params, *, mutation=None, min_scale=1e-3):
    """max(|p|, least) g."""
    updates = []
    for g in grads:
        updates.append(max(norm(params), 0 if mutation == "no_floor" else min_scale) * g)
        params = params + updates[-1]
    return updates


@paper("scale_by_param_block_rms", configs=({}, {"min_scale": 20.0}), mutations=("sign", "no_floor", "sum"), source=OWN)
def scale_by_param_block_rms(grads, params, *, mutation=None, min_scale=1e-3):
    """max(rms(p), least) g."""
    updates = []
    for g in grads:
        size = norm(params) / (1 if mutation == "sum" else np.sqrt(params.size))
        updates.append(max(size, 0 if mutation == "no_floor" else min_scale) * g)
        params = params + updates[-1]
    return updates


@paper("keep_params_nonnegative", configs=({},), mutations=("sign", "free"), source=OWN)
def keep_params_nonnegative(grads, params, *, mutation=None):
    """g, or -p where p + g < 0."""
    updates = []
    for g in grads:
        u = g if mutation == "free" else np.where(params + g < 0, -params, g)
        params = params + u
        updates.append(u)
    return updates


@paper("apply_every", configs=({}, {"k": 4}), mutations=("sign", "mean", "late"), source=OWN)
def apply_every(grads, params, *, mutation=None, k=1):
    """Every k-th update is the sum of the last k, the others are 0."""
    updates, total = [], np.zeros_like(params)
    for n, g in enumerate(grads):
        total = total + g
        last = n % k == (0 if mutation == "late" else k - 1)
        updates.append((total / (k if mutation == "mean" else 1)) if last else np.zeros_like(g))
        if last:
            total = np.zeros_like(params)
    return updates


def losses(grads):
    """A loss that falls below its assumed minimum."""
    return {"value": np.linspace(2.0, -0.5, len(grads))}


@paper(
    "scale_by_polyak",
    configs=({}, {"f_min": 0.5, "max_learning_rate": 0.3, "eps": 0.1}, {"f_min": 0.5, "variant": "sps+"}),
    mutations=("sign", "no_cap", "no_root", "no_least"),
    source="Loizou et al. 2021",
    extra=losses,
)
def scale_by_polyak(grads, params, *, mutation=None, f_min=0.0, max_learning_rate=1.0, eps=0.0, variant="sps"):
    """min(cap, (f - f*) / (|g|^2 + eps)) g."""
    updates = []
    for g, value in zip(grads, losses(grads)["value"], strict=True):
        gap = value - f_min
        gap = max(gap, 0) if variant == "sps+" and mutation != "no_least" else gap
        below = (norm(g) if mutation == "no_root" else norm(g) ** 2) + eps
        size = gap / below if below > 0 else 0.0
        updates.append((size if mutation == "no_cap" else min(size, max_learning_rate)) * g)
    return updates


@paper(
    "polyak_sgd",
    configs=({}, {"max_learning_rate": 0.5, "scaling": 0.5, "f_min": 0.1}),
    mutations=("sign", "late_count", "no_cap"),
    source="Loizou et al. 2021",
    extra=losses,
)
def polyak_sgd(grads, params, *, mutation=None, scaling=1.0, **others):
    """scale_by_polyak of -s g."""
    late = mutation == "late_count"
    steps = descend(grads, scaling)
    if late:
        steps = [2 * s for s in steps]
    return scale_by_polyak(steps, params, mutation=None if late else mutation, **others)


@paper(
    "scale_by_distance_over_gradients",
    configs=({}, {"reps_rel": 0.1, "eps": 0.5, "global_scale": 2.0}),
    mutations=("sign", "no_max", "no_sum", "eps_outside"),
    source="Ivgi, Hinder & Carmon 2023, Eq. 1",
)
def scale_by_distance(grads, params, *, mutation=None, reps_rel=1e-6, eps=1e-8, global_scale=1.0):
    """r / sqrt(G + eps) g."""
    start, total, dist = params, 0.0, reps_rel * (1 + norm(params))
    updates = []
    for g in grads:
        away = norm(params - start)
        dist = (away or dist) if mutation == "no_max" else max(dist, away)
        total = norm(g) ** 2 if mutation == "no_sum" else total + norm(g) ** 2
        below = np.sqrt(total) + eps if mutation == "eps_outside" else np.sqrt(total + eps)
        updates.append(global_scale * dist / below * g)
        params = params + updates[-1]
    return updates

"""Step sizes from distances: DoG, DoWG, D-adaptation, Prodigy, and coin betting."""

import numpy as np

from . import paper, stream
from .parts import average, fading, rate, ratio, rising, steps


def biased():
    """Gradients with a common direction, so that the distance estimate grows."""
    grads, params = stream(20)
    return [g + 0.7 * np.max(np.abs(g), initial=1e-3) for g in grads], params


def sizes_of(x):
    """|x|, |x|_1."""
    return np.sqrt(np.sum(x**2)), np.sum(np.abs(x))


@paper(
    "dog",
    configs=(
        {"eps": 1e-3, "init_step": ("heuristic", 1e-2)},
        {"learning_rate": rising, "init_step": ("distance", 0.1), "weight_decay": 0.1},
        {"learning_rate": 0.5, "init_step": ("learning_rate", 0.1), "weight_decay": fading},
    ),
    mutations=("sign", "eps_moved", "no_max", "no_sum", "coupled", "elementwise", "late_count"),
    source="Ivgi et al. 2023, Section 2",
)
def dog(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=1.0,
    init_step=("heuristic", 1e-6),
    eps=1e-8,
    weight_decay=None,
):
    """eta_t = max(r_eps, |x_i - x_0| for i <= t) / sqrt(sum of |g_i|^2 + eps)."""
    way, x = init_step
    first, updates, r, total = params, [], 0.0, 0.0
    r = x * (1 + sizes_of(params)[0]) if way == "heuristic" else x if way == "distance" else 0.0
    for t, g in steps(grads, mutation):
        decay = 0.0 if weight_decay is None else rate(weight_decay, t)
        if mutation != "coupled":
            g = g + decay * params
        dist = sizes_of(params - first)[0]
        r = dist if mutation == "no_max" and dist > 0 else max(r, dist)
        total = np.sum(g**2) + (0.0 if mutation == "no_sum" else total)
        below = np.sqrt(total) + eps if mutation == "eps_moved" else np.sqrt(total + eps)
        eta = x if way == "learning_rate" and not updates else r / below
        if mutation == "elementwise":
            eta = r / np.sqrt(g**2 + eps)
        u = -rate(learning_rate, t) * eta * g
        if mutation == "coupled":
            u = u - rate(learning_rate, t) * decay * params
        params = params + u
        updates.append(u)
    return updates


@paper(
    "dowg",
    configs=(
        {"eps": 1e-2},
        {"learning_rate": rising, "init_estim_sq_dist": 0.1, "weight_decay": 0.1},
    ),
    mutations=("sign", "eps_moved", "no_max", "no_weight", "late_count"),
    source="Khaled et al. 2023, Algorithm 1",
)
def dowg(grads, params, *, mutation=None, learning_rate=1.0, init_estim_sq_dist=None, eps=1e-4, weight_decay=0.0):
    """r^2 <- max(r^2, |x - x_0|^2); v <- v + r^2 |g|^2; x <- x - r^2 / (sqrt(v) + eps) g."""
    first, updates, v = params, [], 0.0
    square = eps if init_estim_sq_dist is None else init_estim_sq_dist
    for t, g in steps(grads, mutation):
        g = g + weight_decay * params
        dist = np.sum((params - first) ** 2)
        square = dist if mutation == "no_max" and dist > 0 else max(square, dist)
        v += np.sum(g**2) * (1 if mutation == "no_weight" else square)
        below = np.sqrt(v + eps) if mutation == "eps_moved" else np.sqrt(v) + eps
        u = -rate(learning_rate, t) * square / below * g
        params = params + u
        updates.append(u)
    return updates


@paper(
    "scale_by_cocob",
    configs=({}, {"alpha": 3.0}, {"alpha": 0.5, "eps": 0.1}),
    mutations=("sign", "no_reward", "no_max", "no_alpha", "no_clip"),
    source="Orabona & Tommasi 2017, Algorithm 2",
)
def scale_by_cocob(grads, params, *, mutation=None, alpha=100.0, eps=1e-8):
    """w = w_1 + theta / (L max(G + L, alpha L)) (L + Reward), with g = -gradient in the paper."""
    first, updates = params, []
    scale = np.full_like(params, eps)
    total = theta = reward = np.zeros_like(params)
    for g in grads:
        g = -g
        scale = np.abs(g) + eps if mutation == "no_max" else np.maximum(scale, np.abs(g))
        total = total + np.abs(g)
        reward = reward + (params - first) * g
        if mutation != "no_clip":
            reward = np.maximum(reward, 0)
        theta = theta + g
        below = total + scale if mutation == "no_alpha" else np.maximum(total + scale, alpha * scale)
        new = first + theta / (scale * below) * (scale + (0 if mutation == "no_reward" else reward))
        updates.append(new - params)
        params = new
    return updates


@paper(
    "cocob",
    configs=({}, {"learning_rate": rising, "alpha": 3.0, "eps": 0.1, "weight_decay": 0.1}),
    mutations=("sign", "rate_outside", "late_count"),
    source="Orabona & Tommasi 2017, Algorithm 2, on learning_rate (g + weight_decay p)",
)
def cocob(grads, params, *, mutation=None, learning_rate=1.0, weight_decay=0.0, alpha=100.0, eps=1e-8):
    """COCOB on learning_rate (g + weight_decay p)."""
    updates, history, start = [], [], params
    for t, g in steps(grads, mutation):
        eta = rate(learning_rate, t)
        history.append((1 if mutation == "rate_outside" else eta) * (g + weight_decay * params))
        u = scale_by_cocob(history, start, alpha=alpha, eps=eps)[-1]
        u = eta * u if mutation == "rate_outside" else u
        params = params + u
        updates.append(u)
    return updates


@paper(
    "dadapt_adamw",
    configs=(
        {"estim_lr0": 1e-2, "eps": 1e-2, "betas": (0.8, 0.9)},
        {"learning_rate": rising, "estim_lr0": 1e-2, "betas": (0.5, 0.95), "weight_decay": 0.1},
        {"learning_rate": 0.5, "estim_lr0": 1e-2, "betas": (0.0, 0.9), "weight_decay": fading},
    ),
    mutations=("sign", "no_decay", "no_correction", "eps_moved", "late_count", "new_d", "new_v", "no_growth"),
    source="Defazio & Mishchenko 2023, D-adapted Adam, bias-corrected, with decoupled decay",
    stream=biased,
)
def dadapt_adamw(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=1.0,
    betas=(0.9, 0.999),
    eps=1e-8,
    estim_lr0=1e-6,
    weight_decay=0.0,
):
    """d <- max(d, r / ((1 - sqrt(b2)) |s|_1)), r the weighted sum of d eta <g, s> in the norm of Adam's denominator."""
    b1, b2 = betas
    q, d, r, updates = np.sqrt(b2), estim_lr0, 0.0, []
    m = v = s = np.zeros_like(params)
    for t, g in steps(grads, mutation):
        eta = rate(learning_rate, t)
        if mutation != "no_correction":
            eta = eta * np.sqrt(1 - b2**t) / (1 - b1**t)
        old = average(v, g**2, b2) if mutation == "new_v" else v
        inner = np.sum(g * ratio(s, np.sqrt(old) + eps))
        r = q * r + (1 - q) * d * eta * inner
        s = q * s + (1 - q) * d * eta * g
        grown = d if mutation == "no_growth" else max(d, r / ((1 - q) * max(sizes_of(s)[1], 1e-300)))
        d_now = grown if mutation == "new_d" else d
        m = average(m, d_now * eta * g, b1, mutation)
        v = average(v, g**2, b2, mutation)
        below = np.sqrt(v + eps) if mutation == "eps_moved" else np.sqrt(v) + eps
        u = -ratio(m, below) - d_now * eta * rate(weight_decay, t) * params
        d, params = grown, params + u
        updates.append(u)
    return updates


@paper(
    "prodigy",
    configs=(
        {"estim_lr0": 1e-2, "eps": 1e-2, "betas": (0.8, 0.9)},
        {"learning_rate": rising, "estim_lr0": 1e-2, "betas": (0.5, 0.95), "estim_lr_coef": 2.0, "weight_decay": 0.1},
        {"learning_rate": rising, "estim_lr0": 1e-2, "beta3": 0.8, "safeguard_warmup": True, "weight_decay": fading},
    ),
    mutations=("sign", "no_decay", "no_correction", "old_eps", "late_count", "new_d", "no_safeguard", "no_growth"),
    source="Mishchenko & Defazio 2023, the Adam version, in the units of its code",
    stream=biased,
)
def prodigy(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=1.0,
    betas=(0.9, 0.999),
    beta3=None,
    eps=1e-8,
    estim_lr0=1e-6,
    estim_lr_coef=1.0,
    weight_decay=0.0,
    safeguard_warmup=False,
):
    """d <- max(d, r / |s|_1), r and s the sums of d^2 eta <g, x_0 - x> and d^2 eta g, decayed by beta3."""
    b1, b2 = betas
    b3 = np.sqrt(b2) if beta3 is None else beta3
    first, d, r, updates = params, estim_lr0, 0.0, []
    m = v = s = np.zeros_like(params)
    for t, g in steps(grads, mutation):
        eta = rate(learning_rate, t)
        if mutation != "no_correction":
            eta = eta * np.sqrt(1 - b2**t) / (1 - b1**t)
        r = b3 * r + d**2 / estim_lr0 * eta * np.sum(g * (first - params))
        weight = 1.0 if safeguard_warmup and mutation != "no_safeguard" else eta
        s = b3 * s + d**2 / estim_lr0 * weight * g
        grown = d if mutation == "no_growth" else max(d, estim_lr_coef * r / max(sizes_of(s)[1], 1e-300))
        d_now = grown if mutation == "new_d" else d
        m = average(m, d_now * g, b1, mutation)
        v = average(v, (d_now * g) ** 2, b2, mutation)
        below = np.sqrt(v) + (d if mutation == "old_eps" else grown) * eps
        u = -d_now * eta * (ratio(m, below) + rate(weight_decay, t) * params)
        d, params = grown, params + u
        updates.append(u)
    return updates

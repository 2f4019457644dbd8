"""Momentum models: MoMo and MoMo-Adam."""

import numpy as np

from . import paper
from .parts import average, debiased, fading, rate, ratio, rising, steps


def losses(grads):
    """A loss for every step, sometimes above and sometimes below the minimum of its model."""
    return {"value": [0.3 + 2.0 * abs(np.cos(0.7 * n)) + 0.05 * np.sum(g[0] ** 2) for n, g in enumerate(grads)]}


MUTATIONS = ("sign", "no_decay", "late_count", "no_cap", "no_loss", "plain_step", "no_bound", "no_floor")


def model(f, gamma, inner, square, k, eta, decay, bound, least, adapt, mutation):
    """The step size, and the lower bound after it. Schaipp et al. 2023, Algorithms 1 and 2, and their code."""
    grown = 1 + eta * decay
    top = grown * (f - gamma) + inner
    if adapt and top < grown * k * bound:
        bound = top / (2 * grown * k)
        bound = bound if mutation == "no_floor" else max(bound, least)
    gap = max(top - (0 if mutation == "no_bound" else grown * k * bound), 0.0)
    step = gap / square if square else 0.0
    if mutation != "no_cap":
        step = min(eta / k, step)
    if adapt:
        bound = (f - gamma + inner - step * square / 2) / k
        bound = bound if mutation == "no_floor" else max(bound, least)
    return step, bound


def stepped(params, direction, step, eta, decay, decay_step, mutation):
    """(x - tau d) / (1 + eta lambda), or in Optax x / (1 + eta lambda) - tau d."""
    grown = 1 + eta * decay
    if mutation == "plain_step":
        decay_step = not decay_step
    return (params - step * direction) / grown if decay_step else params / grown - step * direction


@paper(
    "momo",
    configs=(
        {"lower_bound": 0.3},
        {"learning_rate": rising, "beta": 0.5, "weight_decay": 0.1},
        {"learning_rate": 0.5, "weight_decay": 0.1, "decay_step": False},
        {"learning_rate": 10.0, "lower_bound": -1.0, "adapt_lower_bound": True},
        {"learning_rate": 10.0, "weight_decay": fading, "lower_bound": 0.5, "adapt_lower_bound": True},
    ),
    mutations=(*MUTATIONS, "zero_start"),
    source="Schaipp et al. 2023, Algorithm 1, and the authors' code",
    extra=losses,
)
def momo(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=1.0,
    beta=0.9,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
    decay_step=True,
):
    """tau = min(eta, max(f - gamma + <d, x> - f*, 0) / |d|^2)."""
    f = gamma = 0.0
    d, bound, updates = np.zeros_like(params), lower_bound, []
    for (t, g), value in zip(steps(grads, mutation), losses(grads)["value"], strict=True):
        b = beta if updates or mutation == "zero_start" else 0.0
        eta, decay = rate(learning_rate, t), rate(weight_decay, t)
        f = average(f, 0.0 if mutation == "no_loss" else value, b, mutation)
        gamma = average(gamma, np.sum(g * params), b, mutation)
        d = average(d, g, b, mutation)
        inner, square = np.sum(d * params), np.sum(d**2)
        step, bound = model(f, gamma, inner, square, 1.0, eta, decay, bound, lower_bound, adapt_lower_bound, mutation)
        new = stepped(params, d, step, eta, decay, decay_step, mutation)
        updates.append(new - params)
        params = new
    return updates


@paper(
    "momo_adam",
    configs=(
        {"eps": 1e-2, "lower_bound": 0.3},
        {"learning_rate": rising, "b1": 0.5, "b2": 0.9, "weight_decay": 0.1},
        {"learning_rate": 0.5, "weight_decay": 0.1, "decay_step": False},
        {"learning_rate": 10.0, "eps": 0.1, "lower_bound": -1.0, "adapt_lower_bound": True},
        {"learning_rate": 10.0, "b1": 0.0, "weight_decay": fading, "lower_bound": 0.5, "adapt_lower_bound": True},
    ),
    mutations=(*MUTATIONS, "no_correction", "eps_moved", "no_mass"),
    source="Schaipp et al. 2023, Algorithm 2, and the authors' code",
    extra=losses,
)
def momo_adam(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=1e-2,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
    decay_step=True,
):
    """tau = min(eta / k, max(f - gamma + <d, x> - k f*, 0) / <d, d / D>), k = 1 - b1^t, D = sqrt(v^) + eps."""
    f = gamma = 0.0
    m = v = np.zeros_like(params)
    bound, updates = lower_bound, []
    for (t, g), value in zip(steps(grads, mutation), losses(grads)["value"], strict=True):
        eta, decay = rate(learning_rate, t), rate(weight_decay, t)
        f = average(f, 0.0 if mutation == "no_loss" else value, b1, mutation)
        gamma = average(gamma, np.sum(g * params), b1, mutation)
        m, v = average(m, g, b1, mutation), average(v, g**2, b2, mutation)
        v_hat = debiased(v, b2, t, mutation)
        direction = ratio(m, np.sqrt(v_hat + eps) if mutation == "eps_moved" else np.sqrt(v_hat) + eps)
        k = 1.0 if mutation == "no_mass" else 1 - b1**t
        inner, square = np.sum(m * params), np.sum(m * direction)
        step, bound = model(f, gamma, inner, square, k, eta, decay, bound, lower_bound, adapt_lower_bound, mutation)
        new = stepped(params, direction, step, eta, decay, decay_step, mutation)
        updates.append(new - params)
        params = new
    return updates

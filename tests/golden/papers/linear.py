"""Optimizers of linear models: FTRL-Proximal and averaged gradient descent."""

import numpy as np

from . import paper
from .parts import fading, rate, ratio, steps


@paper(
    "ftrl",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": fading, "l1": 0.05, "l2": 0.2, "beta": 0.3},
        {"learning_rate": 0.1, "learning_rate_power": -0.75, "initial_accumulator_value": 0.5},
        {"learning_rate": 0.1, "learning_rate_power": 0.0},
    ),
    mutations=("sign", "no_l1", "no_l2", "no_beta", "old_parameters", "late_accumulator", "late_count"),
    source="McMahan et al. 2013, Algorithm 1",
)
def ftrl(
    grads,
    params,
    *,
    mutation=None,
    learning_rate,
    learning_rate_power=-0.5,
    initial_accumulator_value=0.1,
    l1=0.0,
    l2=0.0,
    beta=0.0,
):
    """sigma = (sqrt(n + g^2) - sqrt(n)) / alpha; z <- z + g - sigma w; w = -(z - sgn(z) l1) / (...) where |z| > l1."""
    w, first, updates = params, params, []
    n, z = np.full_like(params, initial_accumulator_value), np.zeros_like(params)
    for t, g in steps(grads, mutation):
        alpha, before = rate(learning_rate, t), n**-learning_rate_power
        n = n + g**2
        now = n**-learning_rate_power
        z = z + g - (now - before) / alpha * (first if mutation == "old_parameters" else w)
        root = before if mutation == "late_accumulator" else now
        below = (root + (0.0 if mutation == "no_beta" else beta)) / alpha + 2 * (0.0 if mutation == "no_l2" else l2)
        bound = 0.0 if mutation == "no_l1" else l1
        new = np.where(np.abs(z) <= bound, 0.0, ratio(np.sign(z) * bound - z, below))
        updates.append(new - w)
        w = new
    return updates


@paper(
    "asgd",
    configs=({}, {"learning_rate": fading, "lambd": 0.5, "alpha": 0.5, "t0": 2.0, "weight_decay": 0.1}),
    mutations=("sign", "no_decay", "no_fall", "late_count"),
    source="Bottou 2012, Sec. 5: eta_t = eta_0 / (1 + lambda eta_0 t)^alpha",
)
def asgd(grads, params, *, mutation=None, learning_rate=0.01, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0):
    """p <- (1 - lambda eta) p - eta (g + w p); tests/units/test_averages.py tests the average."""
    updates = []
    for t, g in steps(grads, mutation):
        first = rate(learning_rate, t)
        eta = first if mutation == "no_fall" else first / (1 + lambd * first * (t - 1)) ** alpha
        new = (1 - (0.0 if mutation == "no_decay" else lambd) * eta) * params - eta * (g + weight_decay * params)
        updates.append(new - params)
        params = new
    return updates

"""Expressions shared by most formulas."""

import numpy as np


def steps(grads, mutation=None):
    """Pairs (t, g) with t = 1 at the first update."""
    return enumerate(grads, 2 if mutation == "late_count" else 1)


def average(x, g, b, mutation=None):
    """x <- b x + (1 - b) g."""
    return (x if mutation == "no_decay" else b * x) + (1 - b) * g


def debiased(x, b, t, mutation=None):
    """x / (1 - b^t)."""
    return x if mutation == "no_correction" else x / (1 - b**t)


def ratio(x, y):
    """x / y, and 0 where y = 0, which only happens if every gradient so far was zero."""
    return np.divide(x, y, out=np.zeros_like(x), where=y != 0)


def rate(learning_rate, t):
    """The learning rate of update t: a number, or a schedule at the number of previous updates."""
    return learning_rate(t - 1) if callable(learning_rate) else learning_rate


def descend(directions, learning_rate, mutation=None):
    """-eta_t u_t."""
    return [-rate(learning_rate, t) * u for t, u in steps(directions, mutation)]


def descend_decayed(directions, params, learning_rate, weight_decay, mutation=None):
    """-eta_t (u_t + lambda theta_{t-1}): Loshchilov & Hutter 2019, Algorithm 2, line 12."""
    updates = []
    for t, u in steps(directions, mutation):
        eta = rate(learning_rate, t)
        u = -eta * u - (1 if mutation == "decay_without_rate" else eta) * weight_decay * params
        params = params + u
        updates.append(u)
    return updates


def _float(count):
    """A Python or JAX count as a float, also under strict dtype promotion."""
    return float(count) if isinstance(count, int) else count.astype(float)


def fading(count):
    """A schedule for configurations: 0.1 / (1 + n)."""
    return 0.1 / (1.0 + _float(count))


def rising(count):
    """A schedule for configurations: 0.5 + 0.01 n."""
    return 0.5 + 0.01 * _float(count)

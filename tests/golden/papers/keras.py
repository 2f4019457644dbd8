"""The optimizers of Keras 2.2.4, including clipping and learning-rate decay."""

import numpy as np

from . import paper
from .parts import average, ratio

EPSILON = 1e-7
COMMON = ("sign", "wrong_order", "no_lr_decay", "late_count")
CLIPS = {"clipnorm": 2.0, "clipvalue": 0.5}


def _clipped(g, mutation, clipnorm=0.0, clipvalue=0.0):
    """Clip first by the global norm, then by value."""

    def by_norm(g):
        N = np.sqrt((g**2).sum())
        return clipnorm / N * g if clipnorm > 0 and clipnorm <= N else g

    def by_value(g):
        return np.minimum(np.maximum(g, -clipvalue), clipvalue) if clipvalue > 0 else g

    return by_norm(by_value(g)) if mutation == "wrong_order" else by_value(by_norm(g))


def _updates(grads, mutation, clips):
    """Pairs (n, clipped gradient), n the number of previous updates."""
    first = 1 if mutation == "late_count" else 0
    return [(n, _clipped(g, mutation, **clips)) for n, g in enumerate(grads, first)]


def _eta(lr, decay, n, mutation):
    """lr / (1 + decay n); only a positive decay has an effect."""
    return lr / (1 + decay * n) if decay > 0 and mutation != "no_lr_decay" else lr


@paper(
    "keras.SGD",
    configs=(
        {},
        {"momentum": 0.9, "decay": 0.1},
        {"momentum": 0.9, "decay": 0.1, "nesterov": True, **CLIPS},
    ),
    mutations=(*COMMON, "no_decay", "no_nesterov", "rate_outside"),
    source="Keras 2.2.4, SGD; Sutskever et al. 2013, eqs. 1 and 3",
)
def sgd(grads, params, *, mutation=None, lr=0.01, momentum=0.0, decay=0.0, nesterov=False, **clips):
    """v <- momentum v - eta_n g; u = v, or momentum v - eta_n g with the new v."""
    if mutation == "no_decay":
        momentum = 1.0 if momentum else 0.0
    v = np.zeros_like(params)
    updates = []
    for n, g in _updates(grads, mutation, clips):
        eta = _eta(lr, decay, n, mutation)
        if mutation == "rate_outside":
            v = momentum * v + g
            updates.append(-eta * (g + momentum * v if nesterov else v))
            continue
        v = momentum * v - eta * g
        updates.append(momentum * v - eta * g if nesterov and mutation != "no_nesterov" else v)
    return updates


@paper(
    "keras.RMSprop",
    configs=({}, {"rho": 0.8, "epsilon": 1e-3, "decay": 0.1}, {"decay": 0.1, **CLIPS}),
    mutations=(*COMMON, "no_decay", "eps_moved"),
    source="Keras 2.2.4, RMSprop; Tieleman & Hinton 2012, lecture 6.5",
)
def rmsprop(grads, params, *, mutation=None, lr=0.001, rho=0.9, epsilon=None, decay=0.0, **clips):
    """a <- rho a + (1 - rho) g^2; u = -eta_n g / (sqrt(a) + epsilon)."""
    epsilon = EPSILON if epsilon is None else epsilon
    a = np.zeros_like(params)
    updates = []
    for n, g in _updates(grads, mutation, clips):
        a = average(a, g**2, rho, mutation)
        bottom = np.sqrt(a + epsilon) if mutation == "eps_moved" else np.sqrt(a) + epsilon
        updates.append(-_eta(lr, decay, n, mutation) * ratio(g, bottom))
    return updates


@paper(
    "keras.Adagrad",
    configs=({}, {"epsilon": 1e-3, "decay": 0.1}, {"decay": 0.1, **CLIPS}),
    mutations=(*COMMON, "no_sum", "eps_moved", "initial"),
    source="Keras 2.2.4, Adagrad; Duchi et al. 2011, Figure 1",
)
def adagrad(grads, params, *, mutation=None, lr=0.01, epsilon=None, decay=0.0, **clips):
    """a <- a + g^2; u = -eta_n g / (sqrt(a) + epsilon)."""
    epsilon = EPSILON if epsilon is None else epsilon
    a = np.full_like(params, 0.1 if mutation == "initial" else 0.0)
    updates = []
    for n, g in _updates(grads, mutation, clips):
        a = g**2 if mutation == "no_sum" else a + g**2
        bottom = np.sqrt(a + epsilon) if mutation == "eps_moved" else np.sqrt(a) + epsilon
        updates.append(-_eta(lr, decay, n, mutation) * ratio(g, bottom))
    return updates


@paper(
    "keras.Adadelta",
    configs=({}, {"rho": 0.8, "epsilon": 1e-3, "decay": 0.1}, {"decay": 0.1, **CLIPS}),
    mutations=(*COMMON, "no_decay", "eps_moved", "delta_with_rate"),
    source="Keras 2.2.4, Adadelta; Zeiler 2012, Algorithm 1",
)
def adadelta(grads, params, *, mutation=None, lr=1.0, rho=0.95, epsilon=None, decay=0.0, **clips):
    """x = g sqrt(d + epsilon) / sqrt(a + epsilon); u = -eta_n x; d averages x^2 without eta."""
    epsilon = EPSILON if epsilon is None else epsilon
    a = d = np.zeros_like(params)
    updates = []
    for n, g in _updates(grads, mutation, clips):
        eta = _eta(lr, decay, n, mutation)
        a = average(a, g**2, rho, mutation)
        if mutation == "eps_moved":
            x = ratio(g * (np.sqrt(d) + epsilon), np.sqrt(a) + epsilon)
        else:
            x = ratio(g * np.sqrt(d + epsilon), np.sqrt(a + epsilon))
        d = average(d, (eta * x if mutation == "delta_with_rate" else x) ** 2, rho, mutation)
        updates.append(-eta * x)
    return updates


@paper(
    "keras.Adam",
    configs=(
        {},
        {"epsilon": 1e-3, "decay": 0.1},
        {"beta_1": 0.8, "beta_2": 0.9, "amsgrad": True},
        {"decay": 0.1, "amsgrad": True, **CLIPS},
    ),
    mutations=(*COMMON, "no_decay", "no_correction", "eps_moved", "eps_corrected", "no_max"),
    source="Keras 2.2.4, Adam; Kingma & Ba 2015, section 2, last paragraph",
)
def adam(
    grads,
    params,
    *,
    mutation=None,
    lr=0.001,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=None,
    decay=0.0,
    amsgrad=False,
    **clips,
):
    """u = -A m / (sqrt(v) + epsilon), A = eta_n sqrt(1 - beta_2^t) / (1 - beta_1^t).

    With amsgrad the running maximum w of the uncorrected v takes the place of v.
    """
    epsilon = EPSILON if epsilon is None else epsilon
    m = v = w = np.zeros_like(params)
    updates = []
    for n, g in _updates(grads, mutation, clips):
        t = n + 1
        m = average(m, g, beta_1, mutation)
        v = average(v, g**2, beta_2, mutation)
        w = np.maximum(w, v) if amsgrad and mutation != "no_max" else v
        A = _eta(lr, decay, n, mutation)
        if mutation != "no_correction":
            A = A * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        if mutation == "eps_moved":
            bottom = np.sqrt(w + epsilon)
        elif mutation == "eps_corrected":
            bottom = np.sqrt(w) + epsilon * np.sqrt(1 - beta_2**t)
        else:
            bottom = np.sqrt(w) + epsilon
        updates.append(-A * ratio(m, bottom))
    return updates


@paper(
    "keras.Adamax",
    configs=({}, {"beta_2": 0.9, "epsilon": 1e-3, "decay": 0.1}, {"decay": 0.1, **CLIPS}),
    mutations=(*COMMON, "no_decay", "no_correction", "eps_moved"),
    source="Keras 2.2.4, Adamax; Kingma & Ba 2015, Algorithm 2",
)
def adamax(
    grads,
    params,
    *,
    mutation=None,
    lr=0.002,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=None,
    decay=0.0,
    **clips,
):
    """w <- max(beta_2 w, |g|); u = -eta_n / (1 - beta_1^t) m / (w + epsilon)."""
    epsilon = EPSILON if epsilon is None else epsilon
    m = w = np.zeros_like(params)
    updates = []
    for n, g in _updates(grads, mutation, clips):
        t = n + 1
        m = average(m, g, beta_1, mutation)
        decayed = w if mutation == "no_decay" else beta_2 * w
        if mutation == "eps_moved":
            w = np.maximum(decayed, abs(g) + epsilon)
            bottom = w
        else:
            w = np.maximum(decayed, abs(g))
            bottom = w + epsilon
        A = _eta(lr, decay, n, mutation)
        if mutation != "no_correction":
            A = A / (1 - beta_1**t)
        updates.append(-A * ratio(m, bottom))
    return updates


@paper(
    "keras.Nadam",
    configs=({}, {"beta_2": 0.99, "epsilon": 1e-3, "schedule_decay": 0.1}, CLIPS),
    mutations=(
        "sign",
        "wrong_order",
        "late_count",
        "no_decay",
        "no_correction",
        "eps_moved",
        "eps_uncorrected",
        "no_nesterov",
        "no_schedule",
    ),
    source="Keras 2.2.4, Nadam; Dozat 2016, Algorithm 2",
)
def nadam(
    grads,
    params,
    *,
    mutation=None,
    lr=0.002,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=None,
    schedule_decay=0.004,
    **clips,
):
    """u = -lr q / (sqrt(v / (1 - beta_2^t)) + epsilon), with

    q = (1 - mu_t) g / (1 - P_t) + mu_(t+1) m / (1 - P_(t+1)), P_t = mu_1 ... mu_t.
    """
    epsilon = EPSILON if epsilon is None else epsilon

    def mu(k):
        if mutation == "no_schedule":
            return beta_1
        return beta_1 * (1 - 0.5 * 0.96 ** (k * schedule_decay))

    m = v = np.zeros_like(params)
    P = 1.0
    updates = []
    for n, g in _updates(grads, mutation, clips):
        t = n + 1
        P = P * mu(t)
        P_next = P * mu(t + 1)
        m = average(m, g, beta_1, mutation)
        v = average(v, g**2, beta_2, mutation)
        q = (1 - mu(t)) * g / (1 - P) + mu(t + 1) * m / (1 - P_next)
        if mutation == "no_correction":
            q = (1 - mu(t)) * g + mu(t + 1) * m
        if mutation == "no_nesterov":
            q = m / (1 - P)
        v_hat = v / (1 - beta_2**t)
        if mutation == "eps_moved":
            bottom = np.sqrt(v_hat + epsilon)
        elif mutation == "eps_uncorrected":
            bottom = np.sqrt(v_hat) + epsilon / np.sqrt(1 - beta_2**t)
        else:
            bottom = np.sqrt(v_hat) + epsilon
        updates.append(-lr * ratio(q, bottom))
    return updates

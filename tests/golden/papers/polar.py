"""Orthogonalised momentum with a second moment: NorMuon and AdaMuon."""

import numpy as np

from . import paper
from .parts import average, fading, rate, ratio, steps

COEFFICIENTS = {
    "jordan": ((3.4445, -4.7750, 2.0315),) * 5,
    "polar_express": (
        (8.2051, -22.9019, 16.4607),
        (4.0664, -2.8612, 0.5184),
        (3.9096, -2.8234, 0.5250),
        (3.2856, -2.4153, 0.4853),
        (2.2779, -1.6198, 0.3985),
    ),
    "cans": (
        (8.4703, -25.1081, 18.6293),
        (4.1828, -3.1087, 0.5806),
        (3.9619, -2.9541, 0.5630),
        (3.2866, -2.4647, 0.5074),
        (2.2737, -1.6447, 0.4162),
    ),
}


def polar(m, name, eps=1e-8):
    """The polynomials on the singular values of m / |m|."""
    left, values, right = np.linalg.svd(m, full_matrices=False)
    values = values / (np.sqrt(np.sum(values**2)) + eps)
    for a, b, c in COEFFICIENTS[name]:
        values = a * values + b * values**3 + c * values**5
    return left * values @ right


@paper(
    "scale_by_normuon",
    configs=({}, {"nesterov": True, "beta": 0.5, "b2": 0.8, "eps": 1e-3}, {"ns_coeffs": "polar_express", "gram": True}),
    mutations=("sign", "no_decay", "other_side", "no_size", "no_neurons"),
    source="Li et al. 2025, NorMuon, Alg. 1",
)
def scale_by_normuon(
    grads, params, *, mutation=None, beta=0.95, b2=0.95, eps=1e-8, nesterov=False, ns_coeffs="jordan", gram=False
):
    """O / (sqrt(v) + eps), of the norm of O, where v is a mean over the inputs of a neuron."""
    m, v, updates = np.zeros_like(params), 0.0, []
    for g in grads:
        m = average(m, g, beta, mutation)
        o = polar(beta * m + (1 - beta) * g if nesterov else m, ns_coeffs)
        v = b2 * v + (1 - b2) * np.mean(o**2, axis=1 if mutation == "other_side" else 0, keepdims=True)
        u = o if mutation == "no_neurons" else ratio(o, np.sqrt(v) + eps + 0 * o)
        updates.append(u if mutation == "no_size" else u * np.linalg.norm(o) / np.linalg.norm(u))
    return updates


@paper(
    "normuon",
    configs=({}, {"learning_rate": fading, "weight_decay": 0.1}),
    mutations=("sign", "no_size", "late_count", "no_weight_decay"),
    source="Li et al. 2025, NorMuon; Jordan et al. 2024",
)
def normuon(grads, params, *, mutation=None, learning_rate=0.01, weight_decay=0.0):
    """w <- w - eta (s u + lambda w)."""
    rows, columns = params.shape
    size = 0.2 * max(rows, columns) ** 0.5 if mutation == "no_size" else max(1, columns / rows) ** 0.5
    updates, decay = [], 0.0 if mutation == "no_weight_decay" else weight_decay
    for t, u in steps(scale_by_normuon(grads, params), mutation):
        updates.append(-rate(learning_rate, t) * (size * u + decay * params))
        params = params + updates[-1]
    return updates


@paper(
    "scale_by_adamuon",
    configs=({}, {"nesterov": True, "beta": 0.5, "b2": 0.8, "eps": 1e-3}, {"ns_coeffs": "cans"}),
    mutations=("sign", "no_decay", "no_signs", "no_size", "no_second_moment"),
    source="Si et al. 2025, AdaMuon, Alg. 1",
)
def scale_by_adamuon(grads, params, *, mutation=None, beta=0.95, b2=0.95, eps=1e-8, nesterov=False, ns_coeffs="jordan"):
    """0.2 sqrt(m n) of the direction O / (sqrt(v) + eps), O = NS(sign(m))."""
    m, v, updates = np.zeros_like(params), np.zeros_like(params), []
    for g in grads:
        m = average(m, g, beta, mutation)
        mean = beta * m + (1 - beta) * g if nesterov else m
        o = polar(mean if mutation == "no_signs" else np.sign(mean), ns_coeffs)
        v = b2 * v + (1 - b2) * o**2
        u = o if mutation == "no_second_moment" else ratio(o, np.sqrt(v) + eps)
        updates.append(u if mutation == "no_size" else u * 0.2 * np.sqrt(u.size) / np.linalg.norm(u))
    return updates


@paper(
    "adamuon",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "weight_decay": 0.1}),
    mutations=("sign", "late_count", "no_weight_decay"),
    source="Si et al. 2025, AdaMuon, Alg. 1",
)
def adamuon(grads, params, *, mutation=None, learning_rate, weight_decay=0.0):
    """w <- w - eta (u + lambda w)."""
    updates, decay = [], 0.0 if mutation == "no_weight_decay" else weight_decay
    for t, u in steps(scale_by_adamuon(grads, params), mutation):
        updates.append(-rate(learning_rate, t) * (u + decay * params))
        params = params + updates[-1]
    return updates


@paper(
    "scale_by_scion",
    configs=({}, {"momentum": 0.5, "eps": 1e-3}, {"ns_coeffs": "cans"}),
    mutations=("sign", "no_decay", "no_size", "other_weight"),
    source="Pethick et al. 2025, Scion, Alg. 1",
)
def scale_by_scion(grads, params, *, mutation=None, momentum=0.1, eps=1e-8, ns_coeffs="jordan"):
    """sqrt(out / in) of the polar factor of the running mean."""
    rows, columns = params.shape
    size = 1.0 if mutation == "no_size" else np.sqrt(columns / rows)
    m, updates = np.zeros_like(params), []
    for g in grads:
        m = average(m, g, momentum if mutation == "other_weight" else 1 - momentum, mutation)
        updates.append(size * polar(m, ns_coeffs, eps))
    return updates


@paper(
    "scion",
    configs=({"learning_rate": 0.1}, {"learning_rate": fading, "weight_decay": 1.0, "radius": 50.0}),
    mutations=("sign", "late_count", "no_weight_decay", "no_radius"),
    source="Pethick et al. 2025, Scion, Algs. 1 and 2",
)
def scion(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, radius=1.0):
    """w <- (1 - eta lambda) w - eta rho u."""
    updates, decay = [], 0.0 if mutation == "no_weight_decay" else weight_decay
    for t, u in steps(scale_by_scion(grads, params), mutation):
        updates.append(-rate(learning_rate, t) * ((1 if mutation == "no_radius" else radius) * u + decay * params))
        params = params + updates[-1]
    return updates

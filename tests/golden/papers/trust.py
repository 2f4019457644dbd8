"""Optimizers that need a whole leaf: its norm, its rows and columns, its singular values."""

import numpy as np

from . import paper
from .adam import scale_by_adam
from .parts import average, fading, rate, steps


def norm(x):
    return np.sqrt(np.sum(x**2))


def trusted(g, p, mutation=None):
    """|p| / |g| g."""
    size = norm(p) / norm(g) if norm(p) > 0 and norm(g) > 0 and mutation != "no_trust" else 1.0
    return size * g


@paper(
    "lamb",
    configs=({"learning_rate": 0.01}, {"learning_rate": fading, "eps": 1e-3, "weight_decay": 0.1}),
    mutations=("sign", "no_decay", "no_correction", "no_trust", "decay_after"),
    source="You et al. 2020, Alg. 2",
)
def lamb(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, eps=1e-6, **moments):
    """r = m^ / (sqrt(v^) + eps) + lambda theta; u = -eta |theta| / |r| r."""
    inner = mutation if mutation in ("no_decay", "no_correction") else None
    updates = []
    for t, r in steps(scale_by_adam(grads, params, mutation=inner, eps=eps, **moments)):
        eta = rate(learning_rate, t)
        if mutation == "decay_after":
            u = -eta * (trusted(r, params) + weight_decay * params)
        else:
            u = -eta * trusted(r + weight_decay * params, params, mutation)
        params = params + u
        updates.append(u)
    return updates


@paper(
    "lars",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": fading, "weight_decay": 0.1, "eps": 0.1, "nesterov": True},
        {"learning_rate": 0.1, "weight_decay": 0.1, "decayed_norm": True},
    ),
    mutations=("sign", "no_momentum", "no_nesterov", "no_weight_decay", "no_eps", "other_norm"),
    source="You et al. 2017, Alg. 1 and Eq. 6",
)
def lars(
    grads,
    params,
    *,
    mutation=None,
    learning_rate,
    weight_decay=0.0,
    trust_coefficient=0.001,
    eps=0.0,
    momentum=0.9,
    nesterov=False,
    decayed_norm=False,
):
    """v <- m v - eta c |w| / (|g| + lambda |w| + eps) (g + lambda w); in Optax |g + lambda w| + eps."""
    v, updates = np.zeros_like(params), []
    decay = 0.0 if mutation == "no_momentum" else momentum
    for t, g in steps(grads):
        decayed = (0.0 if mutation == "no_weight_decay" else weight_decay) * params
        r = g + decayed
        below = norm(r) if decayed_norm != (mutation == "other_norm") else norm(g) + norm(decayed)
        size = trust_coefficient * norm(params) / (below + (0.0 if mutation == "no_eps" else eps)) if below > 0 else 1.0
        step = -rate(learning_rate, t) * size * r
        v = decay * v + step
        u = step + decay * v if nesterov and mutation != "no_nesterov" else v
        params = params + u
        updates.append(u)
    return updates


@paper(
    "fromage",
    configs=({"learning_rate": 0.1}, {"learning_rate": 0.5, "min_norm": 0.3}),
    mutations=("sign", "no_circle", "no_floor"),
    source="Bernstein et al. 2020, Alg. 1",
)
def fromage(grads, params, *, mutation=None, learning_rate, min_norm=1e-6):
    """w <- (w - eta |w| / |g| g) / sqrt(1 + eta^2)."""
    updates, shrink = [], 1.0 if mutation == "no_circle" else 1 / np.sqrt(1 + learning_rate**2)
    for g in grads:
        least = 0.0 if mutation == "no_floor" else min_norm
        p_norm, g_norm = max(norm(params), least), max(norm(g), least)
        size = p_norm / g_norm if g_norm > 0 else 1.0
        new = shrink * (params - learning_rate * size * g)
        updates.append(new - params)
        params = new
    return updates


@paper(
    "scale_by_novograd",
    configs=({}, {"b1": 0.5, "b2": 0.9, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 0.1}),
    mutations=("sign", "no_first", "averaged", "no_weight_decay", "root_moved"),
    source="Ginsburg et al. 2019, Alg. 1",
)
def scale_by_novograd(grads, params, *, mutation=None, b1=0.9, b2=0.25, eps=1e-8, eps_root=0.0, weight_decay=0.0):
    """m <- b1 m + g / (sqrt(v) + eps) + d w, v is per layer and starts at |g|^2."""
    m, v, updates = np.zeros_like(params), 0.0, []
    for t, g in steps(grads):
        first = t == 1 and mutation != "no_first"
        v = norm(g) ** 2 if first else b2 * v + (1 - b2) * norm(g) ** 2
        below = np.sqrt(v) + eps_root + eps if mutation == "root_moved" else np.sqrt(v + eps_root) + eps
        unit = g / below + (0.0 if mutation == "no_weight_decay" else weight_decay) * params
        m = b1 * m + (1 - b1 if mutation == "averaged" else 1) * unit
        params = params + m
        updates.append(m)
    return updates


@paper(
    "novograd",
    configs=({"learning_rate": 0.01}, {"learning_rate": fading, "weight_decay": 0.1}),
    mutations=("sign", "no_first", "late_count"),
    source="Ginsburg et al. 2019, Alg. 1",
)
def novograd(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, b1=0.9, b2=0.25, eps=1e-6):
    """w <- w - eta m."""
    m, v, updates = np.zeros_like(params), 0.0, []
    for t, g in steps(grads):
        v = norm(g) ** 2 if t == 1 and mutation != "no_first" else b2 * v + (1 - b2) * norm(g) ** 2
        m = b1 * m + g / (np.sqrt(v) + eps) + weight_decay * params
        updates.append(-rate(learning_rate, t + (mutation == "late_count") * 3 if callable(learning_rate) else t) * m)
        params = params + updates[-1]
    return updates


@paper(
    "scale_by_sm3",
    configs=({}, {"b1": 0.5, "b2": 0.9, "eps": 1e-3}),
    mutations=("sign", "no_momentum", "rows_only", "eps_moved", "no_share"),
    source="Anil et al. 2019, SM3-II",
)
def scale_by_sm3(grads, params, *, mutation=None, b1=0.9, b2=1.0, eps=1e-8):
    """nu(i, j) = min(row(i), column(j)) + g^2; row and column are updated to its maxima."""
    rows, columns = np.zeros(params.shape[0]), np.zeros(params.shape[1])
    m, updates = np.zeros_like(params), []
    for g in grads:
        least = rows[:, None] + 0 * columns if mutation == "rows_only" else np.minimum(rows[:, None], columns[None])
        share = 1.0 if b2 == 1.0 or mutation == "no_share" else 1 - b2
        nu = b2 * least + share * g**2
        below = np.sqrt(nu) + eps if mutation == "eps_moved" else np.sqrt(nu + eps)
        m = (0.0 if mutation == "no_momentum" else b1) * m + (1 - b1) * g / below
        rows, columns = nu.max(1), nu.max(0)
        updates.append(m)
    return updates


@paper(
    "sm3",
    configs=({"learning_rate": 0.1}, {"learning_rate": 0.1, "momentum": 0.5}),
    mutations=("sign", "no_momentum"),
    source="Anil et al. 2019, SM3-II",
)
def sm3(grads, params, *, mutation=None, learning_rate, momentum=0.9):
    """w <- w - eta m."""
    return [-learning_rate * u for u in scale_by_sm3(grads, params, mutation=mutation, b1=momentum)]


@paper(
    "scale_by_factored_rms",
    configs=(
        {"min_dim_size_to_factor": 2},
        {"min_dim_size_to_factor": 3, "epsilon": 1e-3, "decay_rate": 0.5},
        {"factored": False},
        {"min_dim_size_to_factor": 4, "step_offset": -2},
    ),
    mutations=("sign", "no_mean", "no_eps", "late_count", "slower"),
    source="Shazeer & Stern 2018, Alg. 4",
)
def scale_by_factored_rms(
    grads,
    params,
    *,
    mutation=None,
    factored=True,
    decay_rate=0.8,
    step_offset=0,
    min_dim_size_to_factor=128,
    epsilon=1e-30,
):
    """u = g / sqrt(R C / mean(R)), of means over columns and rows of g^2."""
    rows, columns, whole, updates = np.zeros(params.shape[0]), np.zeros(params.shape[1]), np.zeros_like(params), []
    for t, g in steps(grads, mutation):
        square = g**2 + (0.0 if mutation == "no_eps" else epsilon)
        b = 1 - float(t - step_offset) ** -(decay_rate / 2 if mutation == "slower" else decay_rate)
        if not factored or min(params.shape) < min_dim_size_to_factor:
            whole = b * whole + (1 - b) * square
            updates.append(np.divide(g, np.sqrt(whole), out=np.zeros_like(g), where=whole > 0))
            continue
        # The means over axis 1 have one element per row, those over axis 0 one per column.
        rows = b * rows + (1 - b) * square.mean(1)
        columns = b * columns + (1 - b) * square.mean(0)
        mean = 1.0 if mutation == "no_mean" else rows.mean()
        estimate = rows[:, None] * columns[None] / mean
        updates.append(np.divide(g, np.sqrt(estimate), out=np.zeros_like(g), where=estimate > 0))
    return updates


@paper(
    "adafactor",
    configs=(
        {"learning_rate": 0.1, "min_dim_size_to_factor": 2},
        {"momentum": 0.9, "dtype_momentum": "float64", "weight_decay_rate": 0.1, "factored": False},
        {"learning_rate": fading, "multiply_by_parameter_scale": False, "clipping_threshold": None, "factored": False},
    ),
    mutations=("sign", "no_clip", "no_scale", "no_mean"),
    source="Shazeer & Stern 2018, Alg. 4 and 5",
)
def adafactor(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=None,
    multiply_by_parameter_scale=True,
    clipping_threshold=1.0,
    momentum=None,
    dtype_momentum=None,
    weight_decay_rate=None,
    **second,
):
    """u <- u / max(1, rms(u) / d); alpha = max(1e-3, rms(x)) rho."""
    m, updates = np.zeros_like(params), []
    inner = mutation if mutation == "no_mean" else None
    for t, u in steps(scale_by_factored_rms(grads, params, mutation=inner, **second)):
        if clipping_threshold is not None and mutation != "no_clip":
            u = u / max(1.0, np.sqrt(np.mean(u**2)) / clipping_threshold)
        u = u * (1.0 if learning_rate is None else rate(learning_rate, t))
        if multiply_by_parameter_scale and mutation != "no_scale":
            u = u * max(1e-3, np.sqrt(np.mean(params**2)))
        if momentum is not None:
            m = average(m, u, momentum)
            u = m
        if weight_decay_rate is not None:
            u = u + weight_decay_rate * params
        updates.append(-u)
        params = params - u
    return updates


DION = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


def newton_schulz(x, coefficients, count):
    """Iterate X <- a X + (b A + c A A) X, A = X X^T."""
    for a, b, c in coefficients if np.ndim(coefficients) == 2 else [coefficients] * count:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@paper(
    "scale_by_muon",
    configs=(
        {},
        {"nesterov": False, "beta": 0.5, "ns_steps": 3},
        {"adaptive": True, "preconditioning": "spectral", "eps": 1e-3},
        {"preconditioning": "aol", "ns_steps": 2, "bias_correction": True},
        {"preconditioning": "schatten", "ns_coeffs": ((3.0, -4.0, 2.0), (1.5, -0.5, 0.0))},
        {"ns_coeffs": "dion"},
    ),
    mutations=("sign", "no_nesterov", "other_correction", "fewer", "no_dual", "frobenius"),
    source="Jordan et al. 2024, Muon",
)
def scale_by_muon(
    grads,
    params,
    *,
    mutation=None,
    ns_coeffs=(3.4445, -4.775, 2.0315),
    ns_steps=5,
    beta=0.95,
    eps=1e-8,
    nesterov=True,
    adaptive=False,
    preconditioning="frobenius",
    bias_correction=False,
):
    """Newton-Schulz iteration on the Nesterov mean of the gradients."""
    ns_coeffs = DION if isinstance(ns_coeffs, str) else ns_coeffs
    m, updates = np.zeros_like(params), []
    for t, g in steps(grads):
        m = beta * m + (1 - beta) * g
        corrected = bias_correction != (mutation == "other_correction")
        correct = (lambda x, k: x / (1 - beta**k)) if corrected else (lambda x, k: x)
        mean = correct(m, t)
        if nesterov and mutation != "no_nesterov":
            mean = beta * correct(m, t + 1) + (1 - beta) * correct(g, t)
        x = mean.T if mean.shape[0] > mean.shape[1] else mean
        way = "frobenius" if mutation == "frobenius" else preconditioning
        if way == "aol":
            x = x / np.sqrt(np.abs(x @ x.T).sum(1, keepdims=True))
        else:
            values = np.linalg.svd(x, compute_uv=False)
            size = {
                "frobenius": np.sqrt(np.sum(values**2)),
                "spectral": values.max(),
                "schatten": np.sum(values**4) ** 0.25,
            }[way]
            x = x / (size + eps)
        x = newton_schulz(x, ns_coeffs, ns_steps - (mutation == "fewer"))
        u = x.T if mean.shape[0] > mean.shape[1] else x
        updates.append(u * np.sum(mean * u) if adaptive and mutation != "no_dual" else u)
    return updates


@paper(
    "muon",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": fading, "weight_decay": 0.1, "consistent_rms": 0.2},
    ),
    mutations=("sign", "no_size", "late_count", "no_weight_decay"),
    source="Jordan et al. 2024, Muon; Liu et al. 2025",
)
def muon(grads, params, *, mutation=None, learning_rate, weight_decay=0.0, consistent_rms=None):
    """w <- w - eta (s O + lambda w)."""
    rows, columns = params.shape
    size = max(1, columns / rows) ** 0.5 if consistent_rms is None else consistent_rms * max(rows, columns) ** 0.5
    size = 1.0 if mutation == "no_size" else size
    updates = []
    for t, o in steps(scale_by_muon(grads, params), mutation):
        decay = 0.0 if mutation == "no_weight_decay" else weight_decay
        u = -rate(learning_rate, t) * (size * o + decay * params)
        params = params + u
        updates.append(u)
    return updates


@paper(
    "scale_by_galore",
    configs=(
        {"rank": 2, "update_proj_gap": 3},
        {"rank": 1, "update_proj_gap": 1, "scale": 0.5},
        {"rank": 2, "projected_side": "long"},
    ),
    mutations=("sign", "no_scale", "once", "whole", "other_side"),
    source="Zhao et al. 2024, Alg. 1",
)
def scale_by_galore(grads, params, *, mutation=None, rank=128, update_proj_gap=200, scale=1.0, projected_side="short"):
    """P R, R = Adam of P^T g, P the first left singular vectors of g, which is wide; of a high g the right ones."""
    updates, m, v, p = [], 0.0, 0.0, None
    left = (params.shape[0] <= params.shape[1]) ^ (projected_side == "long") ^ (mutation == "other_side")
    for n, g in enumerate(grads):
        if p is None or (n % update_proj_gap == 0 and mutation != "once"):
            lefts, _, rights = np.linalg.svd(g, full_matrices=False)
            p = (lefts if left else rights.T)[:, :rank]
        low = g if mutation == "whole" else p.T @ g if left else g @ p
        m, v = 0.9 * m + 0.1 * low, 0.999 * v + 0.001 * low**2
        below = np.sqrt(v / (1 - 0.999 ** (n + 1))) + 1e-8
        step = m / (1 - 0.9 ** (n + 1)) / below
        step = step if mutation == "whole" else p @ step if left else step @ p.T
        updates.append((1.0 if mutation == "no_scale" else scale) * step)
    return updates


@paper(
    "galore",
    configs=({"learning_rate": 0.01, "rank": 2, "weight_decay": 0.1},),
    mutations=("sign", "no_weight_decay"),
    source="Zhao et al. 2024, Alg. 1",
)
def galore(grads, params, *, mutation=None, learning_rate, rank, weight_decay=0.0):
    """w <- w - eta (P R + lambda w)."""
    updates, decay = [], 0.0 if mutation == "no_weight_decay" else weight_decay
    for g in scale_by_galore(grads, params, rank=rank):
        updates.append(-learning_rate * (g + decay * params))
        params = params + updates[-1]
    return updates

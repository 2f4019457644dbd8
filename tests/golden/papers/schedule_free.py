"""Schedule-free learning."""

import numpy as np

import optim

from . import paper
from .parts import average, debiased, fading, rate, ratio, rising, steps

MUTATIONS = ("sign", "late_count", "no_max", "no_power", "no_weights", "gradient_at_x", "z_is_y")


def averaged(step, params, count, learning_rate, b1, power, mutation):
    """y = (1 - b) z + b x; z <- z + step(y); x <- (1 - c) x + c z, where c is the step's share of all weights.

    Defazio et al. 2024, Section 1, and Algorithm 1 with the largest learning rate so far in the weights.
    """
    z = x = y = params
    total = largest = 0.0
    updates = []
    for n in range(count):
        eta = rate(learning_rate, n + 1)
        largest = eta if mutation == "no_max" else max(largest, eta)
        weight = 1.0 if mutation == "no_weights" else largest if mutation == "no_power" else largest**power
        total += weight
        z = z + step(n, x if mutation == "gradient_at_x" else y)
        share = weight / total if total else 0.0
        x = (1 - share) * x + share * z
        new = x if mutation == "z_is_y" else (1 - b1) * z + b1 * x
        updates.append(new - y)
        y = new
    return updates


def warmed(learning_rate, warmup_steps):
    """gamma min(1, t / T), t = n + 1."""
    return (lambda n: learning_rate * min((n + 1) / warmup_steps, 1.0)) if warmup_steps else learning_rate


@paper(
    "schedule_free",
    configs=(
        {"base_optimizer": optim.sgd(0.1), "learning_rate": 0.1},
        {
            "base_optimizer": optim.chain(optim.add_decayed_weights(0.1), optim.sgd(fading)),
            "learning_rate": fading,
            "b1": 0.5,
            "weight_lr_power": 1.0,
        },
        {"base_optimizer": optim.sgd(rising), "learning_rate": rising, "b1": 1.0, "weight_lr_power": 0.5},
    ),
    mutations=MUTATIONS,
    source="Defazio et al. 2024, Section 1",
)
def schedule_free(grads, params, *, mutation=None, base_optimizer, learning_rate, b1=0.9, weight_lr_power=2.0):
    """Around gradient descent with the same learning rate, and with weight decay if the base is a chain."""
    decay = 0.1 if repr(base_optimizer).startswith("chain") else 0.0

    def step(n, y):
        late = 1 if mutation == "late_count" else 0
        return -rate(learning_rate, n + 1 + late) * (grads[n] + decay * y)

    return averaged(step, params, len(grads), learning_rate, b1, weight_lr_power, mutation)


@paper(
    "schedule_free_sgd",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "warmup_steps": 5, "b1": 0.5, "weight_decay": 0.1, "weight_lr_power": 1.5},
        {"learning_rate": fading, "warmup_steps": 0, "weight_decay": fading},
    ),
    mutations=(*MUTATIONS, "no_warmup"),
    source="Defazio et al. 2024, Section 1",
)
def schedule_free_sgd(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=1.0,
    warmup_steps=None,
    b1=0.9,
    weight_decay=0.0,
    weight_lr_power=2.0,
):
    """base(g) = -eta (g + lambda y)."""
    eta = warmed(learning_rate, None if mutation == "no_warmup" else warmup_steps)

    def step(n, y):
        t = n + 2 if mutation == "late_count" else n + 1
        return -rate(eta, t) * (grads[n] + rate(weight_decay, t) * y)

    return averaged(step, params, len(grads), eta, b1, weight_lr_power, mutation)


@paper(
    "schedule_free_adamw",
    configs=(
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "warmup_steps": 5, "b1": 0.5, "b2": 0.9, "eps": 1e-2, "weight_decay": 0.1},
        {"learning_rate": fading, "weight_decay": fading, "weight_lr_power": 1.0},
    ),
    mutations=(*MUTATIONS, "no_warmup", "no_correction", "eps_moved"),
    source="Defazio et al. 2024, Algorithm 1",
)
def schedule_free_adamw(
    grads,
    params,
    *,
    mutation=None,
    learning_rate=0.0025,
    warmup_steps=None,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    weight_lr_power=2.0,
):
    """base(g) = -eta (g / (sqrt(v^) + eps) + lambda y)."""
    eta = warmed(learning_rate, None if mutation == "no_warmup" else warmup_steps)
    below, v = [], np.zeros_like(params)
    for t, g in steps(grads, mutation):
        v = average(v, g**2, b2)
        v_hat = debiased(v, b2, t, mutation)
        below.append(np.sqrt(v_hat + eps) if mutation == "eps_moved" else np.sqrt(v_hat) + eps)

    def step(n, y):
        t = n + 2 if mutation == "late_count" else n + 1
        return -rate(eta, t) * (ratio(grads[n], below[n]) + rate(weight_decay, t) * y)

    return averaged(step, params, len(grads), eta, b1, weight_lr_power, mutation)

"""Wrappers around SGD with momentum, which is written so that it runs on both NumPy and JAX arrays."""

import numpy as np

from . import paper
from .parts import steps


def _start(params):
    return 0.0 * params


def _heavy_ball(g, m, params=None):
    m = 0.9 * m + g
    return -0.01 * m, m


def _plain(g, m, params=None):
    return -0.05 * g, m


HEAVY_BALL, PLAIN = (_start, _heavy_ball), (_start, _plain)


@paper(
    "MultiSteps",
    configs=(
        {"opt": HEAVY_BALL, "every_k_schedule": 3},
        {"opt": HEAVY_BALL, "every_k_schedule": 4, "use_grad_mean": False},
    ),
    mutations=("sign", "sum_for_mean", "each_step"),
    source="the gradient of the mean of k losses is the mean of their gradients",
)
def multi_steps(grads, params, *, mutation=None, opt, every_k_schedule, use_grad_mean=True):
    """A step with the mean of every k gradients; zero updates in between."""
    (init, update), k, updates = opt, every_k_schedule, []
    m = init(params)
    for t, g in steps(grads):
        window = np.stack(grads[t - k : t]) if t % k == 0 else None
        if mutation == "each_step":
            window = g[None]
        u = np.zeros_like(params)
        if window is not None:
            total = window.sum(0)
            u, m = update(total / len(window) if use_grad_mean and mutation != "sum_for_mean" else total, m, params)
        updates.append(u)
    return updates


@paper(
    "lookahead",
    configs=(
        {"fast_optimizer": HEAVY_BALL, "sync_period": 5, "slow_step_size": 0.5},
        {"fast_optimizer": HEAVY_BALL, "sync_period": 3, "slow_step_size": 0.8, "reset_state": True},
    ),
    mutations=("sign", "slow_stays", "fast_stays", "late_sync"),
    source="Zhang et al. 2019, Algorithm 1",
)
def lookahead(grads, params, *, mutation=None, fast_optimizer, sync_period, slow_step_size, reset_state=False):
    """phi_t = phi_t-1 + alpha (theta_t,k - phi_t-1), and theta_t,0 = phi_t-1."""
    init, update = fast_optimizer
    slow, fast, m, updates = params, params, init(params), []
    for t, g in steps(grads, "late_count" if mutation == "late_sync" else None):
        before = fast
        u, m = update(g, m, fast)
        fast = fast + u
        if t % sync_period == 0:
            new = slow + slow_step_size * (fast - slow)
            fast = fast if mutation == "fast_stays" else new
            slow = slow if mutation == "slow_stays" else new
            m = init(fast) if reset_state else m
        updates.append(fast - before)
    return updates


@paper(
    "sam",
    configs=(
        {"optimizer": HEAVY_BALL, "adv_optimizer": PLAIN},
        {"optimizer": HEAVY_BALL, "adv_optimizer": HEAVY_BALL, "sync_period": 3},
        {"optimizer": HEAVY_BALL, "adv_optimizer": HEAVY_BALL, "sync_period": 3, "reset_state": False},
    ),
    mutations=("sign", "downhill", "stays_there", "always_reset"),
    source="Foret et al. 2021, Algorithm 1, one gradient at a time",
)
def sam(grads, params, *, mutation=None, optimizer, adv_optimizer, sync_period=2, reset_state=True):
    """w_adv = w + eps(grad at w); w <- w + step(grad at w_adv)."""
    anchor, current, updates = params, params, []
    m, ascent = optimizer[0](params), adv_optimizer[0](params)
    for t, g in steps(grads):
        before = current
        if t % sync_period == 0:
            u, m = optimizer[1](g, m, anchor)
            anchor = current = (current if mutation == "stays_there" else anchor) + u
            if reset_state or mutation == "always_reset":
                ascent = adv_optimizer[0](params)
        else:
            u, ascent = adv_optimizer[1](g, ascent, current)
            current = current + u if mutation == "downhill" else current - u
        updates.append(current - before)
    return updates


@paper(
    "mechanize",
    configs=(
        {"base_optimizer": HEAVY_BALL, "s_init": 1e-2},
        {"base_optimizer": PLAIN, "weight_decay": 0.2, "eps": 1e-3, "s_init": 1e-1, "num_betas": 3},
    ),
    mutations=("sign", "no_decay", "delta_after", "unlimited", "reward_kept_negative"),
    source="Cutkosky, Defazio & Mehta 2023, Algorithm 1; in r, h is clipped to m as in the authors' code",
)
def mechanize(grads, params, *, mutation=None, base_optimizer, weight_decay=1e-2, eps=1e-8, s_init=1e-6, num_betas=6):
    """x_t+1 = x_ref + (sum_i s_i) Delta_t+1.

    The paper's Delta is an ascent direction; here it is a descent direction, so h has a minus sign.
    """
    init, update = base_optimizer
    beta = 1 - 0.1 ** np.arange(1, num_betas + 1)
    x, base, updates = params, init(params), []
    r = m = v = np.zeros(num_betas)
    s = np.full(num_betas, s_init)
    for g in grads:
        u, base = update(g, base, x)
        delta = (x - params) / (s.sum() + eps)
        decay = 0.0 if mutation == "no_decay" else weight_decay
        gradient = g + decay * s.sum() * np.linalg.norm(g) * x / (np.linalg.norm(x) + eps)
        h = -np.sum((delta + u if mutation == "delta_after" else delta) * gradient)
        limited = h if mutation == "unlimited" else np.clip(h, -m, m)
        m = np.maximum(beta * m, abs(h) + eps)
        v = beta**2 * v + h**2
        r = beta * r + limited * s
        reward = r if mutation == "reward_kept_negative" else np.maximum(r, 0)
        s = (s_init / num_betas * m + reward) / (np.sqrt(v) + eps)
        new = params + s.sum() * (delta + u)
        updates.append(new - x)
        x = new
    return updates

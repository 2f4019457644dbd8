"""Averages of the parameters, which change no update, and an outer optimizer."""

from . import paper
from .parts import steps
from .wrappers import HEAVY_BALL


def _unchanged(grads, params, *, mutation=None, **options):
    """The updates are unchanged; tests/units/test_averages.py tests the average."""
    return list(grads)


for name, config, source in (
    ("power_ema", {}, "Karras et al. 2024, 2312.02696"),
    ("bema", {}, "Block & Zhang 2025, 2508.00180"),
    ("lawa", {"num_checkpoints": 3, "interval": 2}, "Kaddour 2022"),
    ("swa", {"start": 3}, "Izmailov et al. 2018"),
):
    paper(name, configs=(config,), mutations=("sign",), source=source)(_unchanged)


@paper(
    "outer_nesterov",
    configs=(
        {"inner": HEAVY_BALL, "sync_period": 5},
        {"inner": HEAVY_BALL, "sync_period": 3, "outer_learning_rate": 0.5, "momentum": 0.5, "nesterov": False},
    ),
    mutations=("sign", "no_momentum", "no_nesterov", "fast_stays", "late_sync"),
    source="Douillard et al. 2023, DiLoCo, Algorithm 1",
)
def outer_nesterov(
    grads, params, *, mutation=None, inner, sync_period, outer_learning_rate=0.7, momentum=0.9, nesterov=True
):
    """Delta = theta - theta_k; torch's SGD with Nesterov momentum on Delta."""
    init, update = inner
    slow, fast, m, b, updates = params, params, init(params), 0 * params, []
    decay = 0.0 if mutation == "no_momentum" else momentum
    for t, g in steps(grads, "late_count" if mutation == "late_sync" else None):
        before = fast
        u, m = update(g, m, fast)
        fast = fast + u
        if t % sync_period == 0:
            d = slow - fast
            b = decay * b + d
            slow = slow - outer_learning_rate * (d + decay * b if nesterov and mutation != "no_nesterov" else b)
            fast = fast if mutation == "fast_stays" else slow
        updates.append(fast - before)
    return updates

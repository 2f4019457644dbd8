"""AdamC."""

from . import paper
from .adam import scale_by_adam
from .parts import fading, rate, rising, steps


@paper(
    "adamc",
    configs=(
        {"learning_rate": 0.1, "weight_decay": 0.1},
        {"learning_rate": fading, "weight_decay": 0.2, "eps": 1e-3},
        {"learning_rate": rising, "max_learning_rate": 1.0},
    ),
    mutations=("sign", "no_decay", "uncorrected", "own_rate", "late_count"),
    source="Defazio 2025, AdamC: theta <- theta - gamma_t u - lambda gamma_t^2 / gamma_max theta",
)
def adamc(
    grads, params, *, mutation=None, learning_rate, weight_decay=1e-4, max_learning_rate=None, b2=0.999, eps=1e-8
):
    """theta <- theta - gamma_t u - lambda gamma_t^2 / gamma_max theta."""
    largest, updates = max_learning_rate or 0.0, []
    for t, u in steps(scale_by_adam(grads, params, b2=b2, eps=eps), mutation):
        gamma = rate(learning_rate, t)
        largest = max_learning_rate or max(largest, gamma)
        share = 1.0 if mutation == "uncorrected" else gamma / largest
        decay = 0.0 if mutation == "no_decay" else weight_decay
        updates.append(-gamma * u - decay * share * (1.0 if mutation == "own_rate" else gamma) * params)
        params = params + updates[-1]
    return updates

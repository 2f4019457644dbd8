"""Schedules: functions of n, the number of previous updates (0 at the first)."""

import math

from . import schedule
from .parts import fading, rising


def _elapsed(n, begin, mutation):
    """n - begin, the updates since the transition began."""
    return n + (mutation == "late_count") - (0 if mutation == "no_begin" else begin)


@schedule(
    "constant_schedule",
    configs=({"value": 0.3},),
    mutations=("fading",),
    source="eta_n = eta",
)
def constant_schedule(n, *, mutation=None, value):
    """eta."""
    return value / (1 + n) if mutation == "fading" else value


@schedule(
    "inverse_time_decay",
    configs=(
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 0.3},
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 0.3, "transition_begin": 5},
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 0.3, "staircase": True},
        {
            "init_value": 0.5,
            "transition_steps": 4,
            "decay_rate": 0.3,
            "transition_begin": 5,
            "staircase": True,
        },
        {"init_value": 0.5, "transition_steps": 1, "decay_rate": 0.01},
    ),
    mutations=("late_count", "no_begin", "no_staircase", "exponential"),
    source="eta / (1 + k n / T); with T = 1 the decay of Keras",
)
def inverse_time_decay(
    n,
    *,
    mutation=None,
    init_value,
    transition_steps,
    decay_rate,
    transition_begin=0,
    staircase=False,
):
    """eta / (1 + k x), x = (n - begin) / T or its floor; eta until begin."""
    elapsed = _elapsed(n, transition_begin, mutation)
    if elapsed <= 0:
        return init_value
    x = elapsed / transition_steps
    if staircase and mutation != "no_staircase":
        x = math.floor(x)
    if mutation == "exponential":
        return init_value * math.exp(-decay_rate * x)
    return init_value / (1 + decay_rate * x)


@schedule(
    "exponential_decay",
    configs=(
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 0.8},
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 0.8, "transition_begin": 5},
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 0.8, "staircase": True},
        {
            "init_value": 0.5,
            "transition_steps": 4,
            "decay_rate": 0.8,
            "transition_begin": 5,
            "staircase": True,
        },
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 0.8, "end_value": 0.3},
        {"init_value": 0.5, "transition_steps": 4, "decay_rate": 1.25, "end_value": 0.9},
    ),
    mutations=("late_count", "no_begin", "no_staircase", "no_end"),
    source="eta r^(n / T)",
)
def exponential_decay(
    n,
    *,
    mutation=None,
    init_value,
    transition_steps,
    decay_rate,
    transition_begin=0,
    staircase=False,
    end_value=None,
):
    """eta r^x, x = (n - begin) / T or its floor; eta until begin.

    end_value bounds it from below where r < 1, from above otherwise.
    """
    elapsed = _elapsed(n, transition_begin, mutation)
    if elapsed <= 0:
        return init_value
    x = elapsed / transition_steps
    if staircase and mutation != "no_staircase":
        x = math.floor(x)
    value = init_value * decay_rate**x
    if end_value is None or mutation == "no_end":
        return value
    return max(value, end_value) if decay_rate < 1 else min(value, end_value)


@schedule(
    "polynomial_schedule",
    configs=(
        {"init_value": 0.5, "end_value": 0.1, "power": 2, "transition_steps": 12},
        {"init_value": 0.1, "end_value": 0.5, "power": 0.5, "transition_steps": 12},
        {
            "init_value": 0.5,
            "end_value": 0.1,
            "power": 3,
            "transition_steps": 12,
            "transition_begin": 5,
        },
    ),
    mutations=("late_count", "no_begin", "no_end", "no_power"),
    source="eta_T + (eta_0 - eta_T) (1 - n / T)^p",
)
def polynomial_schedule(n, *, mutation=None, init_value, end_value, power, transition_steps, transition_begin=0):
    """eta_T + (eta_0 - eta_T) (1 - x)^p, x = (n - begin) / T clipped to [0, 1]."""
    x = min(max(_elapsed(n, transition_begin, mutation) / transition_steps, 0), 1)
    if mutation == "no_end":
        end_value = 0.0
    if mutation == "no_power":
        power = 1
    return end_value + (init_value - end_value) * (1 - x) ** power


@schedule(
    "linear_schedule",
    configs=(
        {"init_value": 0.5, "end_value": 0.1, "transition_steps": 12},
        {"init_value": 0.0, "end_value": 0.5, "transition_steps": 12, "transition_begin": 5},
    ),
    mutations=("late_count", "no_begin", "no_end"),
    source="eta_T + (eta_0 - eta_T) (1 - n / T)",
)
def linear_schedule(n, *, mutation=None, init_value, end_value, transition_steps, transition_begin=0):
    """Linear from eta_0 at begin to eta_T at begin + T, constant before and after."""
    x = min(max(_elapsed(n, transition_begin, mutation) / transition_steps, 0), 1)
    return init_value + ((0 if mutation == "no_end" else end_value) - init_value) * x


@schedule(
    "cosine_decay_schedule",
    configs=(
        {"init_value": 0.5, "decay_steps": 12},
        {"init_value": 0.5, "decay_steps": 12, "alpha": 0.1},
        {"init_value": 0.5, "decay_steps": 12, "alpha": 0.1, "exponent": 2.0},
    ),
    mutations=("late_count", "no_end", "no_power", "restarts"),
    source="Loshchilov & Hutter 2017, eq. 5, one period",
)
def cosine_decay_schedule(n, *, mutation=None, init_value, decay_steps, alpha=0.0, exponent=1.0):
    """eta ((1 - alpha) c^q + alpha), c = (1 + cos(pi n / T)) / 2. Loshchilov & Hutter 2017."""
    n = n + (mutation == "late_count")
    n = n if mutation == "restarts" else min(n, decay_steps)
    if mutation == "no_end":
        alpha = 0.0
    if mutation == "no_power":
        exponent = 1.0
    c = (1 + math.cos(math.pi * n / decay_steps)) / 2
    return init_value * ((1 - alpha) * c**exponent + alpha)


@schedule(
    "piecewise_constant_schedule",
    configs=(
        {"init_value": 0.5},
        {"init_value": 0.5, "boundaries_and_scales": {4: 0.5, 9: 0.1, 15: 3.0}},
    ),
    mutations=("late_count", "early_count", "replaced"),
    source="eta times every scale whose boundary is <= n",
)
def piecewise_constant_schedule(n, *, mutation=None, init_value, boundaries_and_scales=None):
    """eta times the product of the scales with boundary <= n."""
    n = n + (mutation == "late_count") - (mutation == "early_count")
    value = init_value
    for boundary, factor in (boundaries_and_scales or {}).items():
        if n >= boundary:
            value = factor if mutation == "replaced" else value * factor
    return value


@schedule(
    "warmup_cosine_decay_schedule",
    configs=(
        {"init_value": 0.0, "peak_value": 0.5, "warmup_steps": 5, "decay_steps": 17},
        {
            "init_value": 0.1,
            "peak_value": 0.5,
            "warmup_steps": 5,
            "decay_steps": 17,
            "end_value": 0.05,
            "exponent": 2.0,
        },
        {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 0, "decay_steps": 17},
    ),
    mutations=("late_count", "no_end", "no_power", "added_warmup", "no_warmup"),
    source="Goyal et al. 2017, section 2.2, then Loshchilov & Hutter 2017, eq. 5",
)
def warmup_cosine_decay_schedule(
    n,
    *,
    mutation=None,
    init_value,
    peak_value,
    warmup_steps,
    decay_steps,
    end_value=0.0,
    exponent=1.0,
):
    """Linear from init to peak in W updates, then a cosine to end at n = T.

    decay_steps T includes the warm-up: the cosine takes T - W updates.
    """
    n = n + (mutation == "late_count")
    if n < warmup_steps and mutation != "no_warmup":
        return init_value + (peak_value - init_value) * n / warmup_steps
    if mutation == "no_end":
        end_value = 0.0
    if mutation == "no_power":
        exponent = 1.0
    length = decay_steps if mutation == "added_warmup" else decay_steps - warmup_steps
    x = min(max((n - warmup_steps) / length, 0), 1)
    c = (1 + math.cos(math.pi * x)) / 2
    return end_value + (peak_value - end_value) * c**exponent


@schedule(
    "join_schedules",
    configs=(
        {"schedules": (rising, fading), "boundaries": (6,)},
        {"schedules": (rising, fading, rising), "boundaries": (6, 11)},
    ),
    mutations=("late_count", "not_restarted", "boundary_before"),
    source="schedule i from boundary i - 1 on, with its count starting at 0",
)
def join_schedules(n, *, mutation=None, schedules, boundaries):
    """f_i(n - b_(i-1)) for b_(i-1) <= n < b_i."""
    n = n + (mutation == "late_count")
    current, start = schedules[0], 0
    for later, boundary in zip(schedules[1:], boundaries, strict=True):
        if n > boundary if mutation == "boundary_before" else n >= boundary:
            current, start = later, boundary
    return current(n if mutation == "not_restarted" else n - start)

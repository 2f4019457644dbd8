"""Schedules with a plateau or a cycle, and combinations of schedules."""

import math

from . import schedule
from .parts import fading, rising

TAILS = {"linear": lambda x: 1 - x, "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2, "1-sqrt": lambda x: 1 - x**0.5}


def _rise(n, init, peak, warmup):
    return init + (peak - init) * (min(n / warmup, 1) if warmup else 1)


def _over(n, begin, steps):
    return min(max(n - begin, 0) / steps, 1) if steps else 0


@schedule(
    "wsd_schedule",
    configs=(
        {"init_value": 0.0, "peak_value": 0.5, "warmup_steps": 5, "total_steps": 40, "decay_steps": 12},
        {
            "init_value": 0.1,
            "peak_value": 0.5,
            "warmup_steps": 0,
            "total_steps": 40,
            "decay_steps": 40,
            "tail": "linear",
            "end_value": 0.05,
        },
        {
            "init_value": 0.0,
            "peak_value": 0.5,
            "warmup_steps": 5,
            "total_steps": 30,
            "decay_steps": 20,
            "tail": "cosine",
        },
    ),
    mutations=("late_count", "no_warmup", "other_tail", "to_zero", "after_the_end"),
    source="Hu et al. 2024, MiniCPM; Hagele et al. 2024",
)
def wsd_schedule(
    n, *, mutation=None, init_value, peak_value, warmup_steps, total_steps, decay_steps, tail="1-sqrt", end_value=0.0
):
    """eta f((n - (T - D)) / D) after the plateau."""
    n += mutation == "late_count"
    value = peak_value if mutation == "no_warmup" else _rise(n, init_value, peak_value, warmup_steps)
    begin = total_steps if mutation == "after_the_end" else total_steps - decay_steps
    x = _over(n, begin, decay_steps)
    f = TAILS["linear" if mutation == "other_tail" else tail](x)
    end = 0.0 if mutation == "to_zero" else end_value
    return end + (value - end) * f


@schedule(
    "power_schedule",
    configs=(
        {"peak_value": 0.5, "total_steps": 40, "power": 0.5},
        {"peak_value": 0.5, "total_steps": 40, "power": 2.0, "warmup_steps": 5, "decay_steps": 20, "end_value": 0.1},
    ),
    mutations=("late_count", "linear", "from_the_start"),
    source="2602.06797: eta (1 - t / T)^(2 beta - 1)",
)
def power_schedule(
    n, *, mutation=None, peak_value, total_steps, power, warmup_steps=0, decay_steps=None, init_value=0.0, end_value=0.0
):
    """eta (1 - x)^p."""
    n += mutation == "late_count"
    length = total_steps - warmup_steps if decay_steps is None else decay_steps
    x = _over(n, 0 if mutation == "from_the_start" else total_steps - length, length)
    value = _rise(n, init_value, peak_value, warmup_steps)
    return end_value + (value - end_value) * (1 - x) ** (1.0 if mutation == "linear" else power)


@schedule(
    "inverse_sqrt_schedule",
    configs=(
        {"peak_value": 0.5, "warmup_steps": 5},
        {"peak_value": 0.5, "warmup_steps": 0},
        {
            "peak_value": 0.5,
            "warmup_steps": 5,
            "init_value": 0.1,
            "timescale": 20.0,
            "total_steps": 50,
            "cooldown_steps": 15,
        },
    ),
    mutations=("late_count", "inverse", "no_timescale", "no_cooldown"),
    source="Vaswani et al. 2017, eq. 3: d^-0.5 min(n^-0.5, n w^-1.5)",
)
def inverse_sqrt_schedule(
    n, *, mutation=None, peak_value, warmup_steps, init_value=0.0, timescale=None, total_steps=None, cooldown_steps=0
):
    """eta sqrt(w / n) after w counts; with a timescale eta sqrt(s / (s + n - w))."""
    n += mutation == "late_count"
    s = max(warmup_steps, 1) if timescale is None or mutation == "no_timescale" else timescale
    fall = s / (s + max(n - warmup_steps, 0))
    value = _rise(n, init_value, peak_value, warmup_steps) * (fall if mutation == "inverse" else fall**0.5)
    if total_steps is None or mutation == "no_cooldown":
        return value
    return value * (1 - _over(n, total_steps - cooldown_steps, cooldown_steps))


@schedule(
    "rex_schedule",
    configs=({"init_value": 0.5, "decay_steps": 40}, {"init_value": 0.5, "decay_steps": 20, "end_value": 0.1}),
    mutations=("late_count", "linear", "to_zero"),
    source="Chen et al. 2022, REX: eta (1 - z) / (1/2 + 1/2 (1 - z))",
)
def rex_schedule(n, *, mutation=None, init_value, decay_steps, end_value=0.0):
    """eta (1 - z) / (1/2 + 1/2 (1 - z)), z = n / T."""
    left = 1 - _over(n + (mutation == "late_count"), 0, decay_steps)
    end = 0.0 if mutation == "to_zero" else end_value
    return end + (init_value - end) * (left if mutation == "linear" else left / (0.5 + 0.5 * left))


@schedule(
    "cyclic_schedule",
    configs=(
        {"init_value": 0.1, "peak_value": 0.5, "up_steps": 5},
        {"init_value": 0.1, "peak_value": 0.5, "up_steps": 5, "down_steps": 8, "mode": "triangular2"},
        {"init_value": 0.95, "peak_value": 0.85, "up_steps": 7, "mode": "exponential", "decay_rate": 0.9},
    ),
    mutations=("late_count", "one_cycle", "always_as_high", "symmetric"),
    source="Smith 2017, Sec. 3",
)
def cyclic_schedule(
    n, *, mutation=None, init_value, peak_value, up_steps, down_steps=None, mode="triangular", decay_rate=1.0
):
    """The triangle of PyTorch: cycle = floor(1 + n / total), x = 1 + n / total - cycle."""
    n += mutation == "late_count"
    down = up_steps if down_steps is None or mutation == "symmetric" else down_steps
    total, ratio = up_steps + down, up_steps / (up_steps + down)
    cycle = 1 if mutation == "one_cycle" else math.floor(1 + n / total)
    x = 1 + n / total - cycle
    height = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
    shrink = {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exponential": decay_rate**n}[mode]
    return init_value + (peak_value - init_value) * height * (1.0 if mutation == "always_as_high" else shrink)


def _of(part, n):
    return part(n) if callable(part) else part


CONFIGS = ({"schedules": [fading, rising]}, {"schedules": [rising, 0.25, fading]})


@schedule("add_schedules", configs=CONFIGS, mutations=("product", "first"), source="f(n) + g(n)")
def add_schedules(n, *, mutation=None, schedules):
    """f(n) + g(n)."""
    values = [_of(part, n) for part in schedules]
    return values[0] if mutation == "first" else math.prod(values) if mutation == "product" else sum(values)


@schedule("multiply_schedules", configs=CONFIGS, mutations=("sum", "first"), source="f(n) g(n)")
def multiply_schedules(n, *, mutation=None, schedules):
    """f(n) g(n)."""
    values = [_of(part, n) for part in schedules]
    return values[0] if mutation == "first" else sum(values) if mutation == "sum" else math.prod(values)


@schedule(
    "clip_schedule",
    configs=({"schedule_fn": fading, "min_value": 0.005, "max_value": 0.05}, {"schedule_fn": rising, "max_value": 0.7}),
    mutations=("no_lower", "no_upper", "late_count"),
    source="min(max(f(n), a), b)",
)
def clip_schedule(n, *, mutation=None, schedule_fn, min_value=None, max_value=None):
    """min(max(f(n), a), b)."""
    value = schedule_fn(n + (mutation == "late_count"))
    value = value if min_value is None or mutation == "no_lower" else max(value, min_value)
    return value if max_value is None or mutation == "no_upper" else min(value, max_value)


@schedule(
    "shift_schedule",
    configs=({"schedule_fn": fading, "shift": 5}, {"schedule_fn": rising, "shift": -7}),
    mutations=("other_way", "before_0"),
    source="f(max(n - s, 0))",
)
def shift_schedule(n, *, mutation=None, schedule_fn, shift):
    """f(max(n - s, 0))."""
    moved = n + shift if mutation == "other_way" else n - shift
    return schedule_fn(abs(moved) if mutation == "before_0" else max(moved, 0))

"""Schedules in segments: interpolation, one cycle, warm restarts, warm-ups."""

import math

from . import schedule

LATE = ("late_count",)


def _late(n, mutation):
    return n + (mutation == "late_count")


@schedule(
    "piecewise_interpolate_schedule",
    configs=(
        {"interpolate_type": "linear", "init_value": 0.5, "boundaries_and_scales": {6: 2.0, 17: 0.1}},
        {"interpolate_type": "cosine", "init_value": 0.5, "boundaries_and_scales": {17: 0.1, 6: 2.0}},
        {"interpolate_type": "cosine", "init_value": 0.5},
    ),
    mutations=(*LATE, "no_cosine", "added"),
    source="v_i = v_(i-1) s_i, interpolated linearly or with half a cosine",
)
def piecewise_interpolate(n, *, mutation=None, interpolate_type, init_value, boundaries_and_scales=None):
    """v_(i-1) + (v_i - v_(i-1)) x in the segment of n."""
    n = _late(n, mutation)
    begin, value = 0, init_value
    for boundary, scale in sorted((boundaries_and_scales or {}).items()):
        new = init_value * scale if mutation == "added" else value * scale
        if n < boundary:
            x = (n - begin) / (boundary - begin)
            if interpolate_type == "cosine" and mutation != "no_cosine":
                x = 0.5 - 0.5 * math.cos(math.pi * x)
            return value + (new - value) * x
        begin, value = boundary, new
    return value


@schedule(
    "linear_onecycle_schedule",
    configs=(
        {"transition_steps": 40, "peak_value": 0.5},
        {"transition_steps": 50, "peak_value": 0.5, "pct_start": 0.1},
    ),
    mutations=(*LATE, "no_third"),
    source="Smith & Topin 2018: three linear phases",
)
def linear_onecycle(
    n,
    *,
    mutation=None,
    transition_steps,
    peak_value,
    pct_start=0.3,
    pct_final=0.85,
    div_factor=25,
    final_div_factor=1e4,
):
    """Corners (0, p / d), (a T, p), (b T, p / d), (T, p / (d f))."""
    n, low = _late(n, mutation), peak_value / div_factor
    end = low if mutation == "no_third" else low / final_div_factor
    boundaries = [0, int(pct_start * transition_steps), int(pct_final * transition_steps), transition_steps]
    values = [low, peak_value, low, end]
    for i in range(3):
        if n < boundaries[i + 1]:
            x = (n - boundaries[i]) / (boundaries[i + 1] - boundaries[i])
            return values[i] + (values[i + 1] - values[i]) * x
    return end


@schedule(
    "cosine_onecycle_schedule",
    configs=(
        {"transition_steps": 40, "peak_value": 0.5},
        {"transition_steps": 50, "peak_value": 0.5, "div_factor": 4.0},
    ),
    mutations=(*LATE, "lines"),
    source="Smith & Topin 2018, with cosines",
)
def cosine_onecycle(
    n, *, mutation=None, transition_steps, peak_value, pct_start=0.3, div_factor=25.0, final_div_factor=1e4
):
    """Half a cosine from p / d to p, and one from p to p / (d f)."""
    n, top = _late(n, mutation), int(pct_start * transition_steps)
    low, end = peak_value / div_factor, peak_value / (div_factor * final_div_factor)
    a, b, x = (low, peak_value, n / top) if n < top else (peak_value, end, (n - top) / (transition_steps - top))
    x = min(x, 1)
    return a + (b - a) * (x if mutation == "lines" else (1 - math.cos(math.pi * x)) / 2)


def _warm(n, init_value, peak_value, warmup_steps):
    return init_value + (peak_value - init_value) * n / warmup_steps


@schedule(
    "warmup_constant_schedule",
    configs=(
        {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 7},
        {"init_value": 0, "peak_value": 1, "warmup_steps": 0},
    ),
    mutations=(*LATE, "no_warmup"),
    source="linear, then constant",
)
def warmup_constant(n, *, mutation=None, init_value, peak_value, warmup_steps):
    """Linear to peak_value, then constant."""
    n = _late(n, mutation)
    return (
        peak_value if n >= warmup_steps or mutation == "no_warmup" else _warm(n, init_value, peak_value, warmup_steps)
    )


@schedule(
    "warmup_exponential_decay_schedule",
    configs=(
        {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 7, "transition_steps": 4, "decay_rate": 0.7},
        {
            "init_value": 0.1,
            "peak_value": 0.5,
            "warmup_steps": 7,
            "transition_steps": 4,
            "decay_rate": 0.7,
            "transition_begin": 3,
            "staircase": True,
            "end_value": 0.05,
        },
    ),
    mutations=(*LATE, "no_begin", "from_zero"),
    source="linear, then p r^(n / T)",
)
def warmup_exponential(
    n,
    *,
    mutation=None,
    init_value,
    peak_value,
    warmup_steps,
    transition_steps,
    decay_rate,
    transition_begin=0,
    staircase=False,
    end_value=0.0,
):
    """Linear to peak_value, then exponential decay from there."""
    n = _late(n, mutation)
    if n < warmup_steps:
        return _warm(n, init_value, peak_value, warmup_steps)
    done = n - (0 if mutation == "from_zero" else warmup_steps)
    x = max(done - (0 if mutation == "no_begin" else transition_begin), 0) / transition_steps
    return max(peak_value * decay_rate ** (math.floor(x) if staircase else x), end_value)


PERIODS = [
    {"init_value": 0.0, "peak_value": 0.5, "decay_steps": 9, "warmup_steps": 3},
    {"init_value": 0.1, "peak_value": 0.3, "decay_steps": 15, "warmup_steps": 0, "end_value": 0.05, "exponent": 2.0},
    {"init_value": 0.1, "peak_value": 0.2, "decay_steps": 10, "warmup_steps": 4},
]


@schedule(
    "sgdr_schedule",
    configs=({"cosine_kwargs": PERIODS},),
    mutations=(*LATE, "no_restart"),
    source="Loshchilov & Hutter 2017, SGDR, Eq. 5, with warm-ups",
)
def sgdr(n, *, mutation=None, cosine_kwargs):
    """In each period linear warm-up, then e + (p - e) ((1 + cos(pi x)) / 2)^k."""
    n = _late(n, mutation)
    for i, period in enumerate(cosine_kwargs):
        last = i == len(cosine_kwargs) - 1 or mutation == "no_restart"
        if n >= period["decay_steps"] and not last:
            n -= period["decay_steps"]
            continue
        peak, end, warm = period["peak_value"], period.get("end_value", 0.0), period["warmup_steps"]
        if n < warm:
            return _warm(n, period["init_value"], peak, warm)
        x = min((n - warm) / (period["decay_steps"] - warm), 1)
        return end + (peak - end) * ((1 + math.cos(math.pi * x)) / 2) ** period.get("exponent", 1.0)
    raise AssertionError

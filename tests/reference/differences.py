"""Where this library and Optax 0.2.8 differ on purpose; docs/differences.md is made of it, and of the docstrings."""

# Where this library differs on purpose, and DESIGN or the docstring says so.
DIFFERS = {
    "adaptive_grad_clip-1": "Optax has no axis for scalar leaves",
    "apply_every": "the count goes on",
    "apply_every-1": "the count goes on",
    "chain": "Optax refuses an empty chain",
    "monitor": "Optax has no measurements before the first update",
    **dict.fromkeys(["adafactor-2", "scale_by_factored_rms-1"], "before the offset Optax gives NaN"),
    "normalize": "Optax gives NaN for a zero gradient",
    **{f"MultiSteps{i}": "Optax accumulates in float32: see test_optax_wrappers.py" for i in ("", "-1", "-2", "-3")},
    **{f"lookahead{i}": "Optax has no plain parameters: see test_optax_wrappers.py" for i in ("", "-1")},
    "selective_transform-1": "Optax freezes everything where the mask is a function",
    "scale_by_adopt-2": "Optax gives NaN for a zero denominator",
    "schedule_free-1": "Optax weighs an update with the next learning rate",
    "schedule_free_adamw-1": "as schedule_free",
    "schedule_free_sgd-1": "as schedule_free",
    "warmup_constant_schedule-1": "without warm-up steps Optax stays at the first value",
}

# Where Optax 0.2.8 departs from the paper, in every row of the name.
FAULTS = {
    **dict.fromkeys(["scale_by_acprop", "acprop"], "the second moment's distance is from the mean before this update"),
    **dict.fromkeys(["scale_by_adan", "adan"], "1 - b2 stands where the paper and its code have b2"),
    **dict.fromkeys(["scale_by_sm3", "sm3"], "Optax fails on scalars: see tests/units/test_leafwise.py"),
    **dict.fromkeys(["scale_by_muon"], "Optax needs dimension numbers: see tests/units/test_leafwise.py"),
    "sophia": "mu is corrected, and divided by the curvature before this update's",
    **dict.fromkeys(
        ["scale_by_rprop", "rprop"], "each update is that of the step before, or 0 where the gradient turns"
    ),
}

# What Optax computes in float32 also where float64 is enabled.
COARSE = {
    **dict.fromkeys(["scale_by_factored_rms", "scale_by_galore", "galore", "scale_by_madgrad", "madgrad"], 1e-5),
    "adafactor": 1e-4,
}

# Where sums cancel, in float32 the rounding of Optax or of both is seen; the same rows agree to 1e-9 in float64.
COARSE_IN_FLOAT32 = {
    **dict.fromkeys(["mechanize", "mechanize-1"], "sums over the tree cancel"),
    **dict.fromkeys(["momo-2", "momo_adam-2"], "the model's value is a difference of averages"),
    "scale_by_radam": "Optax's rectification loses its digits in the first steps",
}

# Compared in tests of their own, with what they need: a function, a line, real problems.
TESTED_APART = {
    "scale_by_distance_over_gradients": "tests/units/test_leafwise.py",
    "stateless": "tests/units/test_compose.py",
    "lbfgs": "tests/units/test_lbfgs.py",
    "scale_by_lbfgs": "tests/units/test_lbfgs.py",
    "scale_by_backtracking_linesearch": "tests/units/test_linesearch.py",
    "scale_by_zoom_linesearch": "tests/units/test_linesearch.py",
}

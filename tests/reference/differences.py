"""The deliberate differences from Optax 0.2.8. docs/differences.md is generated from them and from the docstrings."""

# Deliberate differences: row -> reason.
DIFFERS = {
    "adaptive_grad_clip-1": "Optax has no axis for scalar leaves",
    **dict.fromkeys(["add_decayed_weights-3", "add_decayed_weights-4"], "Optax has no modes of weight decay"),
    "apply_every": "the count continues; Optax restarts it after every k updates",
    "apply_every-1": "the count continues; Optax restarts it after every k updates",
    "chain": "Optax refuses an empty chain",
    "monitor": "Optax has no measurements before the first update",
    **dict.fromkeys(["adafactor-2", "scale_by_factored_rms-1"], "before the offset Optax gives NaN"),
    "normalize": "Optax gives NaN for a zero gradient",
    **{f"MultiSteps{i}": "Optax accumulates in float32: see test_optax_wrappers.py" for i in ("", "-1", "-2", "-3")},
    **{f"lookahead{i}": "Optax requires `LookaheadParams`: see test_optax_wrappers.py" for i in ("", "-1")},
    "selective_transform-1": "Optax freezes everything if the mask is a function",
    "scale_by_adopt-2": "Optax gives NaN for a zero denominator",
    "schedule_free-1": "Optax weights an update by the next learning rate",
    **dict.fromkeys(["schedule_free_adamw-1", "schedule_free_sgd-1"], "as schedule_free, and its warm-up starts at 0"),
    "warmup_constant_schedule-1": "without warm-up steps Optax stays at the initial value",
}

# Optax 0.2.8 differs from the paper, for all examples of the name.
FAULTS = {
    **dict.fromkeys(
        ["scale_by_acprop", "acprop"], "Optax takes the distance in the second moment from the mean before this update"
    ),
    "scale_by_adan": "Optax has 1 - b2 where the paper and its code have b2",
    "adan": "as scale_by_adan; the paper divides the new point by 1 + lr w, which `proximal_decay=False` leaves out",
    **dict.fromkeys(["scale_by_sm3", "sm3"], "Optax fails on scalars: see tests/units/test_leafwise.py"),
    "scale_by_muon": "Optax needs dimension numbers: see tests/units/test_leafwise.py",
    "sophia": "Optax bias-corrects mu, and divides it by the previous update's curvature",
    **dict.fromkeys(
        ["scale_by_rprop", "rprop"], "Optax returns the previous step's update, or 0 where the gradient changes sign"
    ),
}

# Optax 0.2.8 differs from the paper, and an argument gives its numbers: `optim.interop.optax.with_optax_rules` sets it.
OPTIONS = {
    "centralize": "the mean is over all axes but the last, the inputs of a unit; in Optax over all but the first: "
    "`output_axis=0`",
    **dict.fromkeys(
        ["scale_by_galore", "galore"],
        "the short side of a matrix is projected; in Optax the long side, so that moments are smaller and the "
        'projector is larger: `projected_side="long"`',
    ),
    "lars": "with weight decay w the trust ratio divides by the norm of g plus that of w p; in Optax by the norm of "
    "g + w p: `decayed_norm=True`",
    **dict.fromkeys(
        ["momo", "momo_adam"],
        "weight decay divides the whole new point, (p - s m) / (1 + lr w), which meets the model's bound; in Optax it "
        "is p / (1 + lr w) - s m: `decay_step=False`",
    ),
    **dict.fromkeys(
        ["scale_by_muon", "muon"],
        "means are not bias-corrected, as in Jordan's code and PyTorch; in Optax they are, which with Nesterov "
        "momentum changes the direction by 16 % at step 2 and 1 % at step 10: `bias_correction=True`",
    ),
}

# Tolerances where Optax computes in float32 even if float64 is enabled.
COARSE = {
    **dict.fromkeys(["scale_by_factored_rms", "scale_by_galore", "galore", "scale_by_madgrad", "madgrad"], 1e-5),
    "adafactor": 1e-4,
}

# Cancellation makes the float32 rounding of Optax, or of both, visible; the same rows agree to 1e-9 in float64.
COARSE_IN_FLOAT32 = {
    **dict.fromkeys(["mechanize", "mechanize-1"], "sums over the tree cancel"),
    **dict.fromkeys(["momo-2", "momo_adam-2"], "the model's value is a difference of averages"),
    "scale_by_radam": "Optax's rectification loses precision in the first steps",
}

# Compared in separate tests, which pass a function or run on real problems.
TESTED_APART = {
    "scale_by_distance_over_gradients": "tests/units/test_leafwise.py",
    "stateless": "tests/units/test_compose.py",
    "lbfgs": "tests/units/test_lbfgs.py",
    "scale_by_lbfgs": "tests/units/test_lbfgs.py",
    "scale_by_backtracking_linesearch": "tests/units/test_linesearch.py",
    "scale_by_zoom_linesearch": "tests/units/test_linesearch.py",
}

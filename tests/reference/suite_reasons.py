"""Why tests of Optax fail here: a pattern of `test: message`, the kind of reason, and the reason."""

from typing import NamedTuple

PRIVATE = "private name"
DIFFERENT = "documented difference"
FAULT = "fault"


class Reason(NamedTuple):
    """`text` says what is missing; for a difference it is the beginning of its row on the differences page."""

    pattern: str
    kind: str
    text: str


_RANGE = "a hyperparameter out of its range is an error when the factory is called"
_SENTENCE = "an error is one sentence"
_MASKED = "masked-out leaves are `None`"
_WIDE = "the state's dtypes are fixed at `init`; slow averages are float32"
_INJECTED = "hyperparameters in `inject_hyperparams` are float32 or wider"

REASONS = [
    # A captured name must not be public in Optax.
    Reason(r"has no public name '(\w+)' here", PRIVATE, "the test is of a private function"),
    Reason(r"test_abs_sqr_hlo_equivalence", PRIVATE, "the test is of a private function"),
    # Differences
    Reason(r"(increase_factor|transition_steps|decay_rate) must be >=? ", DIFFERENT, _RANGE),
    Reason(r"test_lion_invalid_mode_raises: .* mode must be", DIFFERENT, _RANGE),
    Reason(r"must be a prefix of the parameters' tree", DIFFERENT, _SENTENCE),
    Reason(r'"divisible" does not match "microbatch: ', DIFFERENT, _SENTENCE),
    Reason(r'"Incompatible shapes for broadcasting" does not match "multi_normal: ', DIFFERENT, _SENTENCE),
    Reason(r"test_masked_state_structure", DIFFERENT, _MASKED),
    Reason(r"None is not an instance of <class '.*MaskedNode'>", DIFFERENT, _MASKED),
    Reason(r"test_mu_dtype_controls_moment_dtype", DIFFERENT, _WIDE),
    Reason(r"ScheduleFreeTest::test_explicit_dtype.* dtype\(bfloat16\) != dtype\('float32'\)", DIFFERENT, _WIDE),
    Reason(r"test_hyperparam_default_dtype", DIFFERENT, _INJECTED),
    Reason(r"test_explicit_dtype.* != dtype\('complex64'\)", DIFFERENT, "a slot of a complex parameter is complex"),
    Reason(r"scale_by_polyak: updates is a tuple", DIFFERENT, "the gradient must have the parameter's shape"),
    Reason(r"test_tree_get .*KeyError not raised", DIFFERENT, "`tree.get`"),
    Reason(r"test_tree_div", DIFFERENT, "functions of `optim.tree` return JAX's arrays"),
    Reason(r"tree\.\w+: tree_y has shape", DIFFERENT, "functions of `optim.tree` need leaves of the same shape"),
    Reason(
        r"apply_updates: updates is an array, params is None", DIFFERENT, "an update for a parameter that is `None`"
    ),
    Reason(r"linesearch_raises_on_unused_extra_args", DIFFERENT, "`scale_by_backtracking_linesearch`"),
    Reason(r"GaLoreTest::.* Tuples differ", DIFFERENT, "`scale_by_galore`"),
    Reason(r"LBFGSTest::test_against_plain_implementation[23]", DIFFERENT, "`scale_by_lbfgs`"),
    Reason(r"test_clip_by_block_rms: .*within 7 places", DIFFERENT, "a clip multiplies by one factor"),
    Reason(r"test_unitwise_norm_with_axis: .*ValueError not raised", DIFFERENT, "`adaptive_grad_clip`"),
    Reason(r"WarmupCosineDecayTest::test_zero_peak_value", DIFFERENT, "`warmup_cosine_decay_schedule`"),
    Reason(r"schedule_free_\w+: learning_rate must be a number if", DIFFERENT, "`schedule_free_sgd` and"),
    Reason(r"PRNGKey dtype cannot be converted to a NumPy array", DIFFERENT, "the key in the state of"),
    Reason(r"KLDivergenceTest::test_deprecated_alias", DIFFERENT, "`convex_kl_divergence` gives no warning"),
    Reason(r"DeprecationWarning not triggered", DIFFERENT, "`optimistic_adam` does not warn"),
    Reason(r"DiceLossTest::test_probability_validation", DIFFERENT, "with `apply_softmax=False`"),
    # Faults
    Reason(r"has dtype (int\d+|bool), expected a floating or complex one", FAULT, "integer gradients are refused"),
    Reason(r"state must be an EmptyState, got (\{\}|0)", FAULT, "a stateless transformation refuses other states"),
    Reason(r"test_safe_increment_exceptions1", FAULT, "a complex count is an error of JAX's, with another type"),
    Reason(r"multi_normal: log_scale must have the shape of loc", FAULT, "loc is not broadcast to log_scale"),
    Reason(
        r"inject_hyperparams(10|14).*Trees have different structures",
        FAULT,
        "it changes the state's structure",
    ),
]

"""Step by step against Optax, as an oracle: the same updates, and the same state by structure."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import ROWS, Row, grads, inexact, tree

optax = pytest.importorskip("optax", reason="Optax is a test dependency")

# Where this library differs on purpose, and DESIGN or the docstring says so.
DIFFERS = {
    "adaptive_grad_clip-1": "Optax has no axis for scalar leaves",
    "apply_every": "the count goes on",
    "apply_every-1": "the count goes on",
    "chain": "Optax refuses an empty chain",
    "monitor": "Optax has no measurements before the first update",
    **dict.fromkeys(["adafactor-2", "scale_by_factored_rms-1"], "before the offset Optax gives NaN"),
    "normalize": "Optax gives NaN for a zero gradient",
    **{f"MultiSteps{i}": "Optax accumulates in float32: see test_optax_wrappers" for i in ("", "-1", "-2", "-3")},
    **{f"lookahead{i}": "Optax has no plain parameters: see test_optax_wrappers" for i in ("", "-1")},
    "scale_by_adamax-2": "Optax gives NaN for a zero denominator",
    "selective_transform-1": "Optax freezes everything where the mask is a function",
    "scale_by_adopt-2": "Optax gives NaN for a zero denominator",
    "schedule_free-1": "Optax weighs an update with the next learning rate",
    "schedule_free_adamw-1": "as schedule_free",
    "schedule_free_sgd-1": "as schedule_free",
    "stateless": "an argument of its own",
    "warmup_constant_schedule-1": "without warm-up steps Optax stays at the first value",
}

# Where Optax 0.2.8 departs from the paper, in every row of the name.
FAULTS = {
    **dict.fromkeys(["scale_by_acprop", "acprop"], "the second moment's distance is from the mean before this update"),
    **dict.fromkeys(["scale_by_adan", "adan"], "1 - b2 stands where the paper and its code have b2"),
    "scale_by_distance_over_gradients": "how far a matrix has come is measured in the spectral norm",
    **dict.fromkeys(["scale_by_sm3", "sm3"], "Optax fails on scalars: see test_matrices_are_optax"),
    **dict.fromkeys(["scale_by_muon"], "Optax needs dimension numbers: see test_matrices_are_optax"),
    "sophia": "every update has the size of the clip, whatever the curvature",
    **dict.fromkeys(["scale_by_rprop", "rprop"], "each update is that of the step before, the first is 0"),
}

# What Optax computes in float32 also where float64 is enabled.
COARSE = {
    **dict.fromkeys(["scale_by_factored_rms", "adafactor", "scale_by_galore", "galore"], 1e-5),
    "scale_by_madgrad": 1e-5,
    "madgrad": 1e-5,
}


def theirs_of(name):
    """What Optax has under this name, in its contrib package or outside."""
    return getattr(optax.contrib, name, None) or getattr(optax, name, None)


SHARED = [r for r in ROWS if theirs_of(r.entry.name) and r.id not in DIFFERS and r.entry.name not in FAULTS]


def theirs(x):
    """An argument as Optax takes it: our schedules are functions, our transformations pairs."""
    if isinstance(x, optim.GradientTransformation):
        return optax.GradientTransformationExtraArgs(*x)
    if isinstance(x, tuple):
        return tuple(map(theirs, x))
    if isinstance(x, dict):
        return {k: theirs(v) for k, v in x.items()}
    return x


def make(row: Row):
    args, kwargs = map(theirs, (row.example.args, dict(row.example.kwargs)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if row.entry.name in ("add_noise", "noisy_sgd"):
            bound = row.entry.signature.bind(*args, **kwargs)
            bound.arguments["key"] = bound.arguments.pop("seed", bound.arguments.get("key"))
            return theirs_of(row.entry.name)(**bound.arguments)
        return row.given(theirs_of(row.entry.name)(*args, **kwargs))


def stream(params):
    """Zero first, tiny, ordinary, large."""
    return [
        jax.tree.map(lambda g, s=scale: s * g, grads(params, n)) for n, scale in enumerate((1e-3, 1.0, 0.0, 30.0, 1.0))
    ]


@pytest.mark.parametrize("row", SHARED, ids=lambda r: r.id)
def test_same_steps(row, x64, standard_promotion):
    ours, other = row.make(), make(row)
    params = params_other = tree(jnp.float64)
    state, state_other = ours.init(params), other.init(params)
    rtol = max(tolerance(state), COARSE.get(row.entry.name, 0))
    step, step_other = jax.jit(ours.update), jax.jit(other.update)
    for g in stream(params):
        u, state = step(g, state, params)
        v, state_other = step_other(g, state_other, params_other)
        assert_close(u, v, rtol)
        params, params_other = optim.apply_updates(params, u), optax.apply_updates(params_other, v)
    # By structure: what Optax saved restores here, leaf for leaf.
    mine, others = jax.tree.leaves(state), jax.tree.leaves(state_other)
    assert [x.shape for x in mine] == [x.shape for x in others]
    assert_close(mine, others, rtol)
    restored = jax.tree.unflatten(jax.tree.structure(state), others)
    assert_close(step(g, restored, params)[0], step_other(g, state_other, params_other)[0], rtol)


def tolerance(state):
    """float64 to 1e-9; where a slot is kept narrower by name, to that slot's precision."""
    return max(
        [1e-9]
        + [10 * float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(state) if inexact(x) and x.dtype != jnp.float64]
    )


def assert_close(a, b, rtol):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if inexact(x):
            np.testing.assert_allclose(np.asarray(x, np.float64), np.asarray(y, np.float64), rtol=rtol, atol=1e-9)


def test_enough_is_compared():
    assert len({r.entry.name for r in SHARED}) > 35


FIELDS = [
    n
    for n in dir(optim)
    if inspect.isclass(getattr(optim, n)) and hasattr(getattr(optim, n), "_fields") and hasattr(theirs_of(n), "_fields")
]


@pytest.mark.parametrize("name", FIELDS)
def test_state_fields(name):
    assert getattr(optim, name)._fields == theirs_of(name)._fields


OTHER_DEFAULTS = {("MultiSteps", "accumulator_dtype"): "the parameter's, at least float32: float64 stays"}


@pytest.mark.parametrize("name", sorted({e.name for e in optim.entries() if theirs_of(e.name)}))
def test_signature(name):
    """Every parameter of theirs has its name, place and default here; what is ours alone comes after."""

    def shape(f):
        found = inspect.signature(f).parameters.values()
        return [(p.name, p.kind, default(p)) for p in found]

    def default(p):
        other = inspect.isfunction(p.default) or (name, p.name) in OTHER_DEFAULTS
        return "another" if other else p.default

    ours, other = shape(getattr(optim, name)), shape(theirs_of(name))
    assert ours[: len(other)] == other


SCHEDULES = [(e, i) for e in optim.entries("schedule") if hasattr(optax, e.name) for i in range(len(e.examples))]
SCHEDULES = [(e, i) for e, i in SCHEDULES if f"{e.name}-{i}" not in DIFFERS]


@pytest.mark.parametrize(("entry", "i"), SCHEDULES, ids=[f"{e.name}-{i}" for e, i in SCHEDULES])
def test_schedules(entry, i, standard_promotion):
    example = entry.examples[i]
    ours = entry(*example.args, **example.kwargs)
    other = getattr(optax, entry.name)(*example.args, **example.kwargs)
    for count in range(25):
        np.testing.assert_allclose(ours(count), other(count), rtol=2e-6, atol=1e-9)


def test_inject_hyperparams(standard_promotion):
    def build(lib):
        return lib.inject_hyperparams(lib.adam)(learning_rate=lib.linear_schedule(0.1, 0.0, 5), b1=0.8)

    ours, other, params = build(optim), build(optax), tree()
    state, state_other = ours.init(params), other.init(params)
    assert type(state).__name__ == type(state_other).__name__
    assert sorted(state.hyperparams) == sorted(state_other.hyperparams)
    for g in stream(params)[1:]:
        u, state = ours.update(g, state, params)
        v, state_other = other.update(g, state_other, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), u, v)
    np.testing.assert_allclose(state.hyperparams["learning_rate"], state_other.hyperparams["learning_rate"], rtol=1e-6)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(state_other))


def test_each_in_the_others_chain(standard_promotion):
    params = tree()
    mixed = optim.chain(optax.clip_by_global_norm(1.0), optim.scale_by_adam(), optax.scale(-0.1))
    outer = optax.chain(optim.clip_by_global_norm(1.0), optim.scale_by_adam(), optim.scale(-0.1))
    ours = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1))
    expected, _ = ours.update(grads(params), ours.init(params), params)
    for tx in (mixed, outer):
        u, _ = jax.jit(tx.update)(grads(params), tx.init(params), params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), u, expected)

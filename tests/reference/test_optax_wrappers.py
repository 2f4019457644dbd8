"""Step by step comparison of wrappers with Optax, for cases that the sweep cannot express."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import grads, tree

optax = pytest.importorskip("optax", reason="Optax is a test dependency")
contrib = optax.contrib

pytestmark = pytest.mark.usefixtures("x64", "standard_promotion")
PARAMS = jax.tree.map(np.float64, tree())


def same(a, b, rtol=1e-9):
    """Equal leaf by leaf, so that a state saved by Optax can be restored here."""
    mine, others = jax.tree.leaves(a), jax.tree.leaves(b)
    assert [jnp.shape(x) for x in mine] == [jnp.shape(x) for x in others]
    for x, y in zip(mine, others, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=1e-12)


def together(ours, other, steps=7, params=PARAMS, gs=None, extra=None, each=None):
    """Run both from the same parameters; updates and states are equal at every step."""
    params_other, state, state_other = params, ours.init(params), other.init(params)
    step, step_other = jax.jit(ours.update), jax.jit(other.update)
    for n in range(steps):
        g = gs[n] if gs else grads(PARAMS, n)
        more = {k: v[n] for k, v in (extra or {}).items()}
        u, state = step(g, state, params, **more)
        v, state_other = step_other(g, state_other, params_other, **more)
        same(u, v)
        same(state, state_other)
        if each:
            each(state, state_other)
        params, params_other = optim.apply_updates(params, u), optax.apply_updates(params_other, v)
    same(params, params_other)
    return state


def every(count):
    return jnp.where(count < 2, 1, 3)


@pytest.mark.parametrize(
    "arguments",
    [{"every_k_schedule": 3}, {"every_k_schedule": 2, "use_grad_mean": False}, {"every_k_schedule": every}],
    ids=["mean", "sum", "schedule"],
)
def test_multi_steps(arguments):
    arguments = {**arguments, "accumulator_dtype": jnp.float64}
    ours = optim.MultiSteps(optim.adam(0.1), **arguments)
    other = optax.MultiSteps(optax.adam(0.1), **arguments)
    together(ours, other, each=lambda s, t: same(ours.has_updated(s), other.has_updated(t)))


@pytest.mark.parametrize(
    "conditions",
    [
        (optim.skip_not_finite, optax.skip_not_finite),
        tuple(functools.partial(lib.skip_large_updates, max_squared_norm=20.0) for lib in (optim, optax)),
    ],
    ids=["not_finite", "large"],
)
def test_multi_steps_that_skip(conditions):
    gs = [grads(PARAMS, n) for n in range(7)]
    gs[1]["w"] = gs[1]["w"].at[0, 0].set(jnp.nan)
    gs[4]["b"] = 10 * gs[4]["b"]
    ours, other = (
        lib.MultiSteps(lib.adam(0.1), 2, should_skip_update_fn=condition, accumulator_dtype=jnp.float64)
        for lib, condition in zip((optim, optax), conditions, strict=True)
    )
    together(ours, other, gs=gs)


def test_skip_functions():
    bad = {**grads(PARAMS), "b": jnp.array([jnp.inf, jnp.nan])}
    for g in (grads(PARAMS), bad, {}):
        same(optim.skip_not_finite(g, jnp.int32(0), None), optax.skip_not_finite(g, jnp.int32(0), None))
        if g:
            for bound in (1.0, 100.0):
                mine, others = (lib.skip_large_updates(g, jnp.int32(0), None, bound) for lib in (optim, optax))
                same(mine, others)
    exact = {"w": jnp.array([3.0, 4.0])}
    assert [bool(lib.skip_large_updates(exact, 0, None, 25.0)[0]) for lib in (optim, optax)] == [True, True]


@pytest.mark.parametrize("reset", [False, True])
def test_lookahead(reset):
    ours = optim.lookahead(optim.adam(0.1), 3, 0.4, reset)
    other = optax.lookahead(optax.adam(0.1), 3, 0.4, reset)
    pair = optim.LookaheadParams.init_synced(PARAMS)
    pair_other = optax.LookaheadParams.init_synced(PARAMS)
    plain, theirs = PARAMS, pair_other  # and this library's lookahead with Optax's class of parameters
    state, state_other, plain_state, mixed_state = ours.init(pair), other.init(pair_other), ours.init(plain), None
    mixed_state = ours.init(theirs)
    for n in range(7):
        g = grads(PARAMS, n)
        u, state = ours.update(g, state, pair)
        v, state_other = other.update(g, state_other, pair_other)
        w, plain_state = ours.update(g, plain_state, plain)
        x, mixed_state = ours.update(g, mixed_state, theirs)
        assert isinstance(u, optim.LookaheadParams)
        assert isinstance(x, optax.LookaheadParams)
        same(u, v)
        same(x, v)
        same(w, v.fast)
        same(state, state_other)
        pair, pair_other = optim.apply_updates(pair, u), optax.apply_updates(pair_other, v)
        plain, theirs = optim.apply_updates(plain, w), optax.apply_updates(theirs, x)
        same(optim.eval_params(ours, plain_state, plain), pair_other.slow)
        same(optim.eval_params(ours, state, pair), pair_other.slow)


PLATEAUS = [
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "factor": 0.3, "cooldown": 2, "min_scale": 0.05},
    {"patience": 2, "accumulation_size": 3, "rtol": 0.05},
    {"patience": 3, "rtol": 0.0, "atol": 0.1, "cooldown": 1},
    {"patience": 2, "rtol": 0.02, "atol": 0.05, "accumulation_size": 2, "cooldown": 1},
]


def losses(seed):
    rng = np.random.default_rng(seed)
    falling = np.exp(-np.arange(40) / 15) + 0.2 * rng.random(40)
    falling[seed % 7 + 5] = np.nan if seed % 2 else np.inf
    return list(jnp.asarray(falling))


@pytest.mark.parametrize("i", range(len(PLATEAUS)))
def test_reduce_on_plateau(i):
    ours, other = optim.reduce_on_plateau(**PLATEAUS[i]), contrib.reduce_on_plateau(**PLATEAUS[i])
    values = losses(i)
    state = together(ours, other, 40, gs=[grads(PARAMS, n) for n in range(40)], extra={"value": values})
    assert state.scale < 1


def test_reduce_on_plateau_of_a_negative_loss_is_the_difference():
    ours, other = (f(0.5, patience=2) for f in (optim.reduce_on_plateau, contrib.reduce_on_plateau))
    state, state_other = ours.init(PARAMS), other.init(PARAMS)
    for _ in range(5):
        _, state = ours.update(grads(PARAMS), state, value=-1.0)
        _, state_other = other.update(grads(PARAMS), state_other, value=-1.0)
    assert float(state.scale) == 0.25
    assert float(state_other.scale) == 1.0


def test_selective_transform_and_freeze():
    mask = {"w": True, "b": False, "deep": False}
    together(
        optim.selective_transform(optim.adam(0.1), freeze_mask=mask),
        optax.selective_transform(optax.adam(0.1), freeze_mask=mask),
    )
    together(optim.freeze(mask), optax.freeze(mask))


@pytest.mark.parametrize("name", ["conditionally_mask", "conditionally_transform"])
def test_conditions_receive_extra_arguments(name):
    def condition(step, *, enabled, **_):
        return enabled & (step != 4)

    ours, other = (getattr(lib, name)(lib.adam(0.1), condition, forward_extra_args=True) for lib in (optim, optax))
    together(ours, other, extra={"enabled": [jnp.asarray(n % 3 != 1) for n in range(7)]})


def test_apply_if_finite_applies_after_too_many_errors():
    gs = [grads(PARAMS, n) for n in range(9)]
    for n in (1, 2, 4, 5, 6):
        gs[n]["b"] = gs[n]["b"].at[0].set(jnp.nan)
    together(optim.apply_if_finite(optim.trace(0.9), 2), optax.apply_if_finite(optax.trace(0.9), 2), 9, gs=gs)


@pytest.mark.parametrize("arguments", [{}, {"sync_period": 3, "reset_state": False}], ids=["two", "three"])
@pytest.mark.parametrize("opaque", [False, True], ids=["plain", "opaque"])
def test_sam(arguments, opaque):
    def f(p, i=0):
        return jax.tree.map(lambda x: jnp.sin(3 * x) + 0.1 * i, p)

    def build(lib, of):
        outer = lib.chain(lib.add_decayed_weights(0.1), lib.sgd(0.1, 0.9))
        return of(outer, lib.sgd(0.05, 0.5), opaque_mode=opaque, **arguments)

    ours, other = build(optim, optim.sam), build(optax, contrib.sam)
    params = params_other = PARAMS
    state, state_other = ours.init(params), other.init(params)
    more = {"grad_fn": f} if opaque else {}
    for _ in range(7):
        u, state = ours.update(f(params), state, params, **more)
        v, state_other = other.update(f(params_other), state_other, params_other, **more)
        same(u, v)
        same(state, state_other)
        params, params_other = optim.apply_updates(params, u), optax.apply_updates(params_other, v)


def test_sam_averages_over_a_mapped_axis():
    p, g = jnp.array([[1.0, -2.0]] * 2), jnp.array([[1.0, 2.0], [3.0, 5.0]])

    def run(lib, of):
        tx = of(lib.sgd(0.1, 0.9), lib.sgd(0.05), opaque_mode=True, batch_axis_name="b")

        def step(g, p):
            return tx.update(g, tx.init(p), p, grad_fn=lambda q, i: g * q)

        return jax.vmap(step, axis_name="b")(g, p)

    same(run(optim, optim.sam), run(optax, contrib.sam))
    u = run(optim, optim.sam)[0]
    np.testing.assert_array_equal(u[0], u[1])


@pytest.mark.parametrize("arguments", [{}, {"weight_decay": 0.1, "s_init": 1e-3, "num_betas": 3}])
def test_mechanize(arguments):
    ours = optim.mechanize(optim.adam(0.1), **arguments)
    other = contrib.mechanize(optax.adam(0.1), **arguments)
    together(ours, other, 12)


def test_flatten_and_split():
    together(optim.flatten(optim.adam(0.1)), optax.flatten(optax.adam(0.1)))
    params = {"c": jnp.array([1 + 2j, 3 - 1j]), "r": jnp.ones(2)}
    ours = optim.split_real_and_imaginary(optim.adam(0.1))
    other = contrib.split_real_and_imaginary(optax.adam(0.1))
    gs = [jax.tree.map(lambda p, n=n: p * (0.5 + 0.1j * n) if jnp.iscomplexobj(p) else p, params) for n in range(4)]
    together(ours, other, 4, params, gs)


class Rising:
    """A stateful schedule."""

    def init(self):
        return {"n": 0, "total": 0.0}

    def update(self, state, *, value=0.0, **extra):
        return {"n": state["n"] + 1, "total": state["total"] + value}

    def __call__(self, state, *, value=0.0, **extra):
        return 0.1 * (1 + state["n"]) + state["total"] + value


def test_inject_stateful_hyperparams():
    ours, other = (lib.inject_hyperparams(lib.sgd)(learning_rate=Rising()) for lib in (optim, optax))
    together(ours, other, 4, extra={"value": [0.1, 0.0, 0.3, 0.2]})
    wrapped = optim.WrappedSchedule(lambda n: 0.1 * n), optax.schedules.WrappedSchedule(lambda n: 0.1 * n)
    ours, other = (
        lib.inject_hyperparams(lib.sgd)(learning_rate=w) for lib, w in zip((optim, optax), wrapped, strict=True)
    )
    together(ours, other, 4)
    assert optim.inject_stateful_hyperparams is optim.inject_hyperparams


def test_masks_of_each_around_the_other():
    """Optax's `MaskedNode` and this library's `None` both have no leaves."""
    mask = {"w": True, "b": False, "deep": True}
    expected = optim.masked(optim.adam(0.1), mask)
    steps = [
        optax.masked(optax.GradientTransformationExtraArgs(*optim.adam(0.1)), mask),
        optim.masked(optax.adam(0.1), mask),
    ]
    for tx in steps:
        state, expected_state = tx.init(PARAMS), expected.init(PARAMS)
        for n in range(3):
            u, state = jax.jit(tx.update)(grads(PARAMS, n), state, PARAMS)
            v, expected_state = expected.update(grads(PARAMS, n), expected_state, PARAMS)
            same(u, v)
        same(state, expected_state)
    assert jax.tree.leaves(optim.MaskedNode()) == []


def test_plain_pairs_of_others_inside():
    """Every wrapper accepts a pair of plain functions, and passes its update only the arguments that it takes."""
    pair = optax.adam(0.1)
    for wrap, expected in [
        (lambda tx: optim.MultiSteps(tx, 2), optim.MultiSteps(optim.adam(0.1), 2)),
        (lambda tx: optim.apply_if_finite(tx, 2), optim.apply_if_finite(optim.adam(0.1), 2)),
        (lambda tx: optim.lookahead(tx, 2, 0.5), optim.lookahead(optim.adam(0.1), 2, 0.5)),
        (optim.flatten, optim.flatten(optim.adam(0.1))),
        (lambda tx: optim.sam(tx, optax.sgd(0.1)), optim.sam(optim.adam(0.1), optim.sgd(0.1))),
        (optim.mechanize, optim.mechanize(optim.adam(0.1))),
    ]:
        together(wrap((pair.init, pair.update)), expected, 4)

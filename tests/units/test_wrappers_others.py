"""Lookahead, flatten, halves, plateaus, Mechanic, SAM, injected schedules: what no sweep can ask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close, equal, grads, run, tree

PARAMS = tree()


def buffers(*trees):
    return [x.unsafe_buffer_pointer() for x in jax.tree.leaves(trees)]


@pytest.mark.parametrize("compiled", [False, True])
def test_lookahead_params_can_be_donated(compiled):
    start = optim.LookaheadParams.init_synced
    pair = (jax.jit(start) if compiled else start)(tree())
    equal(pair.fast, pair.slow)
    assert len(set(buffers(pair))) == len(buffers(pair))
    tx = optim.lookahead(optim.adam(0.1), 2, 0.5)
    state = tx.init(pair)

    def step(pair, state, g):
        u, state = tx.update(g, state, pair)
        return optim.apply_updates(pair, u), state

    pair, state = jax.jit(step, donate_argnums=(0, 1))(pair, state, grads(PARAMS))
    assert not np.allclose(pair.fast["w"], pair.slow["w"])


def test_lookahead_in_a_chain_and_its_evaluation():
    tx = optim.chain(optim.clip_by_global_norm(1.0), optim.lookahead(optim.adam(0.1), 2, 0.5))
    params, state, _ = run(tx, PARAMS, 3)
    slow = optim.eval_params(tx, state, params)
    equal(slow, state[1].slow)
    assert not np.allclose(slow["w"], params["w"])
    params, state, _ = run(tx, params, 1, state, start=3)
    close(optim.eval_params(tx, state, params), params)


def test_lookahead_leaves_alone_what_has_no_gradient():
    pair = optim.LookaheadParams.init_synced({**PARAMS, "n": jnp.arange(3), "nothing": None})
    tx = optim.lookahead(optim.sgd(0.1), 1, 0.5)
    u, _ = tx.update({**grads(PARAMS), "b": None, "n": None, "nothing": None}, tx.init(pair), pair)
    assert [u.fast["b"], u.slow["b"], u.fast["n"], u.slow["n"]] == [None] * 4
    moved = optim.apply_updates(pair, u)
    equal(moved.slow["b"], PARAMS["b"])
    equal(moved.slow["n"], jnp.arange(3))
    plain = {**PARAMS, "n": jnp.arange(3)}
    state = tx.init(plain)
    _, state = tx.update({**grads(PARAMS), "b": None, "n": None}, state, plain)
    equal(state.slow["b"], PARAMS["b"])
    equal(optim.eval_params(tx, state, plain)["n"], jnp.arange(3))


def test_lookahead_says_which_parameters_it_was_given():
    tx, pair = optim.lookahead(optim.sgd(0.1), 2, 0.5), optim.LookaheadParams.init_synced(PARAMS)
    with pytest.raises(ValueError, match="lookahead: params are the fast parameters alone, init was given Lookahead"):
        tx.update(grads(PARAMS), tx.init(pair), PARAMS)
    with pytest.raises(ValueError, match="lookahead: params are LookaheadParams, init was given the fast parameters"):
        tx.update(grads(PARAMS), tx.init(PARAMS), pair)


def test_slow_parameters_of_narrow_ones_are_wide():
    tx, params = optim.lookahead(optim.sgd(1e-3), 2, 0.01), tree(jnp.bfloat16)
    assert tx.init(params).slow["w"].dtype == jnp.float32


def test_flatten_is_its_inner_on_one_vector():
    params = {"z": jnp.array([1 + 2j]), "h": jnp.ones((2, 2), jnp.bfloat16), "n": jnp.arange(2), "x": jnp.float32(3)}
    tx = optim.flatten(optim.adam(0.1))
    state = tx.init(params)
    assert state[0].mu.shape == (7,)
    assert state[0].mu.dtype == jnp.float32
    g = {"z": jnp.array([2 - 1j]), "h": 0.5 * params["h"], "n": None, "x": jnp.float32(1)}
    wanted_state = optim.adam(0.1).init(params)
    for _ in range(2):
        u, state = tx.update(g, state, params)
        wanted, wanted_state = optim.adam(0.1).update(g, wanted_state, params)
        assert [x.dtype for x in jax.tree.leaves(u)] == [x.dtype for x in jax.tree.leaves(wanted)]
        close(
            jax.tree.map(lambda x: x.astype(jnp.complex64), u), jax.tree.map(lambda x: x.astype(jnp.complex64), wanted)
        )


def test_flatten_keeps_the_slots_of_what_has_no_gradient():
    tx = optim.flatten(optim.adam(0.1))
    _, state = tx.update(grads(PARAMS), tx.init(PARAMS), PARAMS)
    u, new = tx.update({**grads(PARAMS, 1), "b": None}, state, PARAMS)
    old_mu, new_mu = state[0].mu, new[0].mu  # b comes first
    equal(new_mu[:2], old_mu[:2])
    assert np.all(new_mu[2:] != old_mu[2:])
    assert u["b"] is None
    nothing = jax.tree.map(lambda _: None, PARAMS)
    u, new = tx.update(nothing, state, PARAMS)
    equal(new[0].mu, state[0].mu)
    assert jax.tree.leaves(u) == []


def test_flatten_and_halves_of_what_evaluates():
    for wrap in (optim.flatten, optim.split_real_and_imaginary):
        tx = wrap(optim.chain(optim.sgd(0.1), optim.average_params()))
        params, state, _ = run(tx, {**PARAMS, "z": jnp.array([1 + 2j])}, 3)
        plain = optim.chain(optim.sgd(0.1), optim.average_params())
        other, other_state, _ = run(plain, {**PARAMS, "z": jnp.array([1 + 2j])}, 3)
        close(optim.eval_params(tx, state, params), optim.eval_params(plain, other_state, other), rtol=1e-5)
        summed = optim.summary(tx, params).bytes
        assert summed == sum(x.nbytes for x in jax.tree.leaves(state))
        none = wrap(optim.sgd(0.1))
        assert optim.eval_params(none, none.init(params), params) is params


def test_halves_for_a_member_that_squares():
    """A member that knows nothing of complex numbers sees none."""

    def update(updates, state, params=None):
        assert not any(jnp.iscomplexobj(x) for x in jax.tree.leaves((updates, params)))
        return jax.tree.map(jnp.square, updates), state

    tx = optim.split_real_and_imaginary((lambda params: (), update))
    params = {"z": jnp.array([1 + 2j]), "x": jnp.array([3.0])}
    u, _ = tx.update(params, tx.init(params), params)
    close(u, {"z": jnp.array([1 + 4j]), "x": jnp.array([9.0])})
    u, _ = tx.update({"z": None, "x": jnp.array([3.0])}, tx.init(params), params)
    assert u["z"] is None
    with pytest.raises(ValueError, match="split_real_and_imaginary: updates have a leaf of dtype float32 whose"):
        tx.update({"z": jnp.ones(1), "x": None}, tx.init(params), params)


def plateau(values, factor, patience, rtol=1e-4, atol=0.0, cooldown=0, size=1, min_scale=0.0):
    """The rule in Python: a value is better than the best by a margin of its size, or it counts."""
    scale, best, bad, wait, window, scales = 1.0, np.inf, 0, 0, [], []
    for value in values:
        window.append(value)
        if len(window) == size:
            mean, window = np.mean(window), []
            margin = 0 if np.isinf(best) else rtol * abs(best) + atol
            better = mean < best - margin
            best = mean if better else best
            bad = 0 if better or wait else bad + 1
            wait = max(wait - 1, 0)
            if bad and bad >= patience:
                scale, bad, wait = max(scale * factor, min_scale), 0, cooldown
        scales.append(scale)
    return scales


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"factor": 0.5, "patience": 2}, 1),
        ({"factor": 0.3, "patience": 1, "rtol": 0.01, "cooldown": 2}, 2),
        ({"factor": 0.5, "patience": 0, "atol": 0.05, "min_scale": 0.1}, 1),
    ],
)
@pytest.mark.parametrize("offset", [0.0, -3.0])
def test_plateau_of_any_sign(arguments, size, offset, x64):
    rng = np.random.default_rng(1)
    values = offset + np.exp(-np.arange(60) / 10) + 0.1 * rng.random(60)
    tx = optim.reduce_on_plateau(**arguments, accumulation_size=size)
    state, scales, step = tx.init(PARAMS), [], jax.jit(tx.update)
    for value in values:
        u, state = step(grads(PARAMS), state, PARAMS, value=jnp.asarray(value))
        scales.append(float(state.scale))
        close(u["w"], grads(PARAMS)["w"] * state.scale.astype(jnp.float32))
    np.testing.assert_allclose(scales, plateau(values, size=size, **arguments), rtol=1e-12)
    assert 0 < scales[-1] < 0.5
    assert "step" not in optim.inspect(tx, state)


def test_plateau_needs_a_scalar_value():
    tx = optim.reduce_on_plateau()
    with pytest.raises(TypeError, match="reduce_on_plateau: update needs value: call update"):
        tx.update(grads(PARAMS), tx.init(PARAMS), PARAMS)
    with pytest.raises(
        ValueError, match="reduce_on_plateau: value must be a scalar, the loss at params, got an array of shape"
    ):
        tx.update(grads(PARAMS), tx.init(PARAMS), PARAMS, value=jnp.ones(2))
    with pytest.raises(ValueError, match="at least one of rtol and atol must be positive"):
        optim.reduce_on_plateau(rtol=0.0)


def test_mechanize_finds_a_learning_rate():
    """From one of a millionth to one that solves the problem."""
    target = jnp.array([3.0, -2.0])
    tx = optim.mechanize(optim.adam(1.0), weight_decay=0.0)
    slope = jax.grad(lambda p: jnp.sum((p - target) ** 2))

    @jax.jit
    def solve(p):
        def step(at, _):
            p, state = at
            u, state = tx.update(slope(p), state, p)
            return (optim.apply_updates(p, u), state), None

        return jax.lax.scan(step, (p, tx.init(p)), None, 1500)[0]

    p, state = solve(jnp.zeros(2))
    np.testing.assert_allclose(p, target, atol=0.1)
    assert jnp.sum(state.s) > 1e-4


def test_mechanize_of_a_complex_parameter_is_that_of_its_parts():
    tx, z = optim.mechanize(optim.sgd(0.1), 0.1, s_init=0.01), jnp.array([1 + 2j, -1j])
    params, state, _ = run(tx, {"z": z}, 3)
    halves, halves_state = {"r": z.real, "i": z.imag}, tx.init({"r": z.real, "i": z.imag})
    for n in range(3):
        g = grads({"z": z}, n)["z"]
        u, halves_state = tx.update({"r": g.real, "i": g.imag}, halves_state, halves)
        halves = optim.apply_updates(halves, u)
    close(params["z"].real, halves["r"])
    close(params["z"].imag, halves["i"])
    close(state.s, halves_state.s)
    with pytest.raises(TypeError, match="mechanize: num_betas must be a Python integer"):
        optim.mechanize(optim.sgd(0.1), num_betas=jnp.int32(3))


def test_sam_is_foret_and_others():
    """p - lr grad(p + rho grad(p) / |grad(p)|)."""

    def f(p):
        return jax.tree.map(lambda x: jnp.sin(2 * x), p)

    for opaque in (False, True):
        tx = optim.sam(
            optim.sgd(0.1), optim.chain(optim.clip_by_global_norm(1e-3), optim.sgd(50.0)), opaque_mode=opaque
        )
        p, state = PARAMS, tx.init(PARAMS)
        for _ in range(1 if opaque else 2):
            more = {"grad_fn": lambda q, i: f(q)} if opaque else {}
            u, state = tx.update(f(p), state, p, **more)
            p = optim.apply_updates(p, u)
        g = f(PARAMS)
        size = optim.global_norm(g)
        q = jax.tree.map(lambda x, d, size=size: x + 0.05 * d / size, PARAMS, g)
        close(p, jax.tree.map(lambda x, d: x - 0.1 * d, PARAMS, f(q)), rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="sam: update needs grad_fn in opaque mode"):
        tx.update(g, tx.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match="sam: update needs the parameters"):
        tx.update(g, tx.init(PARAMS))


def test_sam_needs_no_memory_of_the_parameters_in_opaque_mode():
    assert optim.sam(optim.sgd(0.1), optim.sgd(0.1), opaque_mode=True).init(PARAMS).cache is None


class Halving:
    """A learning rate that is halved by every value above one."""

    def init(self):
        return 1.0

    def update(self, state, *, value=0.0, **extra):
        return jnp.where(value > 1, 0.5 * state, state)

    def __call__(self, state, **extra):
        return state


def test_a_schedule_with_a_state_of_its_own():
    tx = optim.chain(optim.clip(1.0), optim.inject_stateful_hyperparams(optim.sgd)(learning_rate=Halving()))
    state, traces = tx.init(PARAMS), []

    @jax.jit
    def step(state, value):
        traces.append(1)
        return tx.update(grads(PARAMS), state, PARAMS, value=value)[1]

    seen = []
    for value in (2.0, 0.5, 3.0, 0.0):
        state = step(state, value)
        seen.append(float(state[1].hyperparams["learning_rate"]))
    assert seen == [1.0, 0.5, 0.5, 0.25]
    assert len(traces) == 1
    assert not any(x.weak_type for x in jax.tree.leaves(tx.init(PARAMS)))


class Total:
    """The sum of all values, whose state begins as an integer."""

    def init(self):
        return jnp.zeros((), jnp.int32)

    def update(self, state, *, value, **extra):
        return state + value

    def __call__(self, state, **extra):
        return state


@pytest.mark.usefixtures("standard_promotion")
def test_a_fraction_in_the_integer_state_of_a_schedule():
    """It is not rounded down to 0."""
    tx = optim.inject_hyperparams(optim.sgd)(learning_rate=Total())
    state = tx.init(PARAMS)
    for _ in range(3):
        _, state = tx.update(grads(PARAMS), state, PARAMS, value=jnp.float32(0.25))
    assert state.hyperparams["learning_rate"] == 0.5
    assert state.hyperparams_states["learning_rate"] == 0.75
    for _ in range(2):
        _, state = tx.update(grads(PARAMS), state, PARAMS, value=jnp.bfloat16(1))
    assert state.hyperparams_states["learning_rate"].dtype == jnp.float32


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_a_random_key_is_no_hyperparameter(make):
    def noise(key, scale):
        def update(updates, state, params=None):
            return jax.tree.map(lambda x: x + scale * jax.random.normal(key, x.shape), updates), state

        return optim.GradientTransformation(optim.init_empty_state, update)

    tx = optim.inject_hyperparams(noise)(key=make(3), scale=0.5)
    state = tx.init(PARAMS)
    assert list(state.hyperparams) == ["scale"]
    u, _ = tx.update(grads(PARAMS), state, PARAMS)
    close(u, noise(make(3), 0.5).update(grads(PARAMS), ())[0])

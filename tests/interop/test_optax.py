"""Optax: transformations in each other's chains, and conversion of its saved states."""

import re
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.interop.optax import RULES, as_optax, convert_state, with_optax_rules

from ..every.rows import equal, grads, tree

optax = pytest.importorskip("optax", reason="Optax is not installed")
from ..reference import test_optax as reference  # noqa: E402  needs Optax too

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.parametrize("name", sorted({*reference.FAULTS} - {"scale_by_muon", "sophia"}))
def test_a_state_fits_where_the_rules_differ(name):
    """Only the structure is compared: the next updates follow the paper, and differ from Optax's."""
    params = {"w": jnp.ones((2, 3)), "v": jnp.ones((4, 2))}
    args = () if name.startswith("scale_by") and name != "scale_by_rprop" else (0.1,)
    other, ours = (f(*args) for f in (reference.theirs_of(name), getattr(optim, name)))
    state = jax.tree.map(lambda x: x + jnp.ones_like(x) if x.dtype != bool else x, other.init(params))
    converted = convert_state(state, ours, params)
    assert jax.tree.structure(converted) == jax.tree.structure(ours.init(params))
    equal(jax.tree.leaves(converted), jax.tree.leaves(state))


def after(other, params, steps=3, **extra):
    state = other.init(params)
    for n in range(steps):
        _, state = other.update(grads(params, n), state, params, **extra)
    return state


def test_a_converted_lbfgs_state_continues(x64):
    def f(p):
        return sum(jnp.sum((x - 0.3) ** 4 + x**2) for x in jax.tree.leaves(p))

    other, ours, params = optax.lbfgs(), optim.lbfgs(), tree(jnp.float64)
    state = other.init(params)
    for _ in range(3):
        value, g = jax.value_and_grad(f)(params)
        u, state = other.update(g, state, params, value=value, grad=g, value_fn=f)
        params = optax.apply_updates(params, u)
    value, g = jax.value_and_grad(f)(params)
    v, _ = other.update(g, state, params, value=value, grad=g, value_fn=f)
    u, _ = ours.update(g, convert_state(state, ours, params), params, value=value, grad=g, value_fn=f)
    reference.assert_steps_close(u, v, 1e-6)


@pytest.mark.parametrize("name", RULES)
def test_optax_rules_are_set_at_any_depth(name):
    """In links, groups, wrappers and injected calls; what Optax computes otherwise is left alone."""
    args = {"galore": (0.1, 2), "scale_by_galore": (2,), "lars": (0.1, 0.1), "muon": (0.1,)}.get(name, ())
    plain, factory = getattr(optim, name)(*args), getattr(optim, name)
    ruled = factory(*args, **RULES[name])
    assert with_optax_rules(plain) == ruled != plain
    assert with_optax_rules(ruled) == ruled
    for wrap in (
        lambda tx: optim.chain(optim.clip(1.0), tx),
        lambda tx: optim.partition({"a": tx, "b": optim.adam(0.1)}, "a"),
        lambda tx: optim.MultiSteps(optim.masked(tx, True), 2),
    ):
        assert with_optax_rules(wrap(plain)) == wrap(ruled)
    if args and name != "scale_by_galore":
        injected = with_optax_rules(optim.inject_hyperparams(factory)(*args))
        assert injected == optim.inject_hyperparams(factory)(*args, **RULES[name])
    assert with_optax_rules(optim.adam(0.1)) == optim.adam(0.1)


def test_slots_that_are_not_stored_are_dropped():
    params = tree()
    state = after(optax.adam(0.1, b1=0.0), params)
    converted = convert_state(state, optim.adam(0.1, b1=0.0), params)
    assert converted[0].mu is None
    equal(converted[0].nu, state[0].nu)


def test_fast_and_slow_parameters():
    other, ours = optax.lookahead(optax.sgd(0.1, 0.9), 5, 0.5), optim.lookahead(optim.sgd(0.1, 0.9), 5, 0.5)
    pair = optax.LookaheadParams.init_synced(tree())
    state = other.init(pair)
    for n in range(3):
        _, state = other.update(grads(tree(), n), state, pair)
    converted = convert_state(state, ours, optim.LookaheadParams(*pair))
    u, _ = ours.update(grads(tree(), 3), converted, optim.LookaheadParams(*pair))
    v, _ = other.update(grads(tree(), 3), state, pair)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), tuple(u), tuple(v))
    with pytest.raises(
        ValueError, match=r"^convert_state: state has no 'slow', which a LookaheadSlowState of 3 entries"
    ):
        convert_state(state, ours, tree())


def test_members_without_a_state_may_differ():
    params = tree()
    state = after(optax.chain(optax.clip(1.0), optax.chain(optax.scale_by_adam(), optax.scale(-0.1))), params)
    ours = optim.chain(optim.scale_by_adam(), optim.scale(-0.1), optim.clip(1.0), optim.identity())
    for theirs in (
        state,
        reference.plain_containers(state),
        {"1": {"0": reference.plain_containers(state[1][0]), "1": {}}},
    ):
        equal(convert_state(theirs, ours, params)[0].mu, state[1][0].mu)


def test_injected_hyperparameters():
    """Also as integers, and in the form of older versions, which had one count for all schedules."""
    params = tree()
    schedule = optax.linear_schedule(0.1, 0.0, 10)
    other = optax.inject_hyperparams(optax.adam)(learning_rate=schedule, b1=0.8)
    ours = optim.inject_hyperparams(optim.adam)(learning_rate=optim.linear_schedule(0.1, 0.0, 10), b1=0.8)
    state = after(other, params)
    for theirs in (state, reference.plain_containers(state)):
        converted = convert_state(theirs, ours, params)
        u, v = (tx.update(grads(params, 3), s, params)[0] for tx, s in ((ours, converted), (other, state)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), u, v)
    older = {k: x for k, x in reference.plain_containers(state).items() if k != "hyperparams_states"}
    equal(convert_state(older, ours, params), converted)
    whole = optax.inject_hyperparams(optax.sgd)(learning_rate=1)
    converted = convert_state(after(whole, params), optim.inject_hyperparams(optim.sgd)(learning_rate=1), params)
    assert converted.hyperparams["learning_rate"] == 1.0


ERRORS = [
    (lambda s: s[:0], r"state has 0 states that are not empty, expected 1"),
    (
        lambda s: (s[0]._replace(mu={**s[0].mu, "b": np.ones(3, np.float32)}), s[1]),
        r"state\[0\].mu\['b'\] has shape \(3,\)",
    ),
    (lambda s: (s[0]._replace(count=np.float32(1)), s[1]), r"state\[0\].count is float32, the state has int32"),
    (
        lambda s: (s[0]._replace(nu={"w": s[0].nu["w"]}), s[1]),
        r"state\[0\].nu has no 'b', which a dict of 3 entries needs",
    ),
    (lambda s: ({"count": s[0].count, "mu": s[0].mu}, s[1]), r"state\[0\] has no 'nu', which a ScaleByAdamState of 3"),
    (
        lambda s: (s[0], {"count": s[0].count}),
        r"state\[1\]\['count'\] has no counterpart in an empty EmptyState: it has no entries",
    ),
    (lambda s: (s[0]._replace(mu=s[0].count), s[1]), r"state\[0\].mu is an array of shape \(\), expected a dict of 3"),
    (lambda s: (s[0]._replace(count={"a": 1}), s[1]), r"state\[0\].count is a dict of 1 entries, expected an array"),
]


@pytest.mark.parametrize(("change", "sentence"), ERRORS, ids=range(len(ERRORS)))
def test_errors_name_the_first_difference(change, sentence):
    params = tree()
    state = optax.adam(0.1).init(params)
    with pytest.raises(ValueError, match=f"^convert_state: {sentence}"):
        convert_state(change(state), optim.adam(0.1), params)


def test_a_parameter_that_is_none_here():
    state = optax.adam(0.1).init(tree())
    with pytest.raises(ValueError, match=r"state\[0\].mu\['b'\] is an array of shape \(2,\), which has no counterpart"):
        convert_state(state, optim.adam(0.1), {**tree(), "b": None})
    whole = {**tree(), "n": jnp.arange(3)}
    converted = convert_state(optax.adam(0.1).init(whole), optim.adam(0.1), whole)
    assert converted[0].mu["n"] is None


# In each other's chains


def steps(tx, n=4, **extra):
    params = tree()
    state, step = tx.init(params), jax.jit(tx.update)
    for i in range(n):
        u, state = step(grads(params, i), state, params, **extra)
        params = optim.apply_updates(params, u)
    return params, state


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)


def test_adam_of_one_and_a_schedule_of_the_other():
    """Schedules of both libraries are functions of the count."""
    expected, state = steps(optim.chain(optim.clip(0.5), optim.adam(optim.cosine_decay_schedule(0.1, 6))))
    ours, theirs = optim.cosine_decay_schedule(0.1, 6), optax.cosine_decay_schedule(0.1, 6)
    chains = [
        optim.chain(optax.clip(0.5), optim.adam(theirs)),
        optim.chain(optim.clip(0.5), optax.adam(ours)),
        optim.chain(optax.clip(0.5), optax.scale_by_adam(), optim.scale_by_learning_rate(theirs)),
        optax.chain(optim.clip(0.5), optax.adam(ours)),
        optax.chain(optax.clip(0.5), optim.adam(theirs)),
        optax.chain(optim.clip(0.5), optim.chain(optax.scale_by_adam()), optim.scale_by_schedule(lambda n: -theirs(n))),
    ]
    for tx in chains:
        params, other = steps(tx)
        close(params, expected)
        assert len(jax.tree.leaves(other)) == len(jax.tree.leaves(state))


def test_extra_arguments_reach_the_other():
    values = {"value": jnp.asarray(1.0)}
    expected = steps(optim.chain(optim.adam(0.1), optim.reduce_on_plateau(0.5, patience=1)), **values)
    for tx in (
        optim.chain(optim.adam(0.1), optax.contrib.reduce_on_plateau(0.5, patience=1)),
        optax.chain(optim.adam(0.1), as_optax(optim.reduce_on_plateau(0.5, patience=1))),
        as_optax(optim.chain(optax.adam(0.1), optim.reduce_on_plateau(0.5, patience=1))),
    ):
        close(steps(tx, **values)[0], expected[0])
        close(jax.tree.leaves(steps(tx, **values)[1]), jax.tree.leaves(expected[1]))


def test_wrappers_of_one_around_the_other():
    groups = {"w": "a", "b": "b", "deep": "a"}
    pairs = [
        lambda lib, tx: lib.MultiSteps(tx, 2),
        lambda lib, tx: lib.apply_if_finite(tx, 3),
        lambda lib, tx: lib.masked(tx, {"w": True, "b": False, "deep": True}),
        lambda lib, tx: lib.multi_transform({"a": tx, "b": lib.sgd(0.1)}, groups),
    ]
    for wrap in pairs:
        expected, _ = steps(wrap(optim, optim.adam(0.1)))
        for lib, tx in ((optim, optax.adam(0.1)), (optax, optim.adam(0.1))):
            close(steps(wrap(lib, tx))[0], expected)
    whole = optax.inject_hyperparams(optim.adam)(learning_rate=0.1), optim.inject_hyperparams(optax.adam)(0.1)
    for tx in whole:
        params, state = steps(tx)
        close(params, steps(optim.adam(0.1))[0])
        close(state.hyperparams["learning_rate"], 0.1)


def test_inspecting_a_mixed_chain():
    tx = optim.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1), optim.reduce_on_plateau())
    _, state = steps(tx, 3, value=jnp.asarray(1.0))
    values = optim.inspect(tx, state)
    assert int(values["step"]) == 3
    assert float(values["scale"]) == 1.0


def test_without_optax(monkeypatch):
    """Conversion of states does not need Optax; `as_optax` does."""
    state = optax.adam(0.1).init(tree())
    monkeypatch.setitem(sys.modules, "optax", None)
    convert_state(reference.plain_containers(state), optim.adam(0.1), tree())
    with pytest.raises(ImportError, match=r"^as_optax: needs optax: pip install 'optim\[optax\]'$"):
        as_optax(optim.adam(0.1))


def test_example(capsys):
    path = Path(__file__).parents[2] / "examples" / "with_optax.py"
    runpy.run_path(str(path))["main"](["--steps", "120"])
    out = capsys.readouterr().out
    losses = [float(x) for x in re.findall(r"loss (\S+)", out)]
    assert len(losses) == 2
    assert max(losses) < 1e-2
    assert float(re.search(r"difference (\S+)", out)[1]) < 1e-6

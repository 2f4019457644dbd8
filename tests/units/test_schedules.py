"""Transitions and warm-ups of no steps."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

optax = pytest.importorskip("optax", reason="Optax is a test dependency")

COUNTS = range(6)


def with_steps(name):
    """Every schedule with an argument of this name that may be 0, and its first example's arguments."""
    for entry in optim.entries():
        if entry.kind == "schedule" and name in entry.ranges and 0 in entry.ranges[name]:
            call = inspect.signature(entry.factory).bind(*entry.examples[0].args, **entry.examples[0].kwargs)
            if name in call.arguments:
                yield entry, call.arguments


def values(schedule):
    return [float(schedule(n)) for n in COUNTS]


def test_a_transition_of_no_steps_never_begins():
    """Also in Optax, which has no `inverse_time_decay`, and where a configuration sets the number to 0."""
    names = []
    for entry, arguments in with_steps("transition_steps"):
        start = arguments.get("init_value")
        if "peak_value" not in arguments:
            for steps in (0, jnp.float32(0)):
                schedule = entry.factory(**{**arguments, "transition_steps": steps})
                assert values(schedule) == [pytest.approx(start)] * len(COUNTS), entry.name
            names.append(entry.name)
        if hasattr(optax, entry.name):
            theirs = getattr(optax, entry.name)(**{**arguments, "transition_steps": 0})
            ours = entry.factory(**{**arguments, "transition_steps": 0})
            np.testing.assert_allclose(values(ours), values(theirs), rtol=1e-6)
    assert names == ["exponential_decay", "inverse_time_decay", "linear_schedule", "polynomial_schedule"]


def test_a_warm_up_of_no_steps_begins_at_the_peak():
    names = []
    for entry, arguments in with_steps("warmup_steps"):
        schedule = entry.factory(**{**arguments, "warmup_steps": 0})
        assert float(schedule(0)) == pytest.approx(arguments["peak_value"]), entry.name
        names.append(entry.name)
    assert len(names) >= 3


def test_a_transition_of_no_steps_that_is_traced():
    """Its derivatives are finite, and a later schedule takes over."""

    def at(steps, count):
        line = optim.linear_schedule(0.1, 0.5, steps)
        return optim.join_schedules([line, optim.constant_schedule(0.5)], [2])(count)

    value, slope = jax.jit(jax.value_and_grad(at))(0.0, 1)
    assert (float(value), float(slope)) == (pytest.approx(0.1), 0.0)
    assert float(at(0.0, 2)) == 0.5
    assert float(at(4.0, 1)) == pytest.approx(0.2)


def test_a_boundary_at_0():
    for kind in ("linear", "cosine"):
        ours, theirs = (lib.piecewise_interpolate_schedule(kind, 0.1, {0: 2.0, 4: 0.5}) for lib in (optim, optax))
        with jax.numpy_dtype_promotion("standard"):
            np.testing.assert_allclose(values(ours), values(theirs), rtol=1e-6)

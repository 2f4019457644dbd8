"""Calls that go wrong as people write them, and the sentences that they are told."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import optim

P = {"w": jnp.ones(3), "b": jnp.ones(2)}
ADAM = optim.adam(0.1)


def updated(tx, state=None, params=P, **extra):
    return tx.update(P, tx.init(P) if state is None else state, params, **extra)


MISTAKES = [
    # What is called
    (
        lambda: optim.adam(),
        "adam: missing a required argument: 'learning_rate'; it is called as (learning_rate, b1=0.9,",
    ),
    (lambda: optim.chain([ADAM, ADAM]), "got [adam(0.1), adam(0.1)]; did you mean chain(adam(0.1), adam(0.1))?"),
    (lambda: optim.chain(optim.MultiSteps), "got the class MultiSteps; did you mean MultiSteps(...)?"),
    # Numbers and schedules
    (lambda: optim.adam(0.1, b1=jnp.ones(1)), "adam: b1 must be a scalar in [0, 1), got an array of shape (1,)"),
    (
        lambda: optim.adam(optim.cosine_decay_schedule),
        "adam: learning_rate must be a number, an array of shape () or a schedule, got the function "
        "cosine_decay_schedule, which takes (init_value, decay_steps, alpha=0.0, exponent=1.0); did you mean "
        "cosine_decay_schedule(...)?",
    ),
    (
        lambda: optim.scale_by_schedule(lambda a, b: a),
        "step_size_fn must be a schedule, got the function <lambda>, which",
    ),
    (
        lambda: updated(optim.adam(optim.constant_schedule)),
        "adam: the function constant_schedule, given as a schedule, must give a number, got constant_schedule(",
    ),
    (lambda: updated(optim.sgd(lambda count: jnp.ones(3))), "must give a number, got an array of shape (3,)"),
    (lambda: updated(optim.adamw(0.1, weight_decay=lambda count: None)), "must give a number, got None"),
    (
        lambda: updated(optim.MultiSteps(ADAM, lambda count: "2")),
        "MultiSteps: the function <lambda>, given as a schedule",
    ),
    # States
    (
        lambda: updated(ADAM, P),
        "adam: state must be a tuple of 2 entries, one per member, got a dict with the keys 'b', 'w'",
    ),
    (lambda: updated(ADAM, optim.sgd(0.1, 0.9).init(P)), "adam: state must be a ScaleByAdamState, got a TraceState"),
]


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES, ids=[sentence[:50] for _, sentence in MISTAKES])
def test_a_mistake_is_told(mistake, sentence):
    with pytest.raises((TypeError, ValueError), match=re.escape(sentence)):
        mistake()


@pytest.mark.parametrize(
    "rate", [np.uint8(1), jnp.uint32(1), lambda count: jnp.uint8(1)], ids=["np", "jax", "schedule"]
)
def test_an_unsigned_learning_rate_descends(rate):
    for tx in (optim.sgd(rate), optim.sm3(rate, 0.0)):
        u, _ = updated(tx)
        assert (u["w"] < 0).all()
        assert u["w"][0] >= -1.001

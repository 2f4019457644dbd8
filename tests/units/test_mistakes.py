"""Calls that go wrong as people write them, and the sentences that they are told."""

import re

import jax
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
    (lambda: updated(optim.sgd(0.1), ADAM.init(P)), "sgd: state must be an EmptyState, got a ScaleByAdamState"),
    (lambda: ADAM.update(P), "adam.update() missing 1 required positional argument: 'state'"),
    (lambda: ADAM.init(), "adam.init() missing 1 required positional argument: 'params'"),
    (
        lambda: optim.eval_params(optim.average_params(), ADAM.init(P), P),
        "state must be an AverageParamsState, got a tuple",
    ),
    (lambda: optim.inspect(optim.sgd(0.1, 0.9), ADAM.init(P)), "state must be a TraceState, got a ScaleByAdamState"),
    (
        lambda: optim.state_dict(optim.sgd(0.1, 0.9), ADAM.init(P)),
        "is not one of sgd(0.1, 0.9): state must be a TraceState",
    ),
    (
        lambda: updated(optim.chain(ADAM, optim.sophia(0.1)), (ADAM.init(P), ADAM.init(P))),
        "chain[1] sophia: state must be a tuple of 3",
    ),
    # Dtypes
    (
        lambda: optim.adam(0.1, mu_dtype="foo"),
        "adam: mu_dtype must be a floating or complex dtype of at least 16 bits, got 'foo'",
    ),
    (lambda: optim.adafactor(0.1, momentum=0.9, dtype_momentum="int8"), "dtype_momentum must be a floating or complex"),
    # Masks, labels, axes
    (
        lambda: optim.masked(ADAM, {"w": True}).init(P),
        "mask must be a prefix of the parameters' tree: params['b'] is not in",
    ),
    (lambda: optim.masked(ADAM, {"w": True, "b": True, "c": False}).init(P), "tree: mask['c'] is not in params"),
    (
        lambda: optim.partition([ADAM], {"w": 0, "b": 0}),
        "transforms must be a dict label -> transformation, got [adam(0.1)]",
    ),
    (lambda: optim.partition({"a": ADAM, 1: ADAM}, "a"), "which JAX sorts: words or numbers, got ['a', 1]"),
    (
        lambda: optim.partition({0: ADAM}, jnp.array(0)).init(P),
        "param_labels gives params['b'] the label an array, expected a word or a number",
    ),
    (lambda: optim.label_by_path(5), "rules must be one or more pairs (pattern, label), got 5"),
    (
        lambda: optim.muon(0.1, muon_weight_dimension_numbers=1).init(P),
        "numbers['b'] must have reduction_axis and output_axis",
    ),
    (lambda: optim.adaptive_grad_clip(0.1, axis="a"), "axis must be an int or a tuple of ints, got 'a'"),
    (lambda: updated(optim.adaptive_grad_clip(0.1, axis=7)), "adaptive_grad_clip: a leaf of 1 axes has no axis 7"),
    # What an argument may be
    (lambda: updated(optim.reduce_on_plateau(), value=None), "value must be a scalar, the loss at params, got None"),
    (
        lambda: updated(optim.polyak_sgd(), value=jnp.ones(3)),
        "value must be a scalar, the loss at params, got an array",
    ),
    (lambda: optim.add_noise(0.1, 0.5, True), "key must be a PRNG key or an int, got True"),
    (lambda: optim.add_noise(0.1, 0.5, jnp.ones(2)), "key must be a PRNG key or an int, got an array of shape (2,)"),
    (lambda: optim.adafactor(0.1, decay_offset=1.5), "decay_offset must be an integer, got 1.5"),
    (lambda: optim.monitor([optim.global_norm]), "measures must be a dict name -> measure, got [<function global_norm"),
    (lambda: optim.snapshot(5, optim.global_norm), "measure_name must be a string, got 5"),
    (lambda: optim.replace(ADAM, 5, b1=0.5), "replace: where must be a name or a path, got 5"),
    # Configs
    (
        lambda: optim.from_config({"name": "chain", "args": 5}),
        "the 'args' of a config are a list, its other keys words",
    ),
    (lambda: optim.from_config({"name": "scale", "step_size": {"$array": [1]}}), "which is no array: 'dtype'"),
    (lambda: optim.keras.deserialize([]), "Improper config format: []"),
]


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES, ids=[sentence[:50] for _, sentence in MISTAKES])
def test_a_mistake_is_told(mistake, sentence):
    with pytest.raises((TypeError, ValueError), match=re.escape(sentence)):
        mistake()


WRAPPERS = {
    "masked": lambda: optim.masked(ADAM, True),
    "partition": lambda: optim.partition({"a": ADAM}, "a"),
    "MultiSteps": lambda: optim.MultiSteps(ADAM, 2),
    "apply_if_finite": lambda: optim.apply_if_finite(ADAM, 2),
    "conditionally_mask": lambda: optim.conditionally_mask(ADAM, lambda step: True),
    "lookahead": lambda: optim.lookahead(ADAM, 2, 0.5),
    "sam": lambda: optim.sam(ADAM, ADAM),
    "mechanize": lambda: optim.mechanize(ADAM),
    "schedule_free": lambda: optim.schedule_free(ADAM, 0.1),
    "split_real_and_imaginary": lambda: optim.split_real_and_imaginary(ADAM),
    "inject_hyperparams(adam)": lambda: optim.inject_hyperparams(optim.adam)(0.1),
    "scale_by_galore": optim.scale_by_galore,
    "scale_by_muon": optim.scale_by_muon,
    "scale_by_lbfgs": optim.scale_by_lbfgs,
    "scale_by_zoom_linesearch": lambda: optim.scale_by_zoom_linesearch(3),
    "monitor": lambda: optim.monitor({}),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_state_of_another_is_told(name):
    with pytest.raises(TypeError, match=rf"^{re.escape(name)}: state must be an? \w+State.*, got a tuple of a Scale"):
        updated(WRAPPERS[name](), ADAM.init(P))


@pytest.mark.parametrize("seed", [5, np.int64(5), jnp.array(5)], ids=["int", "numpy", "jax"])
def test_a_seed_is_any_int(seed):
    state, same = (optim.add_noise(0.1, 0.5, s).init(P) for s in (seed, 5))
    assert (state.rng_key == same.rng_key).all()


@pytest.mark.parametrize(
    "made", [optim.cosine_decay_schedule, lambda v, s, **_: optim.polynomial_schedule(v, 0.0, 0.5, s)]
)
def test_a_root_of_the_time_left_has_a_derivative_at_the_end(made):
    assert jax.grad(lambda steps: made(0.1, steps, exponent=0.5)(20))(10.0) == 0


@pytest.mark.parametrize(
    "rate", [np.uint8(1), jnp.uint32(1), lambda count: jnp.uint8(1)], ids=["np", "jax", "schedule"]
)
def test_an_unsigned_learning_rate_descends(rate):
    for tx in (optim.sgd(rate), optim.sm3(rate, 0.0)):
        u, _ = updated(tx)
        assert (u["w"] < 0).all()
        assert u["w"][0] >= -1.001

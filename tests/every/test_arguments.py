"""What a transformation knows of itself, and what it refuses."""

import copy
import inspect
import json
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim import keras

from .rows import ROWS, check_all, column, equal, finite, grads, run, tree


def calls_of(entries):
    """(entry, example, name) of everything that has a config."""
    return [
        (e, x, f"{e.name}-{i}" if i else e.name)
        for e in entries
        if e.kind not in ("factory", "function")
        for i, x in enumerate(e.examples)
    ]


def has_a_function(example):
    leaves = jax.tree.leaves([list(example.args), list(example.kwargs.values())])
    return any(inspect.isfunction(x) and optim.core.registry.entry_of(x) is None for x in leaves)


def test_record(entries):
    """Equal calls are equal; a config is plain JSON and gives the same back; repr reads as the call."""
    namespace = {**{n: getattr(optim, n) for n in dir(optim)}, "keras": keras, "P": jax.sharding.PartitionSpec}

    def check(call):
        entry, example, _ = call
        made, again = (entry(*example.args, **example.kwargs) for _ in range(2))
        assert made == again
        assert hash(made) == hash(again)
        assert optim.get(entry.name, *example.args, **example.kwargs) == made
        assert inspect.signature(entry.factory) == entry.signature
        if has_a_function(example):
            with pytest.raises(TypeError, match="has no form in JSON"):
                optim.to_config(made)
            return
        assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
        config = json.loads(json.dumps(optim.to_config(made), allow_nan=False))
        assert optim.from_config(config) == made
        assert repr(optim.from_config(config)).startswith(entry.name + "(")
        assert eval(repr(made), namespace) == made

    check_all(calls_of(entries), check, name=lambda call: call[-1])


def test_no_two_calls_are_equal():
    """So that none runs another's compiled program."""
    made = [(entry(*example.args, **example.kwargs), name) for entry, example, name in calls_of(optim.entries())]
    assert [(a, b) for i, (x, a) in enumerate(made) for y, b in made[:i] if x == y] == []
    assert len({hash(x) for x, _ in made}) == len(made)


def refused(entries):
    """(entry, argument, value, range) for values outside every range."""
    return [
        (entry, name, value, range_)
        for entry in entries
        for name, range_ in entry.ranges.items()
        for value in range_.outside()
    ]


def test_values_out_of_range(entries):
    """Python numbers, NumPy scalars and concrete arrays alike; the sentence names the argument and the range."""
    wrong_types = ("0.1", [0.1], jnp.ones(2))

    def check(case):
        entry, name, value, range_ = case
        bound = first_call(entry)
        sentence = re.escape(f"{entry.name}: {name} must be ") + "(finite and )?" + re.escape(f"{range_}, got")
        for given in (value, jnp.asarray(np.float32(value))):
            bound.arguments[name] = given
            with pytest.raises(ValueError, match=sentence):
                entry(*bound.args, **bound.kwargs)
        for wrong in wrong_types:
            bound.arguments[name] = wrong
            with pytest.raises(TypeError, match=re.escape(f"{entry.name}: {name} must be")):
                entry(*bound.args, **bound.kwargs)

    check_all(refused(entries), check, name=lambda case: f"{case[0].name}({case[1]}={case[2]})")


def first_call(entry):
    return entry.signature.bind(*entry.examples[0].args, **entry.examples[0].kwargs)


def test_dtypes(entries):
    """What is no dtype, one that would cut fractions off, and one that JAX does not compute with."""

    def check(case):
        entry, name = case
        bound = first_call(entry)
        for wrong, what in (("x", "'x'"), (jnp.int32, "int32"), (bool, "bool"), ("float8_e4m3fn", "float8_e4m3fn")):
            bound.arguments[name] = wrong
            with pytest.raises(TypeError, match=f"^{entry.name}: {name} must be a .*dtype.*, got {what}$"):
                entry(*bound.args, **bound.kwargs)
        for right in (None, jnp.bfloat16, "float32", jnp.dtype("float64")):
            bound.arguments[name] = right
            entry(*bound.args, **bound.kwargs)

    cases = [(e, n) for e in entries for n in e.signature.parameters if optim.checks.names_dtype(n)]
    check_all(cases, check, name=lambda case: f"{case[0].name}({case[1]})")


def test_declared_errors(entries):
    def check(case):
        entry, example, text = case
        with pytest.raises((ValueError, TypeError), match=re.escape(text)) as raised:
            entry(*example.args, **example.kwargs)
        assert str(raised.value).startswith(f"{entry.name}: ")

    declared = [(e, x, text) for e in entries for x, text in e.errors]
    check_all(declared, check, name=lambda case: f"{case[0].name}: {case[2]!r}")


def test_unknown_argument_names_the_word(entries):
    def check(entry):
        example = entry.examples[0]
        with pytest.raises(TypeError, match=re.escape(f"{entry.name}: no argument 'nonsense'")):
            entry(*example.args, **example.kwargs, nonsense=1)

    check_all(entries, check, name=lambda entry: entry.name)


@column("errors")
def test_wrong_trees(row):
    tx, params = row.make(), tree()
    state = tx.init(params)
    name = re.escape(row.entry.name)
    wrong_shape = {**grads(params), "b": jnp.ones((2, 1))}
    with pytest.raises(ValueError, match=rf"^{name}: updates\['b'\] has shape \(2, 1\), .*\['b'\] has \(2,\)"):
        tx.update(wrong_shape, state, params)
    flat = {**grads(params), "w": jnp.ones(3)}
    with pytest.raises(ValueError, match=rf"^{name}: updates\['w'\] has shape \(3,\), .*\['w'\] has \(3, 2\)"):
        tx.update(flat, state, params)
    extra = {**grads(params), "more": jnp.ones(2)}
    with pytest.raises(ValueError, match=rf"^{name}: .*updates\['more'\] is not in"):
        tx.update(extra, state, params)
    integers = {**grads(params), "b": jnp.arange(2)}
    with pytest.raises(ValueError, match=rf"^{name}: updates\['b'\] has dtype int32"):
        tx.update(integers, state, params)


def numeric(row):
    """The example's arguments, as arrays where they are hyperparameters that may be injected."""
    bound = row.entry.signature.bind(*row.example.args, **row.example.kwargs)
    bound.apply_defaults()
    ranges = {n: r for n, r in row.entry.ranges.items() if not r.integer}
    return [n for n, v in bound.arguments.items() if n in ranges and optim.checks.is_number(v)], bound


@column("inject", where=lambda row: numeric(row)[0])
def test_inject(row):
    """Hyperparameters in the state give the same numbers, can be set without a trace, and can be differentiated."""
    names, bound = numeric(row)
    params = tree()
    tx = row.given(optim.inject_hyperparams(row.entry.factory)(*bound.args, **bound.kwargs))
    assert repr(tx).startswith(f"inject_hyperparams({row.entry.name})(")
    state = tx.init(params)
    assert set(names) <= set(state.hyperparams)
    assert all(h.dtype == jnp.float32 and not h.weak_type for h in state.hyperparams.values())
    ours, ours_state, _ = run(tx, params, 3)
    plain, plain_state, _ = run(row.make(), params, 3)
    row.close(ours, plain, rtol=2e-4, atol=1e-5)
    assert jax.tree.structure(ours_state.inner_state) == jax.tree.structure(plain_state)

    traces = []

    @jax.jit
    def update(g, state):
        traces.append(1)
        return tx.update(g, state, params)

    _, state = update(grads(params), state)
    for value in (0.25, 0.5):
        _, state = update(grads(params), optim.tree.set(state, **dict.fromkeys(names, value)))
    assert len(traces) == 1

    def total(values, g):
        s = tx.init(params)._replace(hyperparams=values)
        u, _ = tx.update(g, s, params)
        return sum(jnp.sum(x) for x in jax.tree.leaves(u))

    slope = jax.jit(jax.grad(total, argnums=(0, 1)))
    start = {k: jnp.where(v == 0, 0.1, v) for k, v in tx.init(params).hyperparams.items()}
    for g in (grads(params), jax.tree.map(jnp.zeros_like, params)):
        assert finite(slope(start, g))


@column("traced")
def test_array_hyperparameters_are_traced_values(row):
    """Three values of every hyperparameter, given as arrays: one trace, and the numbers of three plain calls."""
    names, bound = numeric(row)
    params, traces, ranges = tree(), [], row.entry.ranges

    @jax.jit
    def update(values):
        traces.append(1)
        bound.arguments.update(values)
        tx = row.given(row.entry(*bound.args, **bound.kwargs))
        return tx.update(grads(params), tx.init(params), params)[0]

    for value in (0.25, 0.5, 0.75):
        values = {n: value if value in ranges[n] else ranges[n].low + value for n in names}
        ours = update({n: jnp.asarray(v, jnp.float32) for n, v in values.items()})
        bound.arguments.update(values)
        tx = row.given(row.entry(*bound.args, **bound.kwargs))
        with jax.disable_jit():  # a program for each value would be compiled
            row.close(ours, tx.update(grads(params), tx.init(params), params)[0], rtol=1e-5)
    assert len(traces) == 1


def test_rows_are_there():
    assert len(ROWS) > 60
    assert len({r.id for r in ROWS}) == len(ROWS)
    assert sum(bool(numeric(r)[0]) for r in ROWS) > 100
    assert len(refused(optim.entries())) > 1000


def test_a_factory_by_its_name_alone_has_a_usual_learning_rate():
    """The one that its docstring names."""
    for entry in optim.entries("transformation"):
        required = [name for name, p in entry.signature.parameters.items() if p.default is p.empty]
        if required == ["learning_rate"] and not entry.name.startswith("scale_by"):
            usual = re.search(r"usual\s+learning\s+rate\s+is\s+(.*?)(;|\.\n|\.$|,|$)", entry.factory.__doc__, re.S)[1]
            tx = optim.get(entry.name)
            assert tx.call.arguments["learning_rate"] in map(float, re.findall(r"[\d.]+(?:e-?\d+)?", usual)), entry.name
    assert optim.get("adamw", 0.5) == optim.adamw(0.5)
    assert optim.get("adamw", b1=0.5) == optim.adamw(1e-3, b1=0.5)
    with pytest.raises(TypeError, match=r"missing a required argument: 'inner'; it is called as \(inner, mask"):
        optim.get("masked")


def test_unknown_names():
    with pytest.raises(KeyError, match="no factory named 'adamm' is registered; did you mean 'adam'"):
        optim.get("adamm", 0.1)
    with pytest.raises(TypeError, match="adam: no argument 'lr'; did you mean 'learning_rate'"):
        optim.adam(lr=0.1)
    with pytest.raises(TypeError, match="adam: no argument 'beta_1'; did you mean 'b1'"):
        optim.adam(0.1, beta_1=0.1)
    with pytest.raises(TypeError, match="adam: missing a required argument: 'learning_rate'"):
        optim.adam()
    equal(optim.get("adam", 0.1).init(tree()), optim.adam(0.1).init(tree()))

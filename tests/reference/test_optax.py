"""Step by step comparison with Optax: the same updates, and states with the same leaves."""

import functools
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.interop.optax import RULES, convert_state, with_optax_rules

from ..every.rows import ROWS, Row, avals, check_all, close, close_in_size, equal, grads, inexact, of_rows, tree
from . import page
from .differences import COARSE, COARSE_IN_FLOAT32, DIFFERS, FAULTS, OPTIONS, TESTED_APART

optax = pytest.importorskip("optax", reason="Optax is a test dependency")


def theirs_of(name):
    """The object of this name in Optax or in its contrib package."""
    return getattr(optax.contrib, name, None) or getattr(optax, name, None)


def is_shared(row):
    excepted = row.id in DIFFERS or row.entry.name in FAULTS or row.entry.name in TESTED_APART
    return theirs_of(row.entry.name) and not excepted


def theirs(x):
    """An argument in Optax's form: transformations are pairs."""
    if isinstance(x, optim.GradientTransformation):
        return optax.GradientTransformationExtraArgs(*x)
    if isinstance(x, tuple):
        return tuple(map(theirs, x))
    if isinstance(x, dict):
        return {k: theirs(v) for k, v in x.items()}
    return x


def make(row: Row):
    rules = RULES.get(row.entry.name, {})
    args, kwargs = map(theirs, (row.example.args, {k: x for k, x in row.example.kwargs.items() if k not in rules}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "seed" in row.entry.signature.parameters:  # Optax's name is key
            bound = row.entry.signature.bind(*args, **kwargs)
            bound.arguments["key"] = bound.arguments.pop("seed", bound.arguments.get("key"))
            return theirs_of(row.entry.name)(**bound.arguments)
        return row.given(theirs_of(row.entry.name)(*args, **kwargs))


def stream(params, steps=20):
    """Gradients in cycles of five sizes: tiny, ordinary, zero, large, ordinary."""
    sizes = [1e-3, 1.0, 0.0, 30.0, 1.0]
    return [jax.tree.map(lambda g, s=sizes[n % 5]: s * g, grads(params, n)) for n in range(steps)]


@of_rows(is_shared)
def test_same_steps(row, x64, standard_promotion):
    """Equal for 20 steps. Optax's state continues here, by its leaves at the end and converted after three steps."""
    ours, other = row.given(with_optax_rules(row.build())), make(row)
    params = params_other = tree(jnp.float64)
    state, state_other = ours.init(params), other.init(params)
    rtol = max(tolerance(state), COARSE.get(row.entry.name, 0))
    assert_close = functools.partial(assert_steps_close, rtol=rtol, in_size=row.grain == "leafwise")
    step, step_other = jax.jit(ours.update), jax.jit(other.update)
    # The rounding of a narrow slot accumulates, so these run for 5 steps only.
    for n, g in enumerate(stream(params, 20 if rtol < 1e-8 or row.entry.name in COARSE else 5)):
        if n == 3:
            check_conversion(ours, state_other, params)
            converted = convert_state(state_other, ours, params)
            for x, y in zip(step(g, converted, params), step_other(g, state_other, params), strict=True):
                assert_close(jax.tree.leaves(x), jax.tree.leaves(y))
        u, state = step(g, state, params)
        v, state_other = step_other(g, state_other, params_other)
        assert_close(u, v)
        params, params_other = optim.apply_updates(params, u), optax.apply_updates(params_other, v)
    # A state saved by Optax can be restored here, leaf by leaf.
    mine, others = jax.tree.leaves(state), jax.tree.leaves(state_other)
    assert [x.shape for x in mine] == [x.shape for x in others]
    assert_close(mine, others)
    restored = jax.tree.unflatten(jax.tree.structure(state), others)
    assert_close(step(g, restored, params)[0], step_other(g, state_other, params_other)[0])


def check_conversion(ours, state_other, params):
    """`convert_state` converts Optax's state, live or restored from a checkpoint without classes."""
    converted, fresh = convert_state(state_other, ours, params), ours.init(params)
    assert jax.tree.structure(converted) == jax.tree.structure(fresh)
    assert avals(converted) == avals(fresh)
    equal(convert_state(plain_containers(state_other), ours, params), converted)


def plain_containers(state):
    """A state as restored from a checkpoint without classes: dicts, lists, arrays and None."""
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return {f: plain_containers(getattr(state, f)) for f in state._fields}
    if isinstance(state, dict):
        return {str(k): plain_containers(x) for k, x in state.items()}
    if isinstance(state, tuple | list):
        return [plain_containers(x) for x in state]
    return state if state is None or jnp.issubdtype(state.dtype, jax.dtypes.prng_key) else np.asarray(state)


def is_compared_in_float32(row):
    return (
        is_shared(row) and not row.is_alias and row.id not in COARSE_IN_FLOAT32 and "bfloat16" not in repr(row.make())
    )


@of_rows(is_compared_in_float32)
def test_same_steps_in_float32(row, standard_promotion):
    """Equal up to the rounding of both. The parameters are constant, so that rounding does not accumulate."""
    ours, other, params = row.given(with_optax_rules(row.build())), make(row), tree()
    state, state_other = ours.init(params), other.init(params)
    step, step_other = jax.jit(ours.update), jax.jit(other.update)
    for g in stream(params):
        u, state = step(g, state, params)
        v, state_other = step_other(g, state_other, params)
        for x, y in zip(jax.tree.leaves(u), jax.tree.leaves(v), strict=True):
            size = float(jnp.max(jnp.abs(y)))
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4 * size + 1e-9)


def tolerance(state):
    """1e-9; if a slot has a narrower dtype, the precision of that dtype."""
    return max(
        [1e-9]
        + [10 * float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(state) if inexact(x) and x.dtype != jnp.float64]
    )


def assert_steps_close(a, b, rtol, in_size=False):
    """Leaf for leaf; `in_size`: to `rtol` of the largest element, as in `close_in_size`."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if inexact(x):
            x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
            (close_in_size if in_size else close)(x, y, rtol=rtol, atol=1e-9)
        elif not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(x, y)


def test_the_page_of_differences_is_up_to_date():
    assert page.PAGE.read_text() == page.page(), "run: python -m tests.reference.page"


def test_every_option_of_optax_is_described():
    """And it is not the default: without it, some example of the factory has other numbers."""
    assert OPTIONS.keys() == RULES.keys()

    def check(name):
        entry = optim.lookup(name)
        assert all(entry.signature.parameters[option].default != value for option, value in RULES[name].items())

    check_all(RULES, check)


def test_enough_is_compared():
    assert len({r.entry.name for r in ROWS if is_shared(r)}) > 90


def test_state_fields():
    def check(name):
        assert getattr(optim, name)._fields == theirs_of(name)._fields

    classes = [n for n in dir(optim) if inspect.isclass(getattr(optim, n))]
    named = [n for n in classes if hasattr(getattr(optim, n), "_fields") and hasattr(theirs_of(n), "_fields")]
    assert len(named) > 50
    check_all(named, check)


OTHER_DEFAULTS = {
    ("MultiSteps", "accumulator_dtype"): "the parameter's dtype, at least float32",
    ("lbfgs", "linesearch"): "this library's search, with the same arguments",
    ("sophia", "hessian_diagonal_fn"): "this library's estimator, with the same arguments",
}


def test_signatures(names):
    """Optax's parameters have the same names, order and defaults here; additional parameters come after them."""

    def shape(name, f):
        return [(p.name, p.kind, default(name, p)) for p in inspect.signature(f).parameters.values()]

    def default(name, p):
        is_function = callable(p.default) and not isinstance(p.default, type | tuple)
        other = is_function or (name, p.name) in OTHER_DEFAULTS
        return "another" if other else p.default

    def check(name):
        ours, other = shape(name, getattr(optim, name)), shape(name, theirs_of(name))
        assert ours[: len(other)] == other

    check_all([n for n in names if theirs_of(n)], check)


def test_schedules(entries, standard_promotion):
    def check(case):
        entry, example, _ = case
        ours = entry(*example.args, **example.kwargs)
        other = getattr(optax, entry.name)(*example.args, **example.kwargs)
        for count in range(25):
            np.testing.assert_allclose(ours(count), other(count), rtol=2e-6, atol=1e-9)

    shared = [e for e in entries if e.kind == "schedule" and hasattr(optax, e.name)]
    cases = [(e, x, f"{e.name}-{i}") for e in shared for i, x in enumerate(e.examples)]
    check_all([c for c in cases if c[-1] not in DIFFERS], check, name=lambda case: case[-1])


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

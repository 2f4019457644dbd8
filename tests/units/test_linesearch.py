"""Line searches: against a transcription of their algorithms, against Optax, and on what a user may bring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close

optax = pytest.importorskip("optax", reason="Optax is a test dependency")


def ripple(t, c):
    """A loss on a line: a quartic of any position and width, with ripples; its parameters are data."""
    z = (t - c[0]) * c[1]
    return c[2] * z**2 + c[3] * z**3 + c[4] * z**4 + c[5] * jnp.sin(c[6] * t)


def losses(n=40, seed=0):
    """Coefficients of `ripple` for which 0 is no minimum, and the direction that leads down from there."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        c = np.array([10 ** rng.uniform(-3, 1.5), 10 ** rng.uniform(-0.5, 0.5), *rng.uniform(0.1, 2, 3), 0.0, 1.0])
        if i % 3 == 0:
            c[5:] = rng.uniform(0, 2), 10 ** rng.uniform(0, 1.5)
        found.append((c, -float(np.sign(along(c, 1.0)(0.0)[1]))))
    return found


def along(c, u):
    """step -> (loss, slope) along the direction."""

    def point(a):
        t = a * u
        z = (t - c[0]) * c[1]
        slope = c[1] * (2 * c[2] * z + 3 * c[3] * z**2 + 4 * c[4] * z**3) + c[5] * c[6] * np.cos(c[6] * t)
        return c[2] * z**2 + c[3] * z**3 + c[4] * z**4 + c[5] * np.sin(c[6] * t), slope * u

    return point


# The algorithms on one line, written from the book.


def zoom(
    phi, guess, steps, *, longest=np.inf, tol=0.0, grow=2.0, c1=1e-4, c2=0.9, approx=1e-6, precision=1e-5, mutation=None
):
    """Nocedal & Wright, Algorithms 3.5 and 3.6: the points tried, and that which is taken, as (step, value, slope)."""
    f0, d0 = phi(0.0)

    def lacks(a, f, d):
        plain = f - f0 - c1 * a * d0
        near = max(d - (2 * c1 - 1) * d0, f - f0 - approx * abs(f0)) if approx is not None else plain
        if mutation == "no_approximate":
            near = plain
        return max(min(plain, near), 0.0), max(abs(d) - c2 * abs(d0), 0.0)

    tried, best, at, last, ends = [], None, (0.0, f0, d0), (0.0, f0, d0), None
    while len(tried) < steps:
        if ends is None:
            a = min(guess if not tried else grow * last[0], longest)
        else:
            (lo, flo, dlo), (hi, fhi, dhi) = ends
            a = between(lo, flo, dlo, hi, fhi, dhi, mutation)
        at = (a, *phi(a))
        tried.append(a)
        decrease, curvature = lacks(*at)
        if decrease <= tol and curvature <= tol:
            return tried, at, (decrease, curvature)
        if decrease <= tol and (best is None or at[1] < best[0][1]):
            best = at, (decrease, curvature)
        if ends is None:
            if decrease > 0 or (len(tried) > 1 and at[1] >= last[1]):
                ends = last, at
            elif at[2] >= 0:
                ends = at, last
            elif a >= longest:
                break
            last = at
        else:
            low, high = ends
            if decrease > 0 or at[1] >= low[1]:
                ends = low, at
            else:
                ends = at, (low if at[2] * (high[0] - low[0]) >= 0 and mutation != "end_kept" else high)
            if abs(high[0] - low[0]) <= precision and best is not None:
                break
    return tried, *(best or (at, lacks(*at)))


def between(lo, flo, dlo, hi, fhi, dhi, mutation):
    """Eq. 3.59, the parabola, or the middle, whichever first is a tenth of the interval away from its ends."""
    first = dlo + dhi - 3 * (flo - fhi) / (lo - hi)
    under = first**2 - dlo * dhi
    candidates = []
    if under >= 0 and mutation != "no_cubic":
        second = np.sign(hi - lo) * np.sqrt(under)
        candidates.append(hi - (hi - lo) * (dhi + second - first) / (dhi - dlo + 2 * second))
    bend = fhi - flo - dlo * (hi - lo)
    candidates.append(lo - dlo * (hi - lo) ** 2 / (2 * bend) if bend else np.nan)
    edge = 0.1 * abs(hi - lo)
    inner = [x for x in candidates if min(lo, hi) + edge < x < max(lo, hi) - edge]
    return inner[0] if inner else 0.5 * (lo + hi)


OPTIONS = [
    {},
    {"max_linesearch_steps": 40, "curv_rtol": 0.01, "slope_rtol": 1e-3, "approx_dec_rtol": None},
    {"max_linesearch_steps": 7, "max_learning_rate": 3.0, "curv_rtol": 0.1, "increase_factor": 1.5},
    {"tol": 0.05, "curv_rtol": 0.05, "slope_rtol": 0.3, "stepsize_precision": 0.05, "approx_dec_rtol": 1e-2},
]
WORDS = {
    "max_linesearch_steps": "steps",
    "max_learning_rate": "longest",
    "increase_factor": "grow",
    "slope_rtol": "c1",
    "curv_rtol": "c2",
    "approx_dec_rtol": "approx",
    "stepsize_precision": "precision",
}


CASES = [(*case, (1.0, 0.03)[n % 2]) for n, case in enumerate(losses())]  # coefficients, direction, first guess


def expected(case, options, mutation=None):
    c, u, guess = case
    words = {WORDS.get(k, k): v for k, v in {"max_linesearch_steps": 20, **options}.items()}
    tried, at, errors = zoom(along(c, u), guess, mutation=mutation, **words)
    return [len(tried), *at, *errors]


def searcher(tx, **given):
    """A compiled search of `ripple` from 0."""
    return jax.jit(lambda u, s, c, **more: tx.update(u, s, jnp.zeros(()), value_fn=ripple, c=c, **more))


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
def test_zoom_is_the_book(options, x64):
    tx = optim.scale_by_zoom_linesearch(**{"max_linesearch_steps": 20, **options})
    update, rows, theirs = searcher(tx), [], []
    for case in CASES:
        c, u, guess = case
        state = tx.init(jnp.zeros(()))._replace(learning_rate=jnp.asarray(guess))
        step, state = update(jnp.asarray(u), state, jnp.asarray(c))
        assert step == state.learning_rate * u
        rows.append([float(x) for x in (state.info[0], *state[:2], state.grad * u, *state.info[1:])])
        theirs.append(expected(case, options))
    np.testing.assert_allclose(rows, theirs, rtol=1e-6, atol=1e-9)
    assert len({row[0] for row in theirs}) > 3


@pytest.mark.parametrize("mutation", ["no_approximate", "end_kept", "no_cubic"])
def test_the_transcription_can_fail(mutation):
    runs = [(expected(case, o), expected(case, o, mutation)) for o in OPTIONS for case in CASES]
    assert not all(np.allclose(a, b, rtol=1e-3) for a, b in runs)


# Optax, where its search is the same: on parabolas, and where nothing is interpolated


def parabolas():
    """Those whose minimum the first interpolation finds; of a second one Optax loses digits."""
    return [(np.array([*c[:3], 0, 0, 0, 1.0]), 1.0, guess) for c, _, guess in CASES if c[0] > 0.15 * guess]


def same_search(ours, theirs, cases, rtol):
    run, run_theirs = searcher(ours), searcher(theirs)
    for c, u, guess in cases:
        c, u = jnp.asarray(c), jnp.asarray(u)
        value, grad = jax.value_and_grad(ripple)(jnp.zeros(()), c)
        state, other = ours.init(jnp.zeros(())), theirs.init(jnp.zeros(()))
        for _ in range(2):
            old = state.learning_rate if state.info[0] else jnp.asarray(guess, state.learning_rate.dtype)
            step, state = run(u, state._replace(learning_rate=old), c, value=value, grad=grad)
            other_step, other = run_theirs(u, other._replace(learning_rate=old), c, value=value, grad=grad)
            np.testing.assert_allclose(step, other_step, rtol=rtol)
            for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
                np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


BACKTRACKING = [
    {},
    {"slope_rtol": 0.3, "decrease_factor": 0.5, "increase_factor": 3.0, "max_learning_rate": 4.0, "store_grad": True},
    {"increase_factor": np.inf, "max_learning_rate": 2.0, "atol": 0.1, "rtol": 0.1},
]


@pytest.mark.parametrize("options", BACKTRACKING, ids=range(3))
def test_backtracking_is_optax(options, x64, standard_promotion):
    name = "scale_by_backtracking_linesearch"
    same_search(getattr(optim, name)(15, **options), getattr(optax, name)(15, **options), CASES[:20], 1e-12)


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[2]], ids=range(2))
def test_zoom_is_optax_on_parabolas(options, x64, standard_promotion):
    options = {**options, "max_linesearch_steps": 20}
    ours, theirs = (lib.scale_by_zoom_linesearch(**options) for lib in (optim, optax))
    same_search(ours, theirs, parabolas(), 1e-6)


# What a user may bring


def loss(params, target, scale=1.0):
    return scale * sum(jnp.sum(jnp.square(p - target)) for p in jax.tree.leaves(params))


SEARCHES = [
    optim.scale_by_zoom_linesearch(20),
    optim.scale_by_backtracking_linesearch(20, store_grad=True),
]
EITHER = pytest.mark.parametrize("search", SEARCHES, ids=["zoom", "backtracking"])


@EITHER
def test_value_and_grad_are_evaluated_if_they_are_not_given(search):
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    value, grad = jax.value_and_grad(loss)(params, 0.25)
    down, state = jax.tree.map(jnp.negative, grad), search.init(params)
    given = search.update(down, state, params, value=value, grad=grad, value_fn=loss, target=0.25)
    for more in ({}, {"value": value}, {"grad": grad}):
        close(search.update(down, state, params, value_fn=loss, target=0.25, **more), given)


@EITHER
def test_value_fn_gets_the_arguments_that_it_names(search):
    params, state = jnp.array([1.0, -2.0]), search.init(jnp.zeros(2))
    seen = []

    def open_ended(params, **kwargs):
        seen.append(sorted(kwargs))
        return loss(params, kwargs["target"])

    u, new = search.update(-params, state, params, value_fn=loss, target=0.0, nonsense=jnp.ones(3))
    close(search.update(-params, state, params, value_fn=open_ended, target=0.0, other=1.0), (u, new))
    assert set(map(tuple, seen)) == {("other", "target")}
    doubled, new_doubled = search.update(-params, state, params, value_fn=loss, target=0.0, scale=2.0)
    close((doubled, new_doubled.value), (u, 2 * new.value))


@EITHER
def test_errors(search):
    params, state, name = jnp.ones(2), search.init(jnp.ones(2)), search.call.name
    with pytest.raises(TypeError, match=rf"^{name}: update needs value_fn: call update\(updates, state, params, value"):
        search.update(params, state, params, value=jnp.ones(()), grad=params)
    with pytest.raises(TypeError, match=f"^{name}: .*value_fn=...\\); got 'f'"):
        search.update(params, state, params, value_fn="f")
    with pytest.raises(TypeError, match=f"^{name}: the loss must be a real scalar, got an array of shape"):
        search.update(params, state, params, value_fn=loss, target=0.0, value=jnp.ones(2), grad=params)
    with pytest.raises(ValueError, match=f"^{name}: .*grad"):
        search.update({"a": params}, state, {"a": params}, value_fn=loss, target=0.0, value=1.0, grad={"b": params})


@EITHER
def test_where_nothing_is_finite_it_stays_and_later_goes_on(search):
    """Where the loss is not finite however short the step, parameters, value and gradient stay."""
    params = jnp.array([1.0, -2.0])

    def walled(p, wall):
        return jnp.where(jnp.all(p == params), loss(p, 0.0), jnp.where(wall, jnp.nan, loss(p, 0.0)))

    state = search.init(params)
    u, state = search.update(-params, state, params, value_fn=walled, wall=True)
    np.testing.assert_array_equal(u, 0)
    assert float(state.value) == 5.0
    assert np.isinf(state.info.decrease_error)
    close(state.grad, 2 * params)
    u, state = search.update(-params, state, params, value_fn=walled, wall=False)
    close(u, -params)
    assert state.learning_rate == 1


@EITHER
def test_complex_parameters(search):
    """Gradients and directions are conjugated as any update is; the state keeps what `jax.grad` gives."""
    target = jnp.array([1 + 2j, 3 - 1j], jnp.complex64)

    def off(z):
        return jnp.sum(jnp.square(jnp.abs(z - target)) * jnp.array([1.0, 3.0]))

    z = jnp.zeros(2, jnp.complex64)
    grad = jnp.conj(jax.grad(off)(z))
    u, state = search.update(-grad, search.init(z), z, value=off(z), grad=grad, value_fn=off)
    slope = jax.grad(lambda a: off(z + a * u))
    assert off(z + u) < off(z)
    if search is SEARCHES[0]:
        np.testing.assert_allclose(slope(1.0), 0, atol=1e-3)  # the minimum: the loss is a parabola along the direction
    close((state.value, state.grad), jax.value_and_grad(off)(z + u), rtol=1e-5)


@EITHER
def test_what_is_not_searched_is_still_seen(search):
    """A frozen leaf, an integer and a missing one: the loss sees them, the gradient is of all that are trainable."""
    params = {"w": jnp.ones(2), "frozen": jnp.ones(2, jnp.bfloat16), "n": jnp.arange(2), "none": None}

    def value_fn(p):
        assert p["none"] is None
        return jnp.sum(jnp.square(p["w"] - p["n"].astype(float))) + jnp.sum(p["frozen"].astype(float))

    u = {"w": jnp.array([-1.0, 0.0]), "frozen": None, "n": None, "none": None}
    state = search.init(params)
    out, new = jax.jit(lambda u, s, p: search.update(u, s, p, value_fn=value_fn))(u, state, params)
    assert out["frozen"] is None
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    np.testing.assert_array_equal(new.grad["frozen"], 1)
    close(out["w"], u["w"])
    close(search.update({**u, "n": np.zeros(2, jax.dtypes.float0)}, state, params, value_fn=value_fn)[0]["w"], u["w"])


@EITHER
def test_verbose_prints_each_result(search, capsys):
    made = optim.get(search.call.name, *search.call.args, **{**search.call.kwargs, "verbose": True})
    params = jnp.ones(2)
    made.update(-params, made.init(params), params, value_fn=loss, target=0.0)
    jax.effects_barrier()
    assert f"{search.call.name}: 1 steps, learning rate 1.0, value 0.0; " in capsys.readouterr().out


@EITHER
def test_injected_hyperparameters(search):
    name = search.call.name
    made = optim.inject_hyperparams(getattr(optim, name))(20, slope_rtol=0.9)
    params, plain = jnp.ones(2), getattr(optim, name)(20, slope_rtol=0.1)
    state = optim.tree.set(made.init(params), slope_rtol=0.1)
    ours, _ = made.update(-3 * params, state, params, value_fn=loss, target=0.0)
    close(ours, plain.update(-3 * params, plain.init(params), params, value_fn=loss, target=0.0)[0])


@EITHER
def test_one_trace_for_many_steps(search):
    traces, traced = [], []

    def value_fn(params, target):
        traces.append(1)
        return loss(params, target)

    tx = optim.chain(optim.sgd(0.3), search)
    value_and_grad = optim.value_and_grad_from_state(value_fn)
    params = {"w": jnp.ones((2, 3)), "b": jnp.array(2.0)}
    state = tx.init(params)
    for _ in range(5):
        value, grad = value_and_grad(params, 0.5, state=state)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn, target=0.5)
        params = optim.apply_updates(params, updates)
        traced.append(len(traces))
    assert len(set(traced)) == 1

"""Line searches against a transcription of their algorithms, and against Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

pytestmark = pytest.mark.slow

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
        if i == 4:
            c[0] = 1e-7  # nearer than the interval may be narrow
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


def searcher(tx):
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

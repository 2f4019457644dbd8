"""A step of sufficient decrease and small curvature: an interval that holds one, and its refinement."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, tree
from ..checks import Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..types import Array, Params, Scalar, Updates
from .criteria import cubic_minimizer, curvature_error, decrease_error, inside, or_infinite, quadratic_minimizer
from .ray import NO_DERIVATIVE, NOT_ALONE, Point, Ray, choose, fresh_grad, half_square, kept_grad, scalar


class ZoomLinesearchInfo(NamedTuple):
    num_linesearch_steps: Array
    decrease_error: Array
    curvature_error: Array


class ScaleByZoomLinesearchState(NamedTuple):
    learning_rate: Array
    value: Array
    grad: Updates
    info: ZoomLinesearchInfo


class _Taken(NamedTuple):
    """The step to take if the search stops now."""

    point: Point
    decrease_error: Array
    curvature_error: Array
    decreases: Array
    grad: Updates


class _Search(NamedTuple):
    """Where the search is: at the last point, until it zooms; then between two.

    Of these `low` is the one of sufficient decrease that is lower, and its slope leads inside.
    """

    steps: Array
    stopped: Array
    zooming: Array
    last: Point
    low: Point
    high: Point
    taken: _Taken


_STRATEGIES = ("one", "keep")


@register(
    example(4).given(value_fn=half_square),
    example(4, 2.0, 1e-3, 1.5, 0.01, 0.1, None, 0.1, "one").given(value_fn=half_square),
    ranges={
        "max_linesearch_steps": Range(1, integer=True),
        "max_learning_rate": checks.POSITIVE,
        "tol": checks.NON_NEGATIVE,
        "increase_factor": Range(1, open_low=True),
        "slope_rtol": checks.NON_NEGATIVE,
        "stepsize_precision": checks.NON_NEGATIVE,
    },
    exceptions=NO_DERIVATIVE | NOT_ALONE | {"golden": "it needs a function: see tests/units/test_linesearch.py"},
    errors=[
        (example(20, initial_guess_strategy="two"), "initial_guess_strategy must be 'one' or 'keep', got 'two'"),
        (example(20, curv_rtol=-1.0), "curv_rtol must be >= 0, got -1.0"),
        (example(20, approx_dec_rtol=-1.0), "approx_dec_rtol must be >= 0, got -1.0"),
    ],
)
def scale_by_zoom_linesearch(
    max_linesearch_steps: int,
    max_learning_rate: Scalar | None = None,
    tol: Scalar = 0.0,
    increase_factor: Scalar = 2.0,
    slope_rtol: Scalar = 0.0001,
    curv_rtol: Scalar = 0.9,
    approx_dec_rtol: Scalar | None = 1e-06,
    stepsize_precision: Scalar = 1e-05,
    initial_guess_strategy: str = "keep",
    verbose: bool = False,
) -> GradientTransformationExtraArgs:
    """Multiply updates by a step of sufficient decrease and small curvature along them.

        f(p + a u) <= f(p) + slope_rtol a <g, u> + tol         |<g(p + a u), u>| <= curv_rtol |<g, u>| + tol

    a first grows by increase_factor until an interval holds such a step, which cubic interpolation then narrows. Where
    f rises by approx_dec_rtol |f| at most, <g(p + a u), u> <= (2 slope_rtol - 1) <g, u> is decrease enough.

    Args:    max_linesearch_steps >= 1: evaluations of f and its gradient; when they are spent, or the interval is
             below stepsize_precision, the lowest point of sufficient decrease is taken. max_learning_rate: a bound on
             a, or None. approx_dec_rtol >= 0 or None; curv_rtol may be inf. initial_guess_strategy: a begins at "one"
             or is "keep", the last one. verbose: print each result. update needs value_fn: f(params, **its own of the
             extra arguments); value, grad at params are evaluated unless given. Outside `jit` one function is compiled
             once: pass data as extra arguments, and not a new lambda each step.
    State:   learning_rate, value, grad after the step, info; 4 bytes per float32 parameter.
    Source:  Nocedal & Wright 1999, Alg. 3.5, 3.6, Eq. 3.59; Hager & Zhang 2006, Eq. 4.1.
    Differs: Optax's cubic goes through a third value, not the slope of the second: up to 1.2 times the evaluations. It
             needs value and grad, refuses arguments that f does not take, tells of the last point tried in place of the
             one taken, and stays where it is for good once no value was finite.
    """
    if initial_guess_strategy not in _STRATEGIES:
        checks.fail(f"initial_guess_strategy must be 'one' or 'keep', got {checks.shown(initial_guess_strategy)}")
    or_infinite("curv_rtol", curv_rtol, checks.NON_NEGATIVE)
    if approx_dec_rtol is not None:
        checks.argument("approx_dec_rtol", approx_dec_rtol, checks.NON_NEGATIVE)

    def errors(at: Point, start: Point) -> tuple[Array, Array]:
        return decrease_error(at, start, slope_rtol, approx_dec_rtol), curvature_error(at, start, curv_rtol)

    def ahead(search: _Search, guess: Array) -> Array:
        step = jnp.where(search.steps == 0, guess, scalar(increase_factor) * search.last.step)
        return step if max_learning_rate is None else jnp.minimum(step, scalar(max_learning_rate))

    def bracketed(search: _Search, at: Point, fails: Array) -> _Search:
        """After a step ahead of all others."""
        rises = fails | ((at.value >= search.last.value) & (search.steps > 0))
        low, high = choose(rises, search.last, at), choose(rises, at, search.last)
        zooming = rises | (at.slope >= 0)
        at_end = jnp.zeros_like(rises) if max_learning_rate is None else at.step >= scalar(max_learning_rate)
        return search._replace(last=at, low=low, high=high, zooming=zooming, stopped=~zooming & at_end)

    def refined(search: _Search, at: Point, fails: Array) -> _Search:
        """After a step inside the interval."""
        low, high = search.low, search.high
        above, beyond = fails | (at.value >= low.value), at.slope * (high.step - low.step) >= 0
        narrow = jnp.abs(high.step - low.step) <= scalar(stepsize_precision)
        return search._replace(
            low=choose(above, low, at),
            high=choose(above, at, choose(beyond, low, high)),
            stopped=narrow & search.taken.decreases,
        )

    def searched(ray: Ray, guess: Array, grad: Updates) -> _Search:
        def body(search: _Search) -> _Search:
            at, raw = ray.point(jnp.where(search.zooming, _within(search), ahead(search, guess)))
            decrease, curvature = errors(at, ray.start)
            search = search._replace(taken=_better(search.taken, at, kept_grad(raw, grad), decrease, curvature, tol))
            ends = (decrease <= scalar(tol)) & (curvature <= scalar(tol))
            fails = decrease > 0
            new = choose(search.zooming, refined(search, at, fails), bracketed(search, at, fails))
            return new._replace(steps=search.steps + 1, taken=search.taken, stopped=ends | new.stopped)

        no, nowhere = jnp.zeros((), bool), scalar(jnp.inf)
        taken = _Taken(ray.start, nowhere, nowhere, no, kept_grad(tree.conj(ray.grad), grad))
        start = _Search(jnp.zeros((), jnp.int32), no, no, ray.start, ray.start, ray.start, taken)
        going = lambda search: ~search.stopped & (search.steps < max_linesearch_steps)  # noqa: E731
        found: _Search = lax.while_loop(going, body, start)
        return found

    def init(params: Params) -> ScaleByZoomLinesearchState:
        info = ZoomLinesearchInfo(jnp.zeros((), jnp.int32), scalar(jnp.inf), scalar(jnp.inf))
        return ScaleByZoomLinesearchState(scalar(1.0), scalar(jnp.inf), fresh_grad(params), info)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        ray = Ray(updates, params, extra_args)
        keeps = initial_guess_strategy == "keep"
        guess = jnp.where(state.learning_rate > 0, state.learning_rate, 1) if keeps else scalar(1.0)
        found = searched(ray, guess, state.grad)
        step, value, _ = found.taken.point
        info = ZoomLinesearchInfo(found.steps, found.taken.decrease_error, found.taken.curvature_error)
        if verbose:
            jax.debug.print(_TOLD, found.steps, step, value, *info[1:])
        return ray.times(step), ScaleByZoomLinesearchState(step, value, found.taken.grad, info)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="treewise", state_classes=(ScaleByZoomLinesearchState,), slots=("grad",))


_TOLD = (
    "scale_by_zoom_linesearch: {} steps, learning rate {}, value {}; "
    "not enough decrease by {}, too much curvature by {}"
)


def _within(search: _Search) -> Array:
    """A step inside the interval: the minimum of a cubic or a parabola that is not near an end, or the middle."""
    low, high = search.low, search.high
    step = 0.5 * (low.step + high.step)
    for minimizer in (quadratic_minimizer, cubic_minimizer):
        x = minimizer(low, high)
        step = jnp.where(inside(x, low, high), x, step)
    return step


def _better(old: _Taken, at: Point, grad: Updates, decrease: Array, curvature: Array, tol: Scalar) -> _Taken:
    """What is taken now: what ends the search, or the lowest point of sufficient decrease, or the last one."""
    good = decrease <= scalar(tol)
    better = good & ((curvature <= scalar(tol)) | ~old.decreases | (at.value < old.point.value))
    better |= ~good & ~old.decreases & jnp.isfinite(at.value)
    return choose(better, _Taken(at, decrease, curvature, good, grad), old)

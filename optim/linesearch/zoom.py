"""Zoom line search: bracket a step of sufficient decrease and small curvature, then refine the bracket."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, tree
from ..checks import Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..types import Array, Params, Scalar, Updates
from .criteria import cubic_minimizer, curvature_error, decrease_error, inside, quadratic_minimizer
from .ray import NO_DERIVATIVE, NOT_ALONE, Point, Ray, choose, fresh_grad, half_square, scalar, stored_grad


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
    """State of the search: it extends the step from `last` until it brackets a solution, then zooms into [low, high].

    `low` is the end with sufficient decrease and the lower loss; its slope points into the interval.
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
        "max_learning_rate": checks.BOUND,
        "tol": checks.NON_NEGATIVE,
        "increase_factor": Range(1, open_low=True),
        "slope_rtol": checks.NON_NEGATIVE,
        "curv_rtol": Range(0, infinite=True),
        "approx_dec_rtol": Range(0, optional=True),
        "stepsize_precision": checks.NON_NEGATIVE,
    },
    exceptions=NO_DERIVATIVE
    | NOT_ALONE
    | {
        "golden": "it needs a function: see tests/units/test_linesearch.py",
        "aliases": "the search reads the parameters while it writes the step: a GPU's loop copies them",
    },
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
    """Multiply updates by a step length of sufficient decrease and small curvature.

        f(p + a u) <= f(p) + slope_rtol a <g, u> + tol         |<g(p + a u), u>| <= curv_rtol |<g, u>| + tol

    Growing steps bracket a solution, cubic interpolation narrows the bracket. Pass value_fn = f to update; its value
    and grad at params are evaluated unless given, and f(params, **kwargs) receives the extra arguments it has names
    for. Put the step under `jit`: outside it the search is traced and compiled at every update.

    Args:
      max_linesearch_steps: largest number of evaluations of f, an integer >= 1; the lowest point is then taken.
      max_learning_rate: upper bound of a, > 0, or None.
      tol: tolerance of both conditions, >= 0. Usually 0.
      increase_factor: growth of a before the bracket, > 1. Usually 2.
      slope_rtol, curv_rtol: factors of the conditions (c1, c2), >= 0; curv_rtol may be inf. Usually 1e-4 and 0.9.
      approx_dec_rtol: >= 0 or None: f may rise by it times |f| if <g(p + a u), u> <= (2 slope_rtol - 1) <g, u>.
      stepsize_precision: smallest width of the bracket, >= 0. Usually 1e-5.
      initial_guess_strategy: first trial of a: "one", or "keep" for the last step.
      verbose: whether to print the result of every search.
    State:   learning_rate, value and grad after the step, info; 4 bytes per float32 parameter.
    Source:  Nocedal & Wright 1999, Alg. 3.5, 3.6, Eq. 3.59; Hager & Zhang 2006, Eq. 4.1.
    Differs: Optax needs value and grad and up to 1.2 times the evaluations, refuses arguments that f does not take,
             reports the last trial, and never moves again once a search has met no finite value.
    """
    checks.choice("initial_guess_strategy", initial_guess_strategy, _STRATEGIES)

    def errors(at: Point, start: Point) -> tuple[Array, Array]:
        return decrease_error(at, start, slope_rtol, approx_dec_rtol), curvature_error(at, start, curv_rtol)

    def extend(search: _Search, guess: Array) -> Array:
        step = jnp.where(search.steps == 0, guess, scalar(increase_factor) * search.last.step)
        return step if max_learning_rate is None else jnp.minimum(step, scalar(max_learning_rate))

    def bracket(search: _Search, at: Point, fails: Array) -> _Search:
        """The search after a trial beyond all earlier ones."""
        rises = fails | ((at.value >= search.last.value) & (search.steps > 0))
        low, high = choose(rises, search.last, at), choose(rises, at, search.last)
        zooming = rises | (at.slope >= 0)
        at_end = jnp.zeros_like(rises) if max_learning_rate is None else at.step >= scalar(max_learning_rate)
        return search._replace(last=at, low=low, high=high, zooming=zooming, stopped=~zooming & at_end)

    def refine(search: _Search, at: Point, fails: Array) -> _Search:
        """The search after a trial inside the bracket."""
        low, high = search.low, search.high
        above, beyond = fails | (at.value >= low.value), at.slope * (high.step - low.step) >= 0
        narrow = jnp.abs(high.step - low.step) <= scalar(stepsize_precision)
        return search._replace(
            low=choose(above, low, at),
            high=choose(above, at, choose(beyond, low, high)),
            stopped=narrow & search.taken.decreases,
        )

    def run(ray: Ray, guess: Array, grad: Updates) -> _Search:
        def body(search: _Search) -> _Search:
            at, raw = ray.point(jnp.where(search.zooming, _next_trial(search), extend(search, guess)))
            decrease, curvature = errors(at, ray.start)
            search = search._replace(taken=_best(search.taken, at, stored_grad(raw, grad), decrease, curvature, tol))
            ends = (decrease <= scalar(tol)) & (curvature <= scalar(tol))
            fails = decrease > 0
            new = choose(search.zooming, refine(search, at, fails), bracket(search, at, fails))
            return new._replace(steps=search.steps + 1, taken=search.taken, stopped=ends | new.stopped)

        no, infinite = jnp.zeros((), bool), scalar(jnp.inf)
        taken = _Taken(ray.start, infinite, infinite, no, stored_grad(tree.conj(ray.grad), grad))
        start = _Search(jnp.zeros((), jnp.int32), no, no, ray.start, ray.start, ray.start, taken)
        unfinished = lambda search: ~search.stopped & (search.steps < max_linesearch_steps)  # noqa: E731
        result: _Search = lax.while_loop(unfinished, body, start)
        return result

    def init(params: Params) -> ScaleByZoomLinesearchState:
        info = ZoomLinesearchInfo(jnp.zeros((), jnp.int32), scalar(jnp.inf), scalar(jnp.inf))
        return ScaleByZoomLinesearchState(scalar(1.0), scalar(jnp.inf), fresh_grad(params), info)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        ray = Ray(updates, params, extra_args)
        keeps = initial_guess_strategy == "keep"
        guess = jnp.where(state.learning_rate > 0, state.learning_rate, 1) if keeps else scalar(1.0)
        search = run(ray, guess, state.grad)
        step, value, _ = search.taken.point
        info = ZoomLinesearchInfo(search.steps, search.taken.decrease_error, search.taken.curvature_error)
        if verbose:
            jax.debug.print(_MESSAGE, search.steps, step, value, *info[1:])
        return ray.times(step), ScaleByZoomLinesearchState(step, value, search.taken.grad, info)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="treewise", state_classes=(ScaleByZoomLinesearchState,), slots=("grad",))


_MESSAGE = "scale_by_zoom_linesearch: {} steps, learning rate {}, value {}, decrease error {}, curvature error {}"


def _next_trial(search: _Search) -> Array:
    """The next trial inside the bracket: the minimum of a cubic or parabola, or the midpoint if that is near an end."""
    low, high = search.low, search.high
    step = 0.5 * (low.step + high.step)
    for minimizer in (quadratic_minimizer, cubic_minimizer):
        x = minimizer(low, high)
        step = jnp.where(inside(x, low, high), x, step)
    return step


def _best(old: _Taken, at: Point, grad: Updates, decrease: Array, curvature: Array, tol: Scalar) -> _Taken:
    """The step to take after a trial: one that ends the search, or the lowest of sufficient decrease, or the last."""
    good = decrease <= scalar(tol)
    better = good & ((curvature <= scalar(tol)) | ~old.decreases | (at.value < old.point.value))
    better |= ~good & ~old.decreases & jnp.isfinite(at.value)
    return choose(better, _Taken(at, decrease, curvature, good, grad), old)

"""Backtracking line search: shorten the step until the loss decreases enough."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, tree
from ..checks import Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..numerics import branch
from ..types import Array, Params, Scalar, Updates
from .criteria import decrease_error
from .ray import NO_DERIVATIVE, NOT_ALONE, Point, Ray, choose, fresh_grad, half_square, scalar, stored_grad


class BacktrackingLinesearchInfo(NamedTuple):
    num_linesearch_steps: Array
    decrease_error: Array


class ScaleByBacktrackingLinesearchState(NamedTuple):
    learning_rate: Array
    value: Array
    grad: Updates | None
    info: BacktrackingLinesearchInfo


class _Search(NamedTuple):
    steps: Array
    step: Array
    """The last step tried; 0 before the first iteration."""
    value: Array
    error: Array
    grad: Updates | None
    """Gradient at the accepted step once the search has stopped; before, the gradient at its start."""
    stopped: Array


@register(
    example(4).given(value_fn=half_square),
    example(3, 0.1, 0.5, 2.0, 4.0, atol=1e-3, rtol=1e-3, store_grad=True).given(value_fn=half_square),
    ranges={
        "max_backtracking_steps": Range(0, integer=True),
        "slope_rtol": checks.NON_NEGATIVE,
        "decrease_factor": Range(0, 1, open_low=True, open_high=True),
        "increase_factor": Range(1, infinite=True),
        "max_learning_rate": checks.POSITIVE,
        "atol": checks.NON_NEGATIVE,
        "rtol": checks.NON_NEGATIVE,
    },
    exceptions=NO_DERIVATIVE | NOT_ALONE | {"golden": "it needs a function: see tests/units/test_linesearch.py"},
    errors=[(example(20, increase_factor=0.5), "increase_factor must be >= 1, got 0.5")],
)
def scale_by_backtracking_linesearch(
    max_backtracking_steps: int,
    slope_rtol: Scalar = 0.0001,
    decrease_factor: Scalar = 0.8,
    increase_factor: Scalar = 1.5,
    max_learning_rate: Scalar = 1.0,
    atol: Scalar = 0.0,
    rtol: Scalar = 0.0,
    store_grad: bool = False,
    verbose: bool = False,
) -> GradientTransformationExtraArgs:
    """Multiply updates by the first step length that decreases the loss sufficiently.

        f(p + a u) <= (1 + rtol) f(p) + slope_rtol a <g, u> + atol
        a = a_0, a_0 decrease_factor, ...,  a_0 = min(increase_factor times the last step, max_learning_rate)

    Pass value_fn = f to update; its value and grad at params are evaluated unless given. f(params, **kwargs) receives
    the extra arguments it has names for. Compilation and caching are as in `scale_by_zoom_linesearch`.

    Args:
      max_backtracking_steps: largest number of decreases, an integer >= 0; the last step is then taken. Usually 20.
      slope_rtol: required decrease relative to the slope, >= 0. Usually 1e-4.
      decrease_factor: factor from one trial to the next, in (0, 1). Usually 0.8.
      increase_factor: growth of the initial guess, >= 1; inf starts at max_learning_rate every time. Usually 1.5.
      max_learning_rate: upper bound of a, > 0. Usually 1.
      atol, rtol: tolerated increase of f, absolute and relative, >= 0. Usually 0.
      store_grad: whether to evaluate and store the gradient at the accepted step, for `value_and_grad_from_state`.
      verbose: whether to print the result of every search.
    State:   learning_rate, value after the step, info; with store_grad grad: 4 bytes per float32 parameter.
    Source:  Nocedal & Wright 1999, Alg. 3.1; the growth of a_0: Vaswani et al. 2019.
    Differs: Optax needs value and grad, refuses extra arguments that f does not take, and never moves again once a
             search has met no finite value.
    """

    def initial_guess(last: Array) -> Array:
        longest = scalar(max_learning_rate)
        # A last step of 0 means that no trial had a finite loss: start from the longest step.
        return jnp.where(last > 0, jnp.minimum(scalar(increase_factor) * last, longest), longest)

    def run(ray: Ray, guess: Array, grad: Updates | None) -> _Search:
        def body(search: _Search) -> _Search:
            step = jnp.where(search.steps == 0, guess, scalar(decrease_factor) * search.step)
            value, pullback = ray.value_and_pullback(step)
            error = decrease_error(Point(step, value, scalar(0.0)), ray.start, slope_rtol, rtol=rtol)
            ends = (error <= scalar(atol)) | (search.steps >= max_backtracking_steps)
            end_grad = search.grad
            if grad is not None:
                last = ends & jnp.isfinite(value)
                end_grad = branch(last, lambda: stored_grad(pullback(), grad), lambda: search.grad)
            return _Search(search.steps + 1, step, value, error, end_grad, ends)

        start_grad = None if grad is None else stored_grad(tree.conj(ray.grad), grad)
        initial = _Search(jnp.zeros((), jnp.int32), *ray.start[:2], scalar(jnp.inf), start_grad, jnp.zeros((), bool))
        result: _Search = lax.while_loop(lambda search: ~search.stopped, body, initial)
        step, value = choose(jnp.isfinite(result.value), (result.step, result.value), ray.start[:2])
        return result._replace(step=step, value=value)

    def init(params: Params) -> ScaleByBacktrackingLinesearchState:
        info = BacktrackingLinesearchInfo(jnp.zeros((), jnp.int32), scalar(jnp.inf))
        grad = fresh_grad(params) if store_grad else None
        return ScaleByBacktrackingLinesearchState(scalar(1.0), scalar(jnp.inf), grad, info)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        ray = Ray(updates, params, extra_args)
        search = run(ray, initial_guess(state.learning_rate), state.grad)
        info = BacktrackingLinesearchInfo(search.steps, search.error)
        if verbose:
            jax.debug.print(_MESSAGE, search.steps, search.step, search.value, search.error)
        new = ScaleByBacktrackingLinesearchState(search.step, search.value, search.grad, info)
        return ray.times(search.step), new

    tx = GradientTransformationExtraArgs(init, update)
    slots = ("grad",) if store_grad else ()
    return tx.declaring(grain="treewise", state_classes=(ScaleByBacktrackingLinesearchState,), slots=slots)


_MESSAGE = "scale_by_backtracking_linesearch: {} steps, learning rate {}, value {}, decrease error {}"

"""A step of sufficient decrease: the first of ever shorter ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import checks, tree
from ..checks import Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..types import Array, Params, Scalar, Updates
from .criteria import decrease_error, or_infinite
from .ray import NO_DERIVATIVE, NOT_ALONE, Point, Ray, choose, fresh_grad, half_square, kept_grad, scalar


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
    """The last one tried, or before the first that one."""
    value: Array
    error: Array
    grad: Updates | None
    """That at the end of the search, when it is there; until then that at its start."""
    stopped: Array


@register(
    example(4).given(value_fn=half_square),
    example(3, 0.1, 0.5, 2.0, 4.0, atol=1e-3, rtol=1e-3, store_grad=True).given(value_fn=half_square),
    ranges={
        "max_backtracking_steps": Range(0, integer=True),
        "slope_rtol": checks.NON_NEGATIVE,
        "decrease_factor": Range(0, 1, open_low=True, open_high=True),
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
    """Multiply updates by the first step of sufficient decrease along them.

        f(p + a u) <= (1 + rtol) f(p) + slope_rtol a <g, u> + atol
        a = a_0, a_0 decrease_factor, ...,  a_0 = min(increase_factor times the last step, max_learning_rate)

    Args:    max_backtracking_steps >= 0: how often a is decreased; then the last one is taken. decrease_factor in
             (0, 1); increase_factor >= 1, inf to begin at max_learning_rate each time. store_grad: keep the gradient
             at the end, of which only that is evaluated, for `value_and_grad_from_state`. verbose: print each result.
             update needs value_fn: f(params, **its own of the extra arguments), compiled once for one function as
             `scale_by_zoom_linesearch` tells; value, grad at params are evaluated unless given.
    State:   learning_rate, value after the step, info; with store_grad grad: 4 bytes per float32 parameter.
    Source:  Nocedal & Wright 1999, Alg. 3.1; the growth of a_0: Vaswani et al. 2019.
    Differs: Optax needs value and grad, refuses arguments that f does not take, and stays where it is for good once no
             value was finite.
    """
    or_infinite("increase_factor", increase_factor, Range(1))

    def first(last: Array) -> Array:
        longest = scalar(max_learning_rate)
        # A step of 0 is no guess: nothing was finite there.
        return jnp.where(last > 0, jnp.minimum(scalar(increase_factor) * last, longest), longest)

    def searched(ray: Ray, guess: Array, grad: Updates | None) -> _Search:
        def body(search: _Search) -> _Search:
            step = jnp.where(search.steps == 0, guess, scalar(decrease_factor) * search.step)
            value, pullback = ray.value_and_pullback(step)
            error = decrease_error(Point(step, value, scalar(0.0)), ray.start, slope_rtol, rtol=rtol)
            ends = (error <= scalar(atol)) | (search.steps >= max_backtracking_steps)
            found = search.grad
            if grad is not None:
                last = ends & jnp.isfinite(value)
                found = lax.cond(last, lambda: kept_grad(pullback(), grad), lambda: search.grad)
            return _Search(search.steps + 1, step, value, error, found, ends)

        given = None if grad is None else kept_grad(tree.conj(ray.grad), grad)
        nowhere = _Search(jnp.zeros((), jnp.int32), *ray.start[:2], scalar(jnp.inf), given, jnp.zeros((), bool))
        found: _Search = lax.while_loop(lambda search: ~search.stopped, body, nowhere)
        step, value = choose(jnp.isfinite(found.value), (found.step, found.value), ray.start[:2])
        return found._replace(step=step, value=value)

    def init(params: Params) -> ScaleByBacktrackingLinesearchState:
        info = BacktrackingLinesearchInfo(jnp.zeros((), jnp.int32), scalar(jnp.inf))
        grad = fresh_grad(params) if store_grad else None
        return ScaleByBacktrackingLinesearchState(scalar(1.0), scalar(jnp.inf), grad, info)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        ray = Ray(updates, params, extra_args)
        found = searched(ray, first(state.learning_rate), state.grad)
        info = BacktrackingLinesearchInfo(found.steps, found.error)
        if verbose:
            jax.debug.print(_TOLD, found.steps, found.step, found.value, found.error)
        new = ScaleByBacktrackingLinesearchState(found.step, found.value, found.grad, info)
        return ray.times(found.step), new

    tx = GradientTransformationExtraArgs(init, update)
    kept = ("grad",) if store_grad else ()
    return tx.declaring(grain="treewise", state_classes=(ScaleByBacktrackingLinesearchState,), slots=kept)


_TOLD = "scale_by_backtracking_linesearch: {} steps, learning rate {}, value {}; not enough decrease by {}"

"""Limited-memory BFGS: an inverse Hessian from the most recent steps."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from .. import numerics, tree
from ..checks import Range
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..transforms.scaling import scale, scale_by_learning_rate
from ..tree.params import trainable_arrays
from ..types import Array, Count, Params, ScalarOrSchedule, TransformationLike, Updates
from .places import checked
from .ray import NO_DERIVATIVE, NOT_ALONE, half_square
from .zoom import scale_by_zoom_linesearch

_RANGES = {"memory_size": Range(1, integer=True)}
_SLOTS = ("params", "updates", "diff_params_memory", "diff_updates_memory")

_Leaves = list[Array]


class ScaleByLBFGSState(NamedTuple):
    count: Count
    params: Params
    updates: Updates
    diff_params_memory: Updates
    diff_updates_memory: Updates
    weights_memory: Array


@register(example(), example(3, scale_init_precond=False), ranges=_RANGES)
def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> GradientTransformationExtraArgs:
    """Multiply updates by an inverse Hessian estimated from recent differences of parameters and updates.

        s_k = p_k+1 - p_k,  y_k = g_k+1 - g_k,  rho_k = 1 / <s_k, y_k>
        u   = H g,  H = (I - rho s y') H' (I - rho y s') + rho s s',  from the newest pair to the oldest, then gamma I

    gamma is <s, y> / |y|^2 of the newest pair, and min(1, 1 / |g|) before there is one; 1 without scale_init_precond.

    Args:
      memory_size: number of stored pairs (s, y), an integer >= 1. Usually 10.
      scale_init_precond: whether to estimate gamma.
    State:   count; params and updates of the last call; the memories of s and y, shaped (memory_size, *p.shape), and of
             rho: 8 + 8 memory_size bytes per float32 parameter.
    Source:  Nocedal & Wright 1999, Alg. 7.4 and Eq. 7.20; Liu & Nocedal 1989.
    Differs: a pair whose curvature <s, y> is not positive is skipped, as in Sec. 7.2; Optax uses it, and its H is then
             indefinite, or NaN for s = 0.
    """

    def init(params: Params) -> ScaleByLBFGSState:
        def zeros(p: Any, rows: int | None = None) -> Any:
            if p is None:
                return None
            shape, dtype = p.shape if rows is None else (rows, *p.shape), numerics.wide_dtype(p.dtype)
            return numerics.zeros_of_shape(
                p, shape, dtype, lambda x: numerics.full_like(jnp.broadcast_to(x, shape), 0, dtype)
            )

        arrays, structure = trainable_arrays(params)
        slots = {
            name: structure.unflatten([zeros(p, memory_size if name.endswith("memory") else None) for p in arrays])
            for name in _SLOTS
        }
        weights = jnp.zeros((memory_size,), numerics.scalar_dtype())
        return ScaleByLBFGSState(count=jnp.zeros((), jnp.int32), weights_memory=weights, **slots)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        us, params = checked(updates, params)
        columns = [tree.match(getattr(state, n), params, f"state.{n}", "params") for n in _SLOTS]
        places = [i for i, u in enumerate(us) if u is not None]
        ps, slot_values = tree.flatten(params)[0], [[column[i] for i in places] for column in columns]
        dtypes = [
            numerics.common_dtype(numerics.wide_dtype(us[i].dtype), x.dtype)
            for i, x in zip(places, slot_values[0], strict=True)
        ]

        def wide(xs: Any) -> _Leaves:
            return [numerics.convert(tree.as_array(x), d) for x, d in zip(xs, dtypes, strict=True)]

        g, p = wide([us[i] for i in places]), wide([ps[i] for i in places])
        old_p, old_g, s_memory, y_memory = map(wide, slot_values)
        newest = (state.count - 1) % memory_size
        s, y, weight = _pair(p, old_p, g, old_g, state.count > 0)
        s_memory, y_memory = _set_row(s_memory, s, newest), _set_row(y_memory, y, newest)
        weights = state.weights_memory.at[newest].set(weight.astype(state.weights_memory.dtype))
        gamma = _gamma(g, y_memory, weights, newest) if scale_init_precond else None
        direction = _two_loop(g, s_memory, y_memory, weights, newest, gamma)

        for column, new in zip(columns, (p, g, s_memory, y_memory), strict=True):
            for i, x in zip(places, new, strict=True):
                column[i] = numerics.convert(x, column[i].dtype)
        out = list(us)
        for i, x in zip(places, direction, strict=True):
            out[i] = numerics.convert(x, us[i].dtype, weak=us[i].weak_type)
        structure = tree.structure(params)
        slots = {name: structure.unflatten(column) for name, column in zip(_SLOTS, columns, strict=True)}
        count = numerics.safe_increment(state.count)
        return structure.unflatten(out), ScaleByLBFGSState(count=count, weights_memory=weights, **slots)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="treewise", state_classes=(ScaleByLBFGSState,), slots=_SLOTS)


def _dot(xs: _Leaves, ys: _Leaves) -> Array:
    """The real inner product over all leaves."""
    return tree.total(jnp.multiply, xs, ys)


def _row(memory: _Leaves, i: Any) -> _Leaves:
    return [lax.dynamic_index_in_dim(x, i, keepdims=False) for x in memory]


def _set_row(memory: _Leaves, new: _Leaves, i: Any) -> _Leaves:
    return [lax.dynamic_update_index_in_dim(x, n, i, 0) for x, n in zip(memory, new, strict=True)]


def _axpy(xs: _Leaves, scalar: Array, ys: _Leaves) -> _Leaves:
    """xs + scalar ys."""
    return [x + numerics.scaled(y, scalar) for x, y in zip(xs, ys, strict=True)]


def _pair(
    p: _Leaves, old_p: _Leaves, g: _Leaves, old_g: _Leaves, has_previous: Array
) -> tuple[_Leaves, _Leaves, Array]:
    """s, y and rho; zeros where the curvature is not positive, or within rounding error of zero."""
    s = [x - old for x, old in zip(p, old_p, strict=True)]
    y = [x - old for x, old in zip(g, old_g, strict=True)]
    curvature = _dot(s, y)
    eps = max([numerics.spacing(x.dtype) for x in s], default=0.0)
    noise = eps * numerics.root(tree.total(jnp.square, s)) * numerics.root(tree.total(jnp.square, y))
    weight = 1 / jnp.where(curvature > 0, curvature, 1)
    huge = numerics.saturated(jnp.full_like(curvature, jnp.inf))  # value of an overflowed sum
    valid = has_previous & (curvature > noise) & (curvature < huge) & jnp.isfinite(weight)
    weight = jnp.where(valid, weight, 0)
    # Zero an invalid pair: it may be non-finite, and 0 * inf is NaN.
    s, y = ([jnp.where(valid, x, jnp.zeros_like(x)) for x in xs] for xs in (s, y))
    return s, y, weight


def _gamma(g: _Leaves, y_memory: _Leaves, weights: Array, newest: Array) -> Array:
    """<s, y> / |y|^2 of the newest valid pair; without one, 1 / |g| but at most 1."""
    age = (newest - jnp.arange(weights.shape[0], dtype=newest.dtype)) % weights.shape[0]
    counts = weights[age] > 0
    i = age[jnp.argmax(counts)]
    bottom = weights[i] * tree.total(jnp.square, _row(y_memory, i))
    any_ = jnp.any(counts) & (bottom > 0)
    norm = numerics.root(tree.total(jnp.square, g))
    return 1 / jnp.where(any_, jnp.where(any_, bottom, 1), jnp.maximum(norm, 1))


def _two_loop(
    g: _Leaves, s_memory: _Leaves, y_memory: _Leaves, weights: Array, newest: Array, gamma: Array | None
) -> _Leaves:
    size = weights.shape[0]

    def back(n: Array, carry: tuple[_Leaves, Array]) -> tuple[_Leaves, Array]:
        q, alphas = carry
        i = (newest - n) % size
        alpha = weights[i] * _dot(_row(s_memory, i), q)
        return _axpy(q, -alpha, _row(y_memory, i)), alphas.at[i].set(alpha)

    def forth(n: Array, r: _Leaves) -> _Leaves:
        i = (newest + 1 + n) % size
        beta = weights[i] * _dot(_row(y_memory, i), r)
        return _axpy(r, alphas[i] - beta, _row(s_memory, i))

    q, alphas = lax.fori_loop(0, size, back, (g, jnp.zeros_like(weights)))
    r = q if gamma is None else [numerics.scaled(x, gamma) for x in q]
    direction: _Leaves = lax.fori_loop(0, size, forth, r)
    return direction


@register(
    example(linesearch=scale_by_zoom_linesearch(4, initial_guess_strategy="one")).given(value_fn=half_square),
    example(0.5, 3, scale_init_precond=False, linesearch=None),
    ranges=_RANGES,
    exceptions=NO_DERIVATIVE | NOT_ALONE,
)
def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: TransformationLike | None = scale_by_zoom_linesearch(20, initial_guess_strategy="one"),  # noqa: B008 - it never changes
) -> GradientTransformationExtraArgs:
    """L-BFGS: `scale_by_lbfgs`, minus the learning rate if one is given, then a line search.

    With the default, `scale_by_zoom_linesearch`, a step is

        value, grad = value_and_grad_from_state(f)(params, state=state)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=f)

    so that f is evaluated inside the search only.

    Args:
      learning_rate: factor on the direction before the line search, >= 0; None for 1.
      linesearch: a transformation that scales the direction; None for none.
    When:    deterministic losses of up to some million parameters; no learning rate is needed with a line search.
    """
    return chain(
        scale_by_lbfgs(memory_size, scale_init_precond),
        scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate),
        identity() if linesearch is None else taking_extra_args(linesearch, "linesearch"),
    )

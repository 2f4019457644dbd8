"""Averages of the parameters over time: power functions, bias-corrected, latest checkpoints, stochastic."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..checks import Range
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise, leafwise
from ..numerics import convert, hyperparameter, like, real_dtype, scalar_dtype, scaled, zeros_of_shape
from ..tree import cast_like
from ..types import Array, Count, DType, Params, Scalar, Tree


class PowerEmaState(NamedTuple):
    count: Count
    average: Params


class BemaState(NamedTuple):
    count: Count
    average: Params
    start: Params


class LawaState(NamedTuple):
    count: Count
    checkpoints: Tree


class SwaState(NamedTuple):
    count: Count
    average: Params


_INTERVAL = Range(1, integer=True, means="number of updates between two points of the average")


def _moved(average: Array, p: Array, share: Array) -> Array:
    return average + scaled(p - average, share)


def _as_params(f: Callable[..., Array], params: Params, *slots: Tree) -> Params:
    """`f(p, *slots)` for each parameter that has slots, in the parameter's dtype."""
    leaves, structure = tree.flatten(params)
    columns = [tree.match(slot, params, "the average", "params") for slot in slots]
    rows = zip(leaves, *columns, strict=True)
    return structure.unflatten([p if x is None or tree.absent(p) else _one(f, p, x, *xs) for p, x, *xs in rows])


def _one(f: Callable[..., Array], p: Any, *slots: Array) -> Array:
    p = tree.as_array(p)
    evaluated: Array = cast_like(f(tree.widen(p), *slots), p)
    return evaluated


def _exponent(sigma_rel: Any) -> Any:
    """The exponent gamma of the profile t^gamma whose width is sigma_rel: (g + 1) = sigma_rel^2 (g + 2)^2 (g + 3)."""
    s, g = sigma_rel**2, 1 / sigma_rel
    for _ in range(16):  # Newton's method, from above
        g = g - (g + 1 - s * (g + 2) ** 2 * (g + 3)) / (1 - s * ((g + 2) * (3 * g + 8)))
    return g


_WIDTH = Range(0, 12**-0.5, open_low=True, means="standard deviation of the profile, relative to the time so far")


@register(
    example(),
    example(0.1, accumulator_dtype="float32"),
    ranges={"sigma_rel": _WIDTH},
    exceptions={"independent": "it does not change updates", "traced": "the test's values are out of its range"},
)
def power_ema(sigma_rel: Scalar = 0.05, accumulator_dtype: DType = None) -> GradientTransformationExtraArgs:
    """Keep an average of the parameters whose weights grow as a power of time; updates pass through unchanged.

        a <- b a + (1 - b) (p + u),  b = (1 - 1 / t)^(gamma + 1)
        sigma_rel = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3))

    Put it last in a chain. `eval_params` returns the average. Two of them with different widths, stored now and then,
    give the average of any other width afterwards: see `power_ema_synthesis`.

    Args:
      sigma_rel: width of the profile of weights, relative to the time so far, in (0, 0.289]. Usually 0.05 and 0.1.
      accumulator_dtype: dtype of the average; None keeps the parameter's, at least float32.
    State:   PowerEmaState(count, average): 4 bytes per float32 parameter.
    Source:  Karras et al. 2024, 2312.02696, Sec. 3.1.
    """
    gamma = _exponent(float(sigma_rel) if checks.is_number(sigma_rel) else hyperparameter(sigma_rel))

    def scalars(t: Count) -> dict[str, Array]:
        # 1 - b, which is 1 at the first update.
        time = jnp.maximum(t, 2).astype(scalar_dtype())
        later = -jnp.expm1(like(time, gamma + 1) * jnp.log1p(-1 / time))
        return {"share": jnp.where(t > 1, later, 1)}

    def rule(g: Array, p: Array, average: Array, share: Array) -> Any:
        return g, _moved(average, p + g, share)

    slot = Slot(init=lambda p: p, dtype=accumulator_dtype, decay=1.0)
    tx = elementwise(rule, PowerEmaState, scalars=scalars, average=slot)
    return tx.declaring(evaluates=lambda state, params: cast_like(state.average, params))


@checks.entrance("power_ema_synthesis")
def power_ema_synthesis(
    averages: Sequence[Params], counts: Sequence[int], sigma_rels: Sequence[float], count: int, sigma_rel: float
) -> Params:
    """The average of any width at any time, approximated by averages that `power_ema` kept.

        sum of x_i a_i,  x the weights that bring the sum of the profiles t^gamma_i nearest to the wanted one

    Args:
      averages: averages of the parameters, of two or more widths, stored at several times.
      counts: the number of updates before each of them.
      sigma_rels: the width of each of them.
      count: the number of updates at the wanted time.
      sigma_rel: the wanted width, in (0, 0.289].
    Raises:  ValueError where the three lists are not of one length, or empty.
    Source:  Karras et al. 2024, Sec. 3.2 and App. C.
    """
    if not len(averages) == len(counts) == len(sigma_rels) > 0:
        lengths = f"{len(averages)}, {len(counts)} and {len(sigma_rels)}"
        checks.fail(f"averages, counts and sigma_rels must be lists of one length, got {lengths}")
    for width in (*sigma_rels, sigma_rel):
        checks.argument("sigma_rel", width, _WIDTH)
    times, gammas = np.asarray(counts, float), np.asarray([_exponent(float(s)) for s in sigma_rels])
    target = np.asarray([float(count)]), np.asarray([_exponent(float(sigma_rel))])

    def products(t: Any, g: Any, u: Any, h: Any) -> Any:
        """The inner products of the profiles with ends t and u and exponents g and h."""
        t, g, u, h = t[:, None], g[:, None], u[None], h[None]
        ratio = (t / u) ** np.where(t < u, h, -g)
        return (g + 1) * (h + 1) * ratio / ((g + h + 1) * np.maximum(t, u))

    weights = np.linalg.lstsq(products(times, gammas, times, gammas), products(times, gammas, *target), rcond=None)[0]
    total = tree.scale(float(weights[0, 0]), tree.widen(averages[0]))
    for weight, average in zip(weights[1:, 0], averages[1:], strict=True):
        total = tree.add_scale(total, float(weight), tree.widen(average))
    return cast_like(total, averages[0])


@register(
    example(),
    example(0.8, 0.5, 0.5, 2.0, 3),
    ranges={
        "ema_power": Range(0, means="exponent of the share of a new point in the average"),
        "bias_power": Range(0, means="exponent of the correction"),
        "multiplier": Range(0, means="speed of time in both"),
        "lag": Range(1, means="time at the start"),
        "burn_in": Range(0, integer=True, means="number of updates before the average begins"),
    },
    exceptions={"independent": "it does not change updates"},
)
def bema(
    ema_power: Scalar = 0.5,
    bias_power: Scalar = 0.2,
    multiplier: Scalar = 1.0,
    lag: Scalar = 10.0,
    burn_in: int = 0,
    accumulator_dtype: DType = None,
) -> GradientTransformationExtraArgs:
    """Keep a bias-corrected average of the parameters; updates pass through unchanged.

        a <- a + (lag + multiplier t)^-ema_power (p + u - a),  t > burn_in; until then a and s are the parameters
        evaluated: a + (lag + multiplier t)^-bias_power (p - s)

    Put it last in a chain. `eval_params` returns the corrected average.

    Args:
      ema_power: exponent of the share of a new point, >= 0. Usually 0.5.
      bias_power: exponent of the correction, >= 0. Usually 0.2.
      multiplier: speed of time, >= 0; 0 is an average with a constant decay. Usually 1.
      lag: time at the start, >= 1. Usually 10.
      burn_in: number of updates before the average begins, an integer >= 0. Usually 0.
      accumulator_dtype: dtype of a and s; None keeps the parameter's, at least float32.
    State:   BemaState(count, average, start): 8 bytes per float32 parameter.
    Source:  Block & Zhang 2025, BEMA, 2508.00180, Alg. 1.
    When:    fine-tuning with small batches.
    """

    def power_of(t: Count, exponent: Scalar) -> Array:
        time = hyperparameter(lag) + hyperparameter(multiplier) * t.astype(scalar_dtype())
        power: Array = time ** -hyperparameter(exponent)
        return power

    def scalars(t: Count) -> dict[str, Array]:
        early = t <= burn_in
        share = power_of(t, ema_power)
        return {"share": jnp.where(early, 1, share), "restart": early.astype(share.dtype)}

    def rule(g: Array, p: Array, average: Array, start: Array, share: Array, restart: Array) -> Any:
        new = p + g
        return g, (_moved(average, new, share), _moved(start, new, restart))

    def evaluates(state: Any, params: Params) -> Params:
        size = power_of(state.count, bias_power)
        return _as_params(lambda p, a, s: a + scaled(_like(p, a) - s, size), params, state.average, state.start)

    slot = Slot(init=lambda p: p, dtype=accumulator_dtype, decay=1.0)
    tx = elementwise(rule, BemaState, scalars=scalars, average=slot, start=slot)
    return tx.declaring(evaluates=evaluates)


def _like(p: Array, x: Array) -> Array:
    return convert(p, x.dtype)


@register(
    example(2, 2),
    example(1, 3),
    ranges={
        "num_checkpoints": Range(1, integer=True, means="number of points in the average"),
        "interval": _INTERVAL,
    },
    exceptions={"independent": "it does not change updates"},
)
def lawa(num_checkpoints: int = 5, interval: int = 100) -> GradientTransformationExtraArgs:
    """Keep the latest checkpoints of the parameters, for their mean; updates pass through unchanged.

        evaluated: the mean of the parameters after the last num_checkpoints updates that interval divides

    Put it last in a chain. `eval_params` returns the mean, and the parameters themselves before the first checkpoint.

    Args:
      num_checkpoints: number of checkpoints, an integer >= 1. Usually 3 to 10.
      interval: number of updates between two of them, an integer >= 1. Usually that of an epoch, or 100 to 1000.
    State:   LawaState(count, checkpoints), each of shape (num_checkpoints, *shape): 4 num_checkpoints bytes per float32
             parameter.
    Source:  Kaddour 2022, LAWA; Sanyal et al. 2023.
    When:    long runs with a high learning rate, to see what a decay would give.
    """

    def scalars(t: Count) -> dict[str, Array]:
        place = (t // interval - 1) % num_checkpoints
        return {"place": jnp.where(t % interval == 0, place, -1)}

    def rule(g: Array, p: Array, checkpoints: Array, place: Count) -> Any:
        here = (jnp.arange(num_checkpoints, dtype=place.dtype) == place).reshape(-1, *[1] * p.ndim)
        return g, jnp.where(here, p + g, checkpoints)

    def evaluates(state: Any, params: Params) -> Params:
        number = jnp.minimum(state.count // interval, num_checkpoints)
        known = (jnp.arange(num_checkpoints, dtype=number.dtype) < number).astype(scalar_dtype())
        weights = known / jnp.maximum(number, 1).astype(known.dtype)

        def mean(p: Array, checkpoints: Array) -> Array:
            w = weights.reshape(-1, *[1] * p.ndim).astype(real_dtype(checkpoints.dtype))
            total = jnp.sum(checkpoints * w.astype(checkpoints.dtype), axis=0)
            return jnp.where(number > 0, total, _like(p, total))

        return _as_params(mean, params, state.checkpoints)

    def start(p: Array) -> Array:
        shape = (num_checkpoints, *p.shape)
        return zeros_of_shape(p, shape, p.dtype, lambda x: jnp.broadcast_to(x, shape))

    slot = Slot(init=start, decay=1.0, free=True)
    return leafwise(rule, LawaState, scalars=scalars, checkpoints=slot).declaring(evaluates=evaluates)


@register(
    example(2),
    example(1, 2),
    ranges={"start": Range(1, integer=True, means="number of the first update in the average"), "interval": _INTERVAL},
    exceptions={"independent": "it does not change updates"},
)
def swa(start: int = 1, interval: int = 1, accumulator_dtype: DType = None) -> GradientTransformationExtraArgs:
    """Keep the mean of the parameters after the updates start, start + interval, ...; updates pass through unchanged.

        a <- a + (p + u - a) / n,  n the number of points so far

    Put it last in a chain. `eval_params` returns the mean, and the parameters themselves before `start`. The learning
    rate should be constant or cyclic from there on, with a cycle of `interval` updates.

    Args:
      start: number of the first update in the mean, an integer >= 1. Usually three quarters of all.
      interval: number of updates between two points, an integer >= 1. Usually that of an epoch.
      accumulator_dtype: dtype of the mean; None keeps the parameter's, at least float32.
    State:   SwaState(count, average): 4 bytes per float32 parameter.
    Source:  Izmailov et al. 2018, SWA, Alg. 1.
    """

    def scalars(t: Count) -> dict[str, Array]:
        since = t - start
        number = jnp.maximum(since // interval + 1, 1).astype(scalar_dtype())
        due = (since >= 0) & (since % interval == 0)
        return {"share": jnp.where(due, 1 / number, 0)}

    def rule(g: Array, p: Array, average: Array, share: Array) -> Any:
        return g, _moved(average, p + g, share)

    def evaluates(state: Any, params: Params) -> Params:
        return _as_params(lambda p, a: jnp.where(state.count >= start, a, _like(p, a)), params, state.average)

    slot = Slot(init=lambda p: p, dtype=accumulator_dtype, decay=1.0)
    return elementwise(rule, SwaState, scalars=scalars, average=slot).declaring(evaluates=evaluates)

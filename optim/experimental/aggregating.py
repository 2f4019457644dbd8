"""Aggregators: transformations that take the gradients of all examples and return one update.

An aggregator is a pair (init, update) like a gradient transformation, but the updates it takes have a batch axis, or
several, that its result and the parameters do not have. `process` makes an optimizer of gradients per example:

    tx = process(identity(), average_per_element_updates(), adam(1e-3))
    grads = jax.vmap(jax.grad(loss), (None, 0))(params, batch)
    updates, state = tx.update(grads, state, params)
"""

import math
import typing as _typing
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from .. import checks, hints as _hints, numerics, tree
from ..combine.chain import chain
from ..core.stateless import EmptyState, identity
from ..core.transformation import GradientTransformation, GradientTransformationExtraArgs, taking_extra_args
from ..types import Array, Count, Params, Scalar, TransformationLike, TransformInitFn, TransformUpdateFn, Updates
from ..wrappers.gate import step_if, zero_updates

Axes: TypeAlias = int | Sequence[int]
AggregatorUpdateFn: TypeAlias = TransformUpdateFn
PerElementUpdates: TypeAlias = Updates
AggregatedUpdates: TypeAlias = Updates


class Aggregator(NamedTuple):
    """A pair of functions that turns the updates of all examples into one.

    Args:
      init: function params -> state.
      update: function (updates, state, params=None, **extra) -> (updates, state): the updates it takes have the shapes
        of params behind their batch axes, those it returns have the shapes of params.
    """

    init: TransformInitFn
    update: TransformUpdateFn


class AccumulateAvgUpdatesState(NamedTuple):
    micro_step: Count
    ready: Array
    avg_grad: Updates


class PerElementMeanAndSumSqDiffGradsState(NamedTuple):
    micro_step: Count
    ready: Array
    mean_grads: Updates
    sum_sq_diff_grads: Updates


class PerElementMeanAndVarianceEMAState(NamedTuple):
    count: Count
    ema_decay: Array
    mean_grads_ema: Updates
    variance_grads_ema: Updates


@checks.entrance("process")
def process(
    preprocessor: TransformationLike,
    aggregator: TransformationLike,
    postprocessor: TransformationLike,
    aggregator_has_aux: bool = False,
) -> Aggregator | GradientTransformation:
    """Transform the updates of all examples, aggregate them, and transform the result.

    Args:
      preprocessor: a transformation of the updates of all examples.
      aggregator: an `Aggregator`, or a transformation. If its state has a field `ready` that is False, the update is
        zero and the state of postprocessor stays unchanged.
      postprocessor: a transformation of the aggregated updates: an optimizer.
      aggregator_has_aux: whether aggregator returns ((updates, aux), state); the dict aux goes to postprocessor as
        extra arguments.
    Returns: an `Aggregator`, or a transformation where aggregator is one.
    State:   a tuple of the three states.
    """
    before, after = taking_extra_args(preprocessor, "preprocessor"), taking_extra_args(postprocessor, "postprocessor")
    between = taking_extra_args(tuple(aggregator) if isinstance(aggregator, Aggregator) else aggregator, "aggregator")

    def init(params: Params) -> tuple[Any, Any, Any]:
        return before.init(params), between.init(params), after.init(params)

    @checks.entrance("process")
    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        first, second, third = state
        updates, first = before.update(updates, first, params, **extra)
        updates, second = between.update(updates, second, params, **extra)
        updates, aux = updates if aggregator_has_aux else (updates, {})
        ready = tree.get(second, "ready", True)
        updates, third = step_if(ready, after, updates, third, params, {**extra, **aux}, otherwise=zero_updates)
        return updates, (first, second, third)

    kind: Any = Aggregator if isinstance(aggregator, Aggregator) else GradientTransformationExtraArgs
    made: Aggregator | GradientTransformation = kind(init, update)
    return made


@checks.entrance("average_per_element_updates")
def average_per_element_updates(per_elt_axis: Axes = 0) -> Aggregator:
    """Average the updates of all examples.

    Args:
      per_elt_axis: the batch axis or axes.
    """
    axes = _axes(per_elt_axis)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return tree.map(lambda g: _mean(g, axes), updates), state

    return Aggregator(lambda params: EmptyState(), update)


@checks.entrance("accumulate_avg_updates")
def accumulate_avg_updates(accumulation_steps: int) -> GradientTransformation:
    """Return the mean of the last updates once in a number of steps, and zero at the other steps.

    Args:
      accumulation_steps: number of updates in a mean, >= 1.
    State:   AccumulateAvgUpdatesState(micro_step, ready, avg_grad): whether this step returned a mean, and avg_grad
             shaped like params, 4 bytes per float32 parameter.
    When:    as a part of `process`; `MultiSteps` accumulates for any optimizer.
    """
    checks.argument("accumulation_steps", accumulation_steps, checks.Range(1, integer=True))

    def init(params: Params) -> AccumulateAvgUpdatesState:
        return AccumulateAvgUpdatesState(_zero(), jnp.zeros((), bool), _slots(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        micro_step, ready = _advanced(state.micro_step, accumulation_steps)
        share = 1 / (state.micro_step + 1).astype(jnp.float32)
        sums = _merge(lambda mean, g: mean + numerics.scaled(g - mean, share), state.avg_grad, updates)
        out = tree.map(lambda g, mean: _gated(ready, mean).astype(g.dtype), updates, sums)
        return out, AccumulateAvgUpdatesState(micro_step, ready, tree.map(lambda x: _gated(~ready, x), sums))

    return GradientTransformationExtraArgs(init, update)


@checks.entrance("average_incrementally_updates")
def average_incrementally_updates(
    per_elt_axis: Axes | None, accumulation_steps: int
) -> Aggregator | GradientTransformation:
    """Average the updates of all examples, and those means over a number of steps.

    Args:
      per_elt_axis: the batch axis or axes; None for updates that have no batch axis.
      accumulation_steps: number of steps in a mean, >= 1; at the other steps the update is zero.
    Returns: an `Aggregator`, or a transformation if per_elt_axis is None.
    """
    over_steps = accumulate_avg_updates(accumulation_steps)
    if per_elt_axis is None:
        return over_steps
    average = average_per_element_updates(per_elt_axis)
    if accumulation_steps == 1:
        return average
    return Aggregator(*chain(tuple(average), over_steps))


@checks.entrance("get_per_element_mean_and_sum_sq_diff_grads")
def get_per_element_mean_and_sum_sq_diff_grads(per_elt_axis: Axes = 0, accumulation_steps: int = 1) -> Aggregator:
    """Compute the mean of the gradients of all examples, and the sum of their squared distances from it.

        m = mean_i g_i,   S = sum_i |g_i - m|^2

    Two steps of n and k examples, with the means a and b, have S = S_a + S_b + |a - b|^2 n k / (n + k).

    Args:
      per_elt_axis: the batch axis or axes.
      accumulation_steps: number of steps taken together, >= 1; at the other steps all results are zero.
    Returns: an `Aggregator` whose update returns ((m, {sample_size, sum_sq_diff_grads}), state), for `process` with
      aggregator_has_aux.
    State:   PerElementMeanAndSumSqDiffGradsState(micro_step, ready, mean_grads, sum_sq_diff_grads), two slots shaped
             like params; EmptyState for accumulation_steps = 1.
    Source:  Chan, Golub & LeVeque 1983, Eqs. 2.1a and 2.1b.
    """
    axes = _axes(per_elt_axis)
    checks.argument("accumulation_steps", accumulation_steps, checks.Range(1, integer=True))

    def of_step(updates: Updates) -> tuple[Updates, Updates, int]:
        means = tree.map(lambda g: _mean(_wide(g), axes), updates)

        def sum_sq(g: Any, mean: Any) -> Array:
            return jnp.sum(numerics.square(_wide(g) - jnp.expand_dims(mean, _sorted(axes, g))), axis=axes)

        return means, tree.map(sum_sq, updates, means), get_batch_size_from_per_elt_updates(updates, per_elt_axis)

    def result(updates: Any, means: Any, sums: Any, number: Any) -> Any:
        narrow = tree.map(lambda g, mean: mean.astype(_float_dtype(g)), updates, means)
        return narrow, {"sample_size": number, "sum_sq_diff_grads": sums}

    def update_at_once(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        means, sums, n = of_step(updates)
        return result(updates, means, sums, jnp.asarray(n, jnp.int32)), state

    if accumulation_steps == 1:
        return Aggregator(lambda params: EmptyState(), update_at_once)

    def init(params: Params) -> PerElementMeanAndSumSqDiffGradsState:
        sums = _slots(params, real=True)
        return PerElementMeanAndSumSqDiffGradsState(_zero(), jnp.zeros((), bool), _slots(params), sums)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        new, new_sums, n = of_step(updates)
        share = 1 / (state.micro_step + 1).astype(jnp.float32)
        # This step's n examples meet micro_step n others: n k / (n + k) = n micro_step share.
        cross = n * state.micro_step.astype(jnp.float32) * share
        distance = _merge(lambda mean, g: numerics.scaled(numerics.square(g - mean), cross), state.mean_grads, new)
        sums = _merge(lambda s, x: s + x, _merge(lambda s, x: s + x, state.sum_sq_diff_grads, new_sums), distance)
        means = _merge(lambda mean, g: mean + numerics.scaled(g - mean, share), state.mean_grads, new)
        micro_step, ready = _advanced(state.micro_step, accumulation_steps)
        out, out_sums = (tree.map(lambda _, x: _gated(ready, x), updates, x) for x in (means, sums))
        means, sums = (tree.map(lambda x: _gated(~ready, x), x) for x in (means, sums))
        number = jnp.where(ready, n * accumulation_steps, 0).astype(jnp.int32)
        state = PerElementMeanAndSumSqDiffGradsState(micro_step, ready, means, sums)
        return result(updates, out, out_sums, number), state

    return Aggregator(init, update)


@checks.entrance("track_per_element_mean_and_variance_with_ema")
def track_per_element_mean_and_variance_with_ema(ema_decay: Scalar = 0.9) -> GradientTransformationExtraArgs:
    """Keep running means of the gradient and of its variance between examples; updates pass unchanged.

        m <- b m + (1 - b) g,   v <- b v + (1 - b) sum_sq_diff_grads / (sample_size - 1)

    Args:
      ema_decay: decay b, in [0, 1). Usually 0.9.
    State:   PerElementMeanAndVarianceEMAState(count, ema_decay, mean_grads_ema, variance_grads_ema), two slots shaped
             like params.
    Raises:  TypeError if update is not given sum_sq_diff_grads and sample_size, as `process` does.
    """
    checks.argument("ema_decay", ema_decay, checks.DECAY)

    def init(params: Params) -> PerElementMeanAndVarianceEMAState:
        decay = numerics.fresh(ema_decay, numerics.scalar_dtype())
        return PerElementMeanAndVarianceEMAState(_zero(), decay, _slots(params), _slots(params, real=True))

    def update(
        updates: Any, state: Any, params: Any = None, *, sum_sq_diff_grads: Any, sample_size: Any, **extra: Any
    ) -> Any:
        others = jnp.maximum(jnp.asarray(sample_size) - 1, 1).astype(jnp.float32)
        means = _merge(lambda m, g: numerics.ema(m, g, state.ema_decay), state.mean_grads_ema, updates)
        variances = tree.map(lambda s: numerics.scaled(s, 1 / others), sum_sq_diff_grads)
        variances = _merge(lambda v, s: numerics.ema(v, s, state.ema_decay), state.variance_grads_ema, variances)
        count = numerics.safe_increment(state.count)
        return updates, PerElementMeanAndVarianceEMAState(count, state.ema_decay, means, variances)

    return GradientTransformationExtraArgs(init, update)


@checks.entrance("add_mean_variance_to_opt")
def add_mean_variance_to_opt(
    opt: TransformationLike, ema_decay: Scalar = 0.9, per_elt_axis: Axes = 0, accumulation_steps: int = 1
) -> Aggregator | GradientTransformation:
    """Update by the mean of the gradients of all examples, and keep running means of it and of their variance.

        tx = add_mean_variance_to_opt(adam(1e-3))
        mean, variance = get_unbiased_mean_and_variance_ema(state)

    Args:
      opt: the optimizer.
      ema_decay: decay of the running means, in [0, 1). Usually 0.9.
      per_elt_axis: the batch axis or axes of the gradients.
      accumulation_steps: number of steps taken together, >= 1; at the other steps the update is zero.
    """
    return process(
        identity(),
        get_per_element_mean_and_sum_sq_diff_grads(per_elt_axis, accumulation_steps),
        chain(track_per_element_mean_and_variance_with_ema(ema_decay), opt),
        aggregator_has_aux=True,
    )


@checks.entrance("get_unbiased_mean_and_variance_ema")
def get_unbiased_mean_and_variance_ema(state: Any) -> tuple[Updates, Updates]:
    """Read the running means of the gradient and of its variance, corrected for their start at zero.

    Args:
      state: the state of an optimizer made by `add_mean_variance_to_opt`.
    Raises:  KeyError if the state has none.
    Differs: before the first update both are zero, where Optax returns NaN.
    """
    found = [tree.get(state, name) for name in PerElementMeanAndVarianceEMAState._fields[1:]]
    if any(x is None for x in found):
        checks.fail("state has no PerElementMeanAndVarianceEMAState", KeyError)
    decay, means, variances = found
    count = tree.get(state, "count", filtering=lambda path, _: _is_of_averages(path))
    t = jnp.maximum(count, 1)
    mean, variance = (tree.map(lambda x: numerics.debias(x, decay, t), x) for x in (means, variances))
    return mean, variance


def _is_of_averages(path: Any) -> bool:
    return getattr(path[-1], "tuple_name", "") == PerElementMeanAndVarianceEMAState.__name__


@checks.entrance("get_batch_size_from_per_elt_updates")
def get_batch_size_from_per_elt_updates(per_elt_updates: PerElementUpdates, per_elt_axis: Axes) -> int:
    """Return the number of examples.

    Args:
      per_elt_updates: a tree of updates of all examples.
      per_elt_axis: the batch axis or axes.
    Raises:  ValueError for leaves of different numbers.
    """
    axes = _axes(per_elt_axis)
    sizes = {math.prod(jnp.shape(x)[a] for a in _sorted(axes, x)) for x in tree.leaves(per_elt_updates)}
    if len(sizes) != 1:
        checks.fail(f"the updates must have one number of examples, got {sorted(sizes)}")
    return sizes.pop()


def _axes(given: Any) -> tuple[int, ...]:
    axes = (given,) if isinstance(given, int) else given
    if not isinstance(axes, tuple | list) or not all(isinstance(a, int) for a in axes):
        checks.fail(f"per_elt_axis must be an int or a tuple of ints, got {checks.shown(given)}", TypeError)
    return tuple(axes)


def _sorted(axes: tuple[int, ...], x: Any) -> tuple[int, ...]:
    ndim = jnp.ndim(x)
    for a in axes:
        if not -ndim <= a < ndim:
            checks.fail(f"an update of shape {jnp.shape(x)} has no axis {a}, which per_elt_axis names")
    return tuple(sorted(a % ndim for a in axes))


def _wide(x: Any) -> Array:
    x = tree.as_array(x)
    return numerics.convert(x, numerics.wide_dtype(x.dtype))


def _float_dtype(x: Any) -> Any:
    x = tree.as_array(x)
    return x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else numerics.wide_dtype(x.dtype)


def _mean(x: Any, axes: tuple[int, ...]) -> Array:
    mean: Array = jnp.mean(_wide(x), axis=_sorted(axes, x)).astype(_float_dtype(x))
    return mean


def _zero() -> Array:
    return jnp.zeros((), jnp.int32)


def _slots(params: Params, real: bool = False) -> Updates:
    """Zeros shaped like the parameters, in at least float32; none for integers."""

    def zeros(p: Any) -> Any:
        if not tree.trainable(p):
            return None
        wide = numerics.wide_dtype(tree.as_array(p).dtype)
        return tree.zeros_like(p, numerics.real_dtype(wide) if real else wide)

    return tree.map(zeros, params)


def _merge(f: Any, slots: Updates, updates: Updates) -> Updates:
    """`f(slot, update)` for every slot whose update is present."""

    def merged(slot: Any, g: Any) -> Any:
        if tree.absent(g):
            return slot
        g = tree.as_array(g)
        return f(slot, numerics.convert(g, numerics.common_dtype(g.dtype, slot.dtype))).astype(slot.dtype)

    return tree.map(merged, slots, updates)


def _advanced(micro_step: Array, accumulation_steps: int) -> tuple[Array, Array]:
    micro_step = (micro_step + 1) % accumulation_steps
    return micro_step, micro_step == 0


def _gated(condition: Array, x: Array) -> Array:
    return jnp.where(condition, x, jnp.zeros_like(x))


__all__ = [
    "AccumulateAvgUpdatesState",
    "AggregatedUpdates",
    "Aggregator",
    "AggregatorUpdateFn",
    "PerElementMeanAndSumSqDiffGradsState",
    "PerElementMeanAndVarianceEMAState",
    "PerElementUpdates",
    "accumulate_avg_updates",
    "add_mean_variance_to_opt",
    "average_incrementally_updates",
    "average_per_element_updates",
    "get_batch_size_from_per_elt_updates",
    "get_per_element_mean_and_sum_sq_diff_grads",
    "get_unbiased_mean_and_variance_ema",
    "process",
    "track_per_element_mean_and_variance_with_ema",
]

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)

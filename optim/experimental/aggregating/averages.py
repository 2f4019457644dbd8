"""Aggregators, and those that average over examples and steps."""

from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from ... import checks, numerics, tree
from ...combine.chain import chain
from ...core.stateless import EmptyState
from ...core.transformation import GradientTransformation, GradientTransformationExtraArgs, taking_extra_args
from ...types import Array, Count, Params, TransformationLike, TransformInitFn, TransformUpdateFn, Updates
from ...wrappers.gate import step_if, zero_updates
from .batches import Axes, advanced, batch_axes, gated, mean_over, merged, slots_like, zero_count

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
    axes = batch_axes(per_elt_axis)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return tree.map(lambda g: mean_over(g, axes), updates), state

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
        return AccumulateAvgUpdatesState(zero_count(), jnp.zeros((), bool), slots_like(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        micro_step, ready = advanced(state.micro_step, accumulation_steps)
        share = 1 / (state.micro_step + 1).astype(jnp.float32)
        sums = merged(lambda mean, g: mean + numerics.scaled(g - mean, share), state.avg_grad, updates)
        out = tree.map(lambda g, mean: gated(ready, mean).astype(g.dtype), updates, sums)
        return out, AccumulateAvgUpdatesState(micro_step, ready, tree.map(lambda x: gated(~ready, x), sums))

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
    return Aggregator(*chain((average.init, average.update), over_steps))

"""Aggregators: transformations that take the gradients of all examples and return one update.

An aggregator is a pair (init, update) like a gradient transformation, but the updates it takes have a batch axis, or
several, that its result and the parameters do not have. `process` makes an optimizer of gradients per example:

    tx = process(identity(), average_per_element_updates(), adam(1e-3))
    grads = jax.vmap(jax.grad(loss), (None, 0))(params, batch)
    updates, state = tx.update(grads, state, params)
"""

import typing as _typing

from ... import hints as _hints
from .averages import (
    AccumulateAvgUpdatesState as AccumulateAvgUpdatesState,
    AggregatedUpdates as AggregatedUpdates,
    Aggregator as Aggregator,
    AggregatorUpdateFn as AggregatorUpdateFn,
    PerElementUpdates as PerElementUpdates,
    accumulate_avg_updates as accumulate_avg_updates,
    average_incrementally_updates as average_incrementally_updates,
    average_per_element_updates as average_per_element_updates,
    process as process,
)
from .batches import get_batch_size_from_per_elt_updates as get_batch_size_from_per_elt_updates
from .variances import (
    PerElementMeanAndSumSqDiffGradsState as PerElementMeanAndSumSqDiffGradsState,
    PerElementMeanAndVarianceEMAState as PerElementMeanAndVarianceEMAState,
    add_mean_variance_to_opt as add_mean_variance_to_opt,
    get_per_element_mean_and_sum_sq_diff_grads as get_per_element_mean_and_sum_sq_diff_grads,
    get_unbiased_mean_and_variance_ema as get_unbiased_mean_and_variance_ema,
    track_per_element_mean_and_variance_with_ema as track_per_element_mean_and_variance_with_ema,
)

__all__ = _hints.public_names(globals())

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)

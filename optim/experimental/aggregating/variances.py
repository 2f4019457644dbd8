"""The variance of the gradient between examples: its aggregator, and running means."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ... import checks, numerics, tree
from ...combine.chain import chain
from ...core.stateless import EmptyState, identity
from ...core.transformation import GradientTransformation, GradientTransformationExtraArgs
from ...types import Array, Count, Params, Scalar, TransformationLike, Updates
from .averages import Aggregator, process
from .batches import (
    Axes,
    advanced,
    batch_axes,
    float_dtype,
    gated,
    get_batch_size_from_per_elt_updates,
    mean_over,
    merged,
    positions,
    slots_like,
    wide,
    zero_count,
)


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
    axes = batch_axes(per_elt_axis)
    checks.argument("accumulation_steps", accumulation_steps, checks.Range(1, integer=True))

    def of_step(updates: Updates) -> tuple[Updates, Updates, int]:
        means = tree.map(lambda g: mean_over(wide(g), axes), updates)

        def sum_sq(g: Any, mean: Any) -> Array:
            return jnp.sum(numerics.square(wide(g) - jnp.expand_dims(mean, positions(axes, g))), axis=axes)

        return means, tree.map(sum_sq, updates, means), get_batch_size_from_per_elt_updates(updates, per_elt_axis)

    def result(updates: Any, means: Any, sums: Any, number: Any) -> Any:
        narrow = tree.map(lambda g, mean: mean.astype(float_dtype(g)), updates, means)
        return narrow, {"sample_size": number, "sum_sq_diff_grads": sums}

    def update_at_once(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        means, sums, n = of_step(updates)
        return result(updates, means, sums, jnp.asarray(n, jnp.int32)), state

    if accumulation_steps == 1:
        return Aggregator(lambda params: EmptyState(), update_at_once)

    def init(params: Params) -> PerElementMeanAndSumSqDiffGradsState:
        sums = slots_like(params, real=True)
        return PerElementMeanAndSumSqDiffGradsState(zero_count(), jnp.zeros((), bool), slots_like(params), sums)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        new, new_sums, n = of_step(updates)
        share = 1 / (state.micro_step + 1).astype(jnp.float32)
        # This step's n examples meet micro_step n others: n k / (n + k) = n micro_step share.
        cross = n * state.micro_step.astype(jnp.float32) * share

        def pooled(slot: Array, new_sum: Any, mean: Array, g: Any) -> Array:
            if tree.absent(g):
                return slot
            distance = numerics.square(numerics.convert(g, mean.dtype) - mean)
            return slot + numerics.convert(new_sum, slot.dtype) + numerics.scaled(distance, cross)

        sums = tree.map(pooled, state.sum_sq_diff_grads, new_sums, state.mean_grads, new)
        means = merged(lambda mean, g: mean + numerics.scaled(g - mean, share), state.mean_grads, new)
        micro_step, ready = advanced(state.micro_step, accumulation_steps)
        out, out_sums = (tree.map(lambda _, x: gated(ready, x), updates, x) for x in (means, sums))
        means, sums = (tree.map(lambda x: gated(~ready, x), x) for x in (means, sums))
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
        return PerElementMeanAndVarianceEMAState(zero_count(), decay, slots_like(params), slots_like(params, real=True))

    def update(
        updates: Any, state: Any, params: Any = None, *, sum_sq_diff_grads: Any, sample_size: Any, **extra: Any
    ) -> Any:
        others = jnp.maximum(jnp.asarray(sample_size) - 1, 1).astype(jnp.float32)
        means = merged(lambda m, g: numerics.ema(m, g, state.ema_decay), state.mean_grads_ema, updates)
        variances = tree.map(lambda s: numerics.scaled(s, 1 / others), sum_sq_diff_grads)
        variances = merged(lambda v, s: numerics.ema(v, s, state.ema_decay), state.variance_grads_ema, variances)
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
    Returns: a pair of trees like the parameters; (None, None) if the state has no running means.
    Raises:  ValueError if it has several.
    Differs: before the first update both are zero, where Optax returns NaN.
    """
    kind = PerElementMeanAndVarianceEMAState
    found = [x for x in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kind)) if isinstance(x, kind)]
    if len(found) > 1:
        checks.fail(f"state has {len(found)} {kind.__name__}, expected one")
    if not found:
        return None, None
    (averages,) = found
    t = jnp.maximum(averages.count, 1)

    def corrected(average: Updates) -> Updates:
        return tree.map(lambda x: numerics.debias(x, averages.ema_decay, t), average)

    return corrected(averages.mean_grads_ema), corrected(averages.variance_grads_ema)

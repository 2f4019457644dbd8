"""Measurements of updates, stored in the state."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..core.registry import example, register
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..numerics import saturated
from ..tree import global_norm
from ..tree.params import of_arrays
from ..types import DType, Params, Scalar, Updates
from .momentum import ema

Measure = Callable[[Updates], Any]


class SnapshotState(NamedTuple):
    measurement: dict[str, Any]


class MonitorState(NamedTuple):
    measurements: dict[str, Any]
    measure_states: tuple[Any, ...]


_UNREAD = {"errors": "only its measure looks at updates"}


@register(
    example("norm", global_norm),
    exceptions={**_UNREAD, "golden": "it does not change updates", "init": "it calls the measure"},
    errors=[(example("norm", 1), "measure must be a function of updates, got 1")],
)
def snapshot(measure_name: str, measure: Measure) -> GradientTransformationExtraArgs:
    """Store measure(updates) in the state at every update; updates pass through unchanged.

        tx = chain(snapshot("grad_norm", global_norm), adam(1e-3))
        inspect(tx, state)["grad_norm"]

    Args:
      measure_name: a string, the name under which `inspect` returns the measurement.
      measure: a function of a tree, such as `global_norm`.
    State:   SnapshotState(measurement), a dict from the name to the value; at first measure(params).
    Raises:  TypeError if measure is not a function.
    """
    if not isinstance(measure_name, str):
        checks.fail(f"measure_name must be a string, got {checks.shown(measure_name)}", TypeError)
    checks.function("measure", measure, "a function of updates", arity=1)

    def init(params: Params) -> SnapshotState:
        return SnapshotState({measure_name: _copy(measure(params))})

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del params, extra_args
        old = state.measurement[measure_name]
        return updates, SnapshotState({measure_name: _cast_like(measure(updates), old)})

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(SnapshotState,), exposes=lambda state: state.measurement)


def _copy(value: Any) -> Any:
    """A copy of a measurement as strongly typed arrays."""
    return jax.tree.map(lambda x: jnp.array(x, jnp.asarray(x).dtype, copy=True), value)


def _finite(x: Any) -> Any:
    """Replace an overflowed measurement by the largest finite number, so that the running mean stays finite."""
    return saturated(x) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x


def _cast_like(value: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, o: jnp.asarray(x, o.dtype), value, old)


@register(example(global_norm, 0.9), kind="factory")
def measure_with_ema(
    measure: Measure, decay: Scalar, debias: bool = True, accumulator_dtype: DType = None
) -> GradientTransformationExtraArgs:
    """Keep a running mean of a measure of the updates, as an entry of `monitor`.

    Args:
      measure: a function of a tree, such as `global_norm`.
      decay: decay of the mean, in [0, 1). Usually 0.9.
      debias: whether to correct the mean for its start at zero.
      accumulator_dtype: dtype of the mean; None keeps the measurement's, at least float32 for decay > 0.99.
    State:   (EmptyState, EmaState): the EmaState holds the mean.
    Raises:  TypeError if measure is not a function.
    """
    checks.function("measure", measure, "a function of updates", arity=1)
    mean = ema(decay, debias, accumulator_dtype)

    def init(params: Params) -> Any:
        return EmptyState(), mean.init(of_arrays(measure, params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del params, extra_args
        value, inner = mean.update(jax.tree.map(_finite, measure(updates)), state[1])
        return value, (state[0], inner)

    return GradientTransformationExtraArgs(init, update).declaring(grain="leafwise")


@register(
    example({"norm": global_norm, "smooth": measure_with_ema(global_norm, 0.9)}),
    exceptions={**_UNREAD, "golden": "it does not change updates", "init": "it calls the measure"},
    errors=[(example({"norm": 1}), "measures['norm'] must be a transformation (init, update), got 1")],
)
def monitor(measures: Mapping[str, Any]) -> GradientTransformationExtraArgs:
    """Store several measurements in the state at every update; updates pass through unchanged.

        tx = chain(monitor({"norm": global_norm}), adam(1e-3))
        inspect(tx, state)["norm"]

    Args:
      measures: dict from a name to a function of updates, or to a transformation whose update returns the value, such
        as `measure_with_ema`. `inspect` returns the values under these names.
    State:   MonitorState(measurements, measure_states): a dict from names to values, 0 at first, and one state per
             measure.
    Raises:  TypeError if a measure is neither a function nor a transformation.
    Differs: Optax has no measurements before the first update, so that `scan` cannot carry its state.
    """
    if not isinstance(measures, Mapping) or not all(isinstance(name, str) for name in measures):
        checks.fail(f"measures must be a dict name -> measure, got {checks.shown(measures)}", TypeError)
    members = {name: _as_transformation(m, f"measures[{name!r}]") for name, m in measures.items()}

    def init(params: Params) -> MonitorState:
        states = tuple(m.init(params) for m in members.values())
        values = of_arrays(lambda params: measure_all(params, states, params, {})[0], params)
        return MonitorState(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), values), states)

    def measure_all(updates: Any, states: Any, params: Any, extra_args: Any) -> Any:
        values, new = {}, []
        for (name, member), state in zip(members.items(), states, strict=True):
            values[name], state = member.update(updates, state, params, **extra_args)
            new.append(state)
        return jax.tree.map(jnp.asarray, values), tuple(new)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        values, states = measure_all(tree.widen(updates), state.measure_states, params, extra_args)
        return updates, MonitorState(_cast_like(values, state.measurements), states)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(MonitorState,), exposes=lambda state: state.measurements)


def _as_transformation(measure: Any, where: str) -> GradientTransformationExtraArgs:
    if callable(measure) and not hasattr(measure, "update"):
        return GradientTransformationExtraArgs(
            lambda params: EmptyState(), lambda updates, state, params=None, **extra: (measure(updates), state)
        )
    return taking_extra_args(measure, where)

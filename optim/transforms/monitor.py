"""Measuring updates on their way."""

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
    exceptions={**_UNREAD, "golden": "it does not change updates"},
    errors=[(example("norm", 1), "measure must be a function of updates, got 1")],
)
def snapshot(measure_name: str, measure: Measure) -> GradientTransformationExtraArgs:
    """Keep measure(updates) of the last update, for `inspect` to tell under measure_name; updates pass.

    Args:    measure_name: a word; measure: a function of a tree, such as `global_norm`.
    State:   SnapshotState(measurement), a dict name -> value; at first the measure of the parameters.
    Raises:  TypeError for a measure that is no function.
    """
    if not isinstance(measure_name, str):
        checks.fail(f"measure_name must be a word, got {checks.shown(measure_name)}", TypeError)
    checks.function("measure", measure, "a function of updates")

    def init(params: Params) -> SnapshotState:
        return SnapshotState({measure_name: _fixed(measure(params))})

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del params, extra_args
        old = state.measurement[measure_name]
        return updates, SnapshotState({measure_name: _as(measure(updates), old)})

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(SnapshotState,), exposes=lambda state: state.measurement)


def _fixed(value: Any) -> Any:
    """A measurement in strongly typed buffers of its own."""
    return jax.tree.map(lambda x: jnp.array(x, jnp.asarray(x).dtype, copy=True), value)


def _finite(x: Any) -> Any:
    """A norm that has overflown must not leave an infinite mean behind."""
    return saturated(x) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x


def _as(value: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, o: jnp.asarray(x, o.dtype), value, old)


@register(example(global_norm, 0.9), kind="factory")
def measure_with_ema(
    measure: Measure, decay: Scalar, debias: bool = True, accumulator_dtype: DType = None
) -> GradientTransformationExtraArgs:
    """Turn updates into a running mean of their measure, as an entry of `monitor`.

    Args:    measure: a function of a tree. decay in [0, 1), debias, accumulator_dtype: as in `ema`.
    State:   (EmptyState, EmaState), the mean's.
    Raises:  TypeError for a measure that is no function.
    """
    checks.function("measure", measure, "a function of updates")
    mean = ema(decay, debias, accumulator_dtype)

    def init(params: Params) -> Any:
        return EmptyState(), mean.init(measure(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del params, extra_args
        value, inner = mean.update(jax.tree.map(_finite, measure(updates)), state[1])
        return value, (state[0], inner)

    return GradientTransformationExtraArgs(init, update).declaring(grain="leafwise")


@register(
    example({"norm": global_norm, "smooth": measure_with_ema(global_norm, 0.9)}),
    exceptions={**_UNREAD, "golden": "it does not change updates"},
    errors=[(example({"norm": 1}), "measures['norm'] must be a transformation (init, update), got 1")],
)
def monitor(measures: Mapping[str, Any]) -> GradientTransformationExtraArgs:
    """Keep measures of the last update, for `inspect` to tell by their names; updates pass.

    Args:    measures: name -> a function of updates, or a transformation whose update gives the value, such as
             `measure_with_ema`.
    State:   MonitorState(measurements, measure_states): name -> value, 0 at first, and a state for each measure.
    Raises:  TypeError for a measure that is neither.
    Differs: in Optax there are no measurements before the first update, so that `scan` cannot carry them.
    """
    if not isinstance(measures, Mapping) or not all(isinstance(name, str) for name in measures):
        checks.fail(f"measures must be a dict name -> measure, got {checks.shown(measures)}", TypeError)
    members = {name: _measuring(m, f"measures[{name!r}]") for name, m in measures.items()}

    def init(params: Params) -> MonitorState:
        states = tuple(m.init(params) for m in members.values())
        told, _ = _measured(params, states, params, {})
        return MonitorState(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), told), states)

    def _measured(updates: Any, states: Any, params: Any, extra_args: Any) -> Any:
        told, new = {}, []
        for (name, member), state in zip(members.items(), states, strict=True):
            told[name], state = member.update(updates, state, params, **extra_args)
            new.append(state)
        return jax.tree.map(jnp.asarray, told), tuple(new)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        told, states = _measured(tree.widen(updates), state.measure_states, params, extra_args)
        return updates, MonitorState(_as(told, state.measurements), states)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(MonitorState,), exposes=lambda state: state.measurements)


def _measuring(measure: Any, where: str) -> GradientTransformationExtraArgs:
    if callable(measure) and not hasattr(measure, "update"):
        return GradientTransformationExtraArgs(
            lambda params: EmptyState(), lambda updates, state, params=None, **extra: (measure(updates), state)
        )
    return taking_extra_args(measure, where)

"""Hyperparameters in the state, where they can be read, set and scheduled."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from .. import checks, numerics
from ..combine.chain import chain
from ..core.record import Call, Recorded
from ..core.registry import entry_of, example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs
from ..tree.places import unboxed
from ..types import Array, Count, DType, Params, Schedule


class WrappedScheduleState(NamedTuple):
    count: Count


class WrappedSchedule:
    """A schedule of the count as a stateful one, whose state is the number of updates done so far.

    Args:
      schedule_fn: a schedule, count -> value.
    """

    def __init__(self, schedule_fn: Schedule) -> None:
        self.schedule_fn = schedule_fn

    def init(self) -> WrappedScheduleState:
        return WrappedScheduleState(jnp.zeros((), jnp.int32))

    def update(self, state: WrappedScheduleState, **extra_args: Any) -> WrappedScheduleState:
        del extra_args
        return WrappedScheduleState(numerics.safe_increment(state.count))

    def __call__(self, state: WrappedScheduleState, **extra_args: Any) -> Any:
        del extra_args
        return self.schedule_fn(state.count)


def _as_stateful(schedule: Any) -> Any:
    """`schedule` as an object with init() -> state, update(state, **extra) -> state, and a call state -> value."""
    has_state = callable(getattr(schedule, "init", None)) and callable(getattr(schedule, "update", None))
    return schedule if has_state else WrappedSchedule(schedule)


class InjectHyperparamsState(NamedTuple):
    """State of Optax's older `inject_hyperparams`, which had no states of schedules."""

    count: Count
    hyperparams: dict[str, Array]
    inner_state: Any


class InjectStatefulHyperparamsState(NamedTuple):
    count: Count
    hyperparams: dict[str, Array]
    hyperparams_states: dict[str, Any]
    inner_state: Any


def _fresh_state(schedule: Any) -> Any:
    """A fresh state of a schedule, whose leaves are strongly typed copies."""
    return jax.tree.map(lambda x: numerics.convert(jnp.array(x, copy=True), jnp.result_type(x)), schedule.init())


def _cast_like(new: Any, old: Array) -> Array:
    """The new value in the dtype of the old one, unless it is a fraction and that is an integer."""
    new = jnp.asarray(new)
    fraction = jnp.issubdtype(new.dtype, jnp.inexact) and not jnp.issubdtype(old.dtype, jnp.inexact)
    return numerics.convert(new, new.dtype if fraction else old.dtype)


def _is_random(x: Any) -> bool:
    """Whether x is a random key, or several, typed or raw."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key) or (x.dtype == jnp.uint32 and x.ndim > 0)


class InjectedFactory(Recorded):
    """A factory of transformations whose numeric arguments are stored in the state."""

    def __init__(self, factory: Callable[..., Any], static: frozenset[str], dtype: DType) -> None:
        self.factory, self.static, self.dtype = factory, static, dtype
        self.__signature__ = inspect.signature(factory)
        self.__name__ = f"inject_hyperparams({getattr(factory, '__name__', factory)})"

    def _recorded(self, call: Call) -> Self:
        new = type(self)(self.factory, self.static, self.dtype)
        new.call = call
        return new

    def __repr__(self) -> str:
        return repr(self.call) if self.call else self.__name__

    @checks.entrance(lambda self, *args, **kwargs: self.__name__)
    def __call__(self, *args: Any, **kwargs: Any) -> GradientTransformationExtraArgs:
        bound = checks.bind(self.__signature__, args, kwargs)
        tx = self._make(bound)
        made = Call(self.call, args, kwargs, bound, self) if self.call else None
        return tx._recorded(made) if made else tx

    def _make(self, bound: inspect.BoundArguments) -> GradientTransformationExtraArgs:
        fixed, numbers, schedules = self._groups(bound)

        def build(values: Mapping[str, Any]) -> GradientTransformationExtraArgs:
            now = inspect.BoundArguments(self.__signature__, {**bound.arguments, **fixed, **values})
            return chain(self.factory(*now.args, **now.kwargs))

        # Check concrete values now, in the user's call, and not in a later trace.
        member = build({**numbers, **{k: s(_fresh_state(s)) for k, s in schedules.items()}})

        def init(params: Params) -> InjectStatefulHyperparamsState:
            values = {k: self._array(v) for k, v in numbers.items()}
            states = {k: _fresh_state(s) for k, s in schedules.items()}
            values |= {k: self._array(s(states[k])) for k, s in schedules.items()}
            inner = build(values).init(params)
            return InjectStatefulHyperparamsState(jnp.zeros((), jnp.int32), values, states, inner[0])

        def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
            values = {name: self._strong(value) for name, value in state.hyperparams.items()}
            states = dict(state.hyperparams_states)
            for name, schedule in schedules.items():
                old = states[name]
                values[name] = numerics.convert(jnp.asarray(schedule(old, **extra_args)), values[name].dtype)
                states[name] = jax.tree.map(_cast_like, schedule.update(old, **extra_args), old)
            inner = build(values)
            updates, (inner_state,) = inner.update(updates, (state.inner_state,), params, **extra_args)
            count = numerics.safe_increment(state.count)
            return updates, InjectStatefulHyperparamsState(count, values, states, inner_state)

        def opened(state: Any) -> Any:
            values = {name: unboxed(value) for name, value in state.hyperparams.items()}
            now = build(values) if all(isinstance(v, jax.Array) for v in values.values()) else member
            return now, (state.inner_state,)

        return GradientTransformationExtraArgs(init, update).declaring(
            grain=member.grain,
            state_classes=(InjectStatefulHyperparamsState,),
            members=member.facts.members,
            exact=member.facts.exact,
            opened=opened,
            exposes=lambda state: state.hyperparams,
        )

    def _strong(self, value: Any) -> Any:
        """A hyperparameter of the state; a number that the user has put there becomes an array again."""
        x = unboxed(value)
        strong = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.inexact) and not x.weak_type
        return value if strong else self._array(x)

    def _array(self, value: Any) -> Array:
        """A copy: the state must not share a buffer with the caller's array."""
        wide = numerics.hyperparameter(value)
        if not jnp.issubdtype(wide.dtype, jnp.inexact):
            wide = numerics.convert(wide, numerics.scalar_dtype())
        return jnp.array(wide, self.dtype or wide.dtype, copy=True)

    def _groups(self, bound: inspect.BoundArguments) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The arguments in three groups: fixed Python values, numbers in the state, and schedules."""
        entry = entry_of(self.factory)
        fixed, numbers, schedules = {}, {}, {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            real = kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            real &= name not in self.static
            ranges = entry.ranges if entry else checks.RANGES
            if entry or isinstance(value, int):
                real &= name in ranges and not ranges[name].integer
            if real and (checks.is_number(value) or (checks.is_array(value) and not _is_random(value))):
                numbers[name] = value
            elif real and callable(value):
                schedules[name] = _as_stateful(value)
            else:
                fixed[name] = value
        return fixed, numbers, schedules


@register(example(identity), kind="factory", errors=[(example("adam"), "inner_factory must be a function")])
def inject_hyperparams(
    inner_factory: Callable[..., Any], static_args: Any = (), hyperparam_dtype: DType = None
) -> InjectedFactory:
    """Make a factory whose numeric arguments, defaults included, are stored in the state.

        tx = inject_hyperparams(adam)(learning_rate=schedule, b1=0.9)
        state.hyperparams["learning_rate"]; state = optim.tree.set(state, b1=0.8)

    A value that was set acts from the next update on, without retracing. A schedule given for an argument is evaluated
    at every update. It may be stateful: an object with init() -> state, update(state, **extra) -> state and a call
    (state, **extra) -> value, where extra are the extra arguments of update.

    Args:
      inner_factory: a factory of transformations.
      static_args: name or names of arguments that stay Python values.
      hyperparam_dtype: dtype of the stored numbers; None takes float32, float64 where JAX has it enabled.
    State:   InjectStatefulHyperparamsState(count, hyperparams, hyperparams_states, inner_state).
    Raises:  TypeError if inner_factory is not a function; ValueError for a name in static_args that it does not have.
    Differs: a hyperparameter given as an integer is stored as a float, so that a learning rate of 1 can be set to 0.5;
             integer arguments, which count something, stay Python values. Optax keeps the dtype, and stores both.
    """
    checks.function("inner_factory", inner_factory)
    names_given = [static_args] if isinstance(static_args, str) else static_args
    if not isinstance(names_given, Iterable) or not all(isinstance(name, str) for name in names_given):
        checks.fail(f"static_args must be a name or names of arguments, got {checks.shown(static_args)}", TypeError)
    static = frozenset(names_given)
    names = inspect.signature(inner_factory).parameters
    for name in sorted(static - set(names)):
        checks.fail(f"static_args has {name!r}, which is not an argument of {inner_factory}{checks.near(name, names)}")
    return InjectedFactory(inner_factory, static, hyperparam_dtype)

"""The vocabulary of signatures: trees, scalars, schedules, and the two functions of a transformation."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NewType, Protocol, TypeAlias

import chex
import jax

Array: TypeAlias = jax.Array
Tree: TypeAlias = Any
"""Any pytree. `None` in it is a place without a value."""

Params: TypeAlias = Any
"""A pytree of arrays: the parameters."""
Updates: TypeAlias = Any
"""A pytree of arrays like the parameters: gradients, or what is made of them."""
OptState: TypeAlias = Any
"""A pytree of arrays: the state of a transformation."""

Count: TypeAlias = chex.Array
"""The number of updates done, an int32 scalar."""

Scalar: TypeAlias = float | jax.Array
"""A real hyperparameter: a Python number, or an array or tracer of shape ()."""

Schedule: TypeAlias = Callable[[Any], Any]
"""count -> value, where count is the number of updates done before this one."""

ScalarOrSchedule: TypeAlias = Scalar | Schedule
MaskOrFn: TypeAlias = Any | Callable[[Params], Any] | None
DType: TypeAlias = Any

Grain: TypeAlias = Literal["elementwise", "treewise", "leafwise"]
"""What one element of an update may depend on; see `optim.lift`."""


class TransformInitFn(Protocol):
    """`init(params) -> state`: pure, allocates every slot, reads no value of params unless its rule says so."""

    def __call__(self, params: Params) -> OptState:
        """Return the state for `params`, a tree of arrays."""


class TransformUpdateFn(Protocol):
    """`update(updates, state, params=None, **extra) -> (updates, state)`: pure.

    The result's structure, shapes and dtypes are those of `updates` and of `state`.
    """

    def __call__(
        self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, OptState]:
        """Return the updates to add to `params`, and the next state.

        Args:    updates: gradients, a tree like `params`. state: from `init`, or from the update before.
                 extra_args: a loss as `value`, say; a transformation ignores those it does not use.
        """


TransformUpdateExtraArgsFn = TransformUpdateFn
"""Optax's name for an update that takes extra arguments; here every update does."""


class ShouldSkipUpdateFunction(Protocol):
    """`f(updates, gradient_step, params) -> (skip, state)`: decides whether `MultiSteps` skips a micro-step."""

    def __call__(self, updates: Updates, gradient_step: Count, params: Params | None) -> tuple[Any, Any]:
        """Return a boolean scalar and what `MultiSteps` stores as `skip_state`, a tree of arrays."""


class ConditionFn(Protocol):
    """`f(step, **extra) -> bool`: decides at which steps `conditionally_transform` acts."""

    def __call__(self, step: Count, **extra_args: Any) -> Any:
        """Return a boolean scalar, given the number of updates before this one."""


class StatefulSchedule(Protocol):
    """A schedule with a state, for `inject_hyperparams`."""

    def init(self) -> Any:
        """Return the first state, a tree of arrays."""

    def update(self, state: Any, **extra_args: Any) -> Any:
        """Return the next state, given the extra arguments of the optimizer's update."""

    def __call__(self, state: Any, **extra_args: Any) -> Any:
        """Return the value of the hyperparameter."""


class HasInitAndUpdate(Protocol):
    """What has the two functions of a transformation, of whichever library."""

    @property
    def init(self) -> Callable[..., Any]: ...
    @property
    def update(self) -> Callable[..., Any]: ...


TransformationLike: TypeAlias = HasInitAndUpdate | tuple[Callable[..., Any], Callable[..., Any]]
"""A transformation of this library or another, or a pair of functions `(init, update)`."""


if not TYPE_CHECKING:
    # At run time under their names, so that a signature prints those, and not all that they stand for.
    for _name in ("Array", "Count", "DType", "Grain", "MaskOrFn", "OptState", "Params", "Scalar", "ScalarOrSchedule"):
        globals()[_name] = NewType(_name, globals()[_name])
    for _name in ("Schedule", "TransformationLike", "Tree", "Updates"):
        globals()[_name] = NewType(_name, globals()[_name])

"""The words the signatures speak: trees, scalars, schedules, and the two functions of a transformation."""

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import chex
import jax

Array: TypeAlias = jax.Array
Tree: TypeAlias = Any
"""Any pytree. `None` in it means: nothing here."""

Params: TypeAlias = chex.ArrayTree
Updates: TypeAlias = chex.ArrayTree
OptState: TypeAlias = Any

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

    def __call__(self, params: Any) -> Any: ...


class TransformUpdateFn(Protocol):
    """`update(updates, state, params=None, **extra) -> (updates, state)`: pure.

    The result's structure, shapes and dtypes are those of `updates` and of `state`.
    """

    def __call__(self, updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]: ...

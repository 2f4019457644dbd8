"""A transformation as an optimizer of Keras 3; importing this module imports Keras."""

from collections import OrderedDict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from .. import checks
from ..core.apply import apply_updates
from ..core.config import from_config, to_config
from ..core.edit import rates, with_rate
from ..core.inspection import inspect
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args

_Optimizer: Any = keras.optimizers.Optimizer  # untyped, like the next two
_Schedule: Any = keras.optimizers.schedules.LearningRateSchedule
_registered: Any = keras.saving.register_keras_serializable


class _ReportedRate(_Schedule):  # type: ignore[misc]
    """The learning rate that a state reports, read-only for Keras; 1 if the state reports none."""

    optimizer: Any = None

    def __call__(self, step: Any) -> Any:
        del step
        tx, state = self.optimizer._own.tx, self.optimizer._stored_state()
        values = {} if state is None else inspect(tx, state)
        return jnp.asarray(values.get("learning_rate", values.get("lr", 1.0)), jnp.float32)

    def get_config(self) -> dict[str, Any]:
        return {}  # the transformation's config includes the rate


@_registered(package="optim")
class Transformation(_Optimizer):  # type: ignore[misc]
    """An optimizer of Keras whose variables are the state of a transformation; `as_keras` makes it.

    Args:
      transformation: a transformation, or its config.
      name: the optimizer's name in Keras; None takes the transformation's.
      options: Keras' options for every optimizer.
    """

    def __init__(self, transformation: Any, name: str | None = None, **options: Any) -> None:
        if isinstance(transformation, Mapping):
            transformation = from_config(transformation)
        tx = taking_extra_args(transformation, "tx")
        numbers = rates(tx)
        start = options.pop("learning_rate", next(iter(numbers.values()), None))
        name = name or (str(tx.call.name) if tx.call else "transformation").replace(".", "_").replace("/", "_").lower()
        rate = _ReportedRate()
        super().__init__(learning_rate=rate if start is None else float(start), name=name, **options)
        rate.optimizer = self
        # In a namespace: Keras turns tuples among its attributes into plain tuples.
        self._own = SimpleNamespace(tx=tx, sets_rate=bool(numbers), variables=None)

    def __repr__(self) -> str:
        return f"as_keras({self.transformation!r})"

    @property
    def transformation(self) -> GradientTransformationExtraArgs:
        """The wrapped transformation, with the learning rate that Keras has now."""
        return self._at_present()[0]

    def _at_present(self) -> tuple[GradientTransformationExtraArgs, Any]:
        """The transformation and its state with the learning rate that Keras has now."""
        own = self._own
        if not own.sets_rate:
            return own.tx, self._stored_state()
        rate = self.learning_rate
        return with_rate(own.tx, self._stored_state(), _as_number(getattr(rate, "value", rate)))

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self._own.names = _names(variables)
        state = self._own.tx.init(self._params(variables))
        pairs, structure = jax.tree_util.tree_flatten_with_path(state)
        self._own.structure = structure
        self._own.keys = tuple(jax.random.key_impl(x) if checks.is_key(x) else None for _, x in pairs)
        self._own.variables = tuple(self._variable(jax.tree_util.keystr(path), x) for path, x in pairs)

    def _variable(self, path: str, x: Any) -> Any:
        value = jax.random.key_data(x) if checks.is_key(x) else jnp.asarray(x)
        name = "".join(c if c.isalnum() else "_" for c in path).strip("_")
        return self.add_variable(
            value.shape, initializer=lambda *_, **__: value, dtype=str(value.dtype), name=name or "state"
        )

    @property
    def state(self) -> Any:
        """The transformation's state, read from Keras' variables; None before `build`."""
        return self._at_present()[1]

    def _stored_state(self) -> Any:
        if self._own.variables is None:
            return None
        values = [
            v.value if impl is None else jax.random.wrap_key_data(v.value, impl=impl)
            for v, impl in zip(self._own.variables, self._own.keys, strict=True)
        ]
        return self._own.structure.unflatten(values)

    def _params(self, variables: Any) -> OrderedDict[str, Any]:
        return OrderedDict((n, v.value) for n, v in zip(self._own.names, variables, strict=True))

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        # Only this method sees all gradients at once, after Keras' own clipping, accumulation and decay.
        params = self._params(self._trainable_variables)
        by_variable = {id(v): g for g, v in zip(grads, trainable_variables, strict=True)}
        pairs = zip(self._own.names, self._trainable_variables, strict=True)
        updates = OrderedDict((n, by_variable.get(id(v))) for n, v in pairs)
        tx, state = self._own.tx, self._stored_state()
        if self._own.sets_rate:
            tx, state = with_rate(tx, state, jnp.asarray(getattr(learning_rate, "value", learning_rate)))
        updates, state = tx.update(updates, state, params)
        new = apply_updates(params, updates)
        for variable, name in zip(self._trainable_variables, self._own.names, strict=True):
            if updates[name] is not None:
                variable.assign(new[name])
        for variable, x in zip(self._own.variables, jax.tree.leaves(state), strict=True):
            variable.assign(jax.random.key_data(x) if checks.is_key(x) else x)

    def finalize_variable_values(self, var_list: Any) -> None:
        super().finalize_variable_values(var_list)
        if self.use_ema:
            for variable in var_list:  # copy: it shares its average's buffer, which the next fit would donate twice
                variable.assign(jnp.copy(variable.value))

    @property
    def learning_rate(self) -> Any:
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if not self._own.sets_rate:
            raise TypeError(
                f"as_keras: the learning rate of {self.transformation} cannot be set: give one of its members a number "
                "as learning_rate"
            )
        if isinstance(value, _Schedule) or callable(value):
            raise TypeError("as_keras: learning_rate must be a number; give the transformation a schedule in its place")
        _Optimizer.learning_rate.fset(self, value)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        rate = config.pop("learning_rate")
        rate_config = {"learning_rate": rate} if self._own.sets_rate else {}
        return {"transformation": to_config(self.transformation), **config, **rate_config}


def _as_number(rate: Any) -> Any:
    """A concrete rate as a Python number in its shortest form, a traced one as it is."""
    if checks.is_traced(rate):
        return rate
    return float(str(np.asarray(rate, np.float32)))


def _names(variables: Any) -> tuple[str, ...]:
    """The variables' paths; a repeated path gets a number."""
    uses: dict[str, int] = {}
    names = []
    for v in variables:
        path = str(v.path)
        uses[path] = uses.get(path, 0) + 1
        names.append(path if uses[path] == 1 else f"{path}_{uses[path]}")
    return tuple(names)

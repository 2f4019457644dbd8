"""Lookup of optimizers by name or config, and Keras' JSON form of them."""

from collections.abc import Callable, Mapping
from typing import Any

from .. import checks
from . import optimizers
from .front import KerasFactory, KerasOptimizer
from .tensorflow import TFOptimizer, is_keras_optimizer, is_native

FACTORIES: dict[str, KerasFactory[Any]] = {
    name.lower(): value for name, value in vars(optimizers).items() if isinstance(value, KerasFactory)
} | {"tfoptimizer": TFOptimizer}


@checks.entrance()
def get(identifier: Any) -> Any:
    """An optimizer from a name, a config dict or an optimizer, as `keras.optimizers.get` does.

        get("adam");  get({"class_name": "SGD", "config": {"lr": 0.1}});  get(optim.adam(1e-3))

    Args:
      identifier: a name in any case; a dict of class_name and config; a transformation, returned as it is; or a
        `tf.compat.v1.train.Optimizer`, returned in a `TFOptimizer`.
    Raises:  ValueError with Keras' sentences for an unknown name, and for any other object.
    """
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, tuple) and all(callable(getattr(identifier, f, None)) for f in ("init", "update")):
        return identifier  # a pair, of whichever library
    if is_native(identifier):
        return TFOptimizer(identifier)
    hint = "; optim.keras.TFOptimizer takes it" if is_keras_optimizer(identifier) else ""
    raise checks.mistake(f"Could not interpret optimizer identifier: {identifier}{hint}")


@checks.entrance()
def serialize(optimizer: KerasOptimizer | None) -> dict[str, Any] | None:
    """{'class_name': ..., 'config': ...} as Keras writes it; None for None.

    Args:
      optimizer: one of `optim.keras`.
    Raises:  ValueError for any other transformation: `optim.to_config` writes all of them.
    """
    if optimizer is None:
        return None
    if not isinstance(optimizer, KerasOptimizer):
        raise checks.mistake(f"Cannot serialize {optimizer!r}: it is not an optimizer of Keras; use optim.to_config")
    return {"class_name": optimizer.class_name, "config": optimizer.get_config()}


@checks.entrance()
def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """The optimizer that `serialize` described; `config` is not modified.

    Args:
      config: a dict of class_name and config.
      custom_objects: dict from a name to a factory, looked up first and with case.
    Raises:  KeyError without 'class_name'; ValueError without 'config' or for an unknown name.
    """
    if not isinstance(config, Mapping) or ("class_name" in config and not isinstance(config.get("config"), Mapping)):
        raise checks.mistake(f"Improper config format: {config}")
    name = config["class_name"]
    factory = (custom_objects or {}).get(name) or FACTORIES.get(name.lower() if isinstance(name, str) else "")
    if factory is None:
        raise checks.mistake(f"Unknown optimizer: {name}{checks.near(str(name), FACTORIES)}")
    return getattr(factory, "from_config", lambda kwargs: factory(**kwargs))(config["config"])

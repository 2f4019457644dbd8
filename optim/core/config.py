"""A transformation or schedule as plain JSON, and back."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from .. import checks
from .record import Call, Recorded, is_dtype
from .registry import entry_of, lookup


def _config(call: Call) -> dict[str, Any]:
    """Plain JSON: the name, and the arguments as they were given."""
    given = call.signature.bind(*call.args, **call.kwargs).arguments
    out: dict[str, Any] = {"name": call.name if isinstance(call.name, str) else _config(call.name)}
    for key, value in given.items():
        kind = call.signature.parameters[key].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            out["args"] = [_encode(v, f"{call.name}: argument {i}") for i, v in enumerate(value)]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            out.update({k: _encode(v, f"{call.name}: {k}") for k, v in value.items()})
        else:
            out[key] = _encode(value, f"{call.name}: {key}")
    return out


def _encode(x: Any, where: str) -> Any:
    """Plain JSON for one argument; what JSON has no word for is a one-key object whose key begins with '$'."""
    if isinstance(x, Recorded) and x.call is not None:
        return _config(x.call)
    if x is None or isinstance(x, bool | str) or (isinstance(x, int) and not isinstance(x, np.generic)):
        return x
    if isinstance(x, float | np.generic) and checks.is_number(x):
        value = x.item() if isinstance(x, np.generic) else x
        return value if math.isfinite(value) else {"$float": repr(value)}
    if checks.is_traced(x):
        raise checks.mistake(f"{where} is {checks.shown(x)} being traced; a config needs a concrete value", TypeError)
    if checks.is_key(x):
        return {"$key": np.asarray(jax.random.key_data(x)).tolist(), "impl": str(jax.random.key_impl(x))}
    if checks.is_array(x):
        return {"$array": np.asarray(x).astype(_json_dtype(x.dtype)).tolist(), "dtype": str(x.dtype)}
    if is_dtype(x):
        return {"$dtype": str(np.dtype(x))}
    if isinstance(x, PartitionSpec):
        return {"$spec": [list(axes) if isinstance(axes, tuple) else axes for axes in x]}
    if isinstance(x, tuple) and type(x) is tuple:
        return {"$tuple": [_encode(v, f"{where}[{i}]") for i, v in enumerate(x)]}
    if type(x) is list:
        return [_encode(v, f"{where}[{i}]") for i, v in enumerate(x)]
    if isinstance(x, Mapping):
        items = {k: _encode(v, f"{where}[{k!r}]") for k, v in x.items()}
        if all(isinstance(k, str) and not k.startswith("$") for k in items) and "name" not in items:
            return items
        return {"$dict": [[_encode(k, where), v] for k, v in items.items()]}
    if (entry := entry_of(x)) is not None:
        return {"$factory": entry.name}
    raise checks.mistake(
        f"{where} is {checks.shown(x)}, which has no form in JSON; a function that is registered, "
        "with @optim.register(kind='function'), has one",
        TypeError,
    )


def _json_dtype(dtype: Any) -> Any:
    return np.float32 if str(dtype) in ("bfloat16", "float16") else dtype


_spec: Any = PartitionSpec  # untyped in jax

_WORDS: dict[str, Callable[[Any], Any]] = {
    "$float": lambda x: float(x["$float"]),
    "$key": lambda x: jax.random.wrap_key_data(jnp.asarray(x["$key"], jnp.uint32), impl=x["impl"]),
    "$array": lambda x: jnp.asarray(x["$array"], x["dtype"]),
    "$dtype": lambda x: jnp.dtype(x["$dtype"]),
    "$spec": lambda x: _spec(*(tuple(axes) if isinstance(axes, list) else axes for axes in x["$spec"])),
}


def _decode(x: Any) -> Any:
    if isinstance(x, list):
        return [_decode(v) for v in x]
    if not isinstance(x, Mapping):
        return x
    if (word := next((w for w in x if w in _WORDS), None)) is not None:
        try:
            return _WORDS[word](x)
        except (KeyError, TypeError, ValueError) as error:
            raise checks.mistake(
                f"optim: a config has {dict(x)}, which is no {word[1:]}: {error}", ValueError
            ) from error
    if "$tuple" in x:
        return tuple(map(_decode, x["$tuple"]))
    if "$dict" in x:
        return {_decode(k): _decode(v) for k, v in x["$dict"]}
    if "$factory" in x:
        return lookup(x["$factory"]).factory
    if "name" in x:
        return from_config(x)
    return {k: _decode(v) for k, v in x.items()}


@checks.entrance()
def to_config(x: Any) -> dict[str, Any]:
    """The call that made a transformation or schedule, as plain JSON that `from_config` reads.

    Raises: TypeError for one made by hand, or with an argument that JSON cannot hold, naming it.
    """
    if not isinstance(x, Recorded):
        raise checks.mistake(f"optim: to_config takes a transformation or schedule, got {checks.shown(x)}", TypeError)
    if x.call is None:
        raise checks.mistake(
            f"optim: {x!r} was made by hand; make it in a function decorated with @optim.register()", TypeError
        )
    return _config(x.call)


@checks.entrance()
def from_config(config: Mapping[str, Any]) -> Any:
    """The transformation or schedule that `to_config` described.

    Raises: TypeError, ValueError or KeyError naming the entry that is wrong.
    """
    name = config.get("name") if isinstance(config, Mapping) else None
    if not isinstance(name, str | Mapping):
        raise checks.mistake(f"optim: a config is a dict with a 'name', got {checks.shown(config)}", TypeError)
    factory = lookup(name) if isinstance(name, str) else from_config(name)
    args, rest = config.get("args", []), {k: v for k, v in config.items() if k not in ("name", "args")}
    if not isinstance(args, list | tuple) or not all(isinstance(k, str) for k in rest):
        raise checks.mistake(
            f"optim: the 'args' of a config are a list, its other keys words, got {checks.shown(config)}", TypeError
        )
    return factory(*map(_decode, args), **{k: _decode(v) for k, v in rest.items()})

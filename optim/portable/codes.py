"""Coded slots in a dict: an entry for each array of a code, under a name with the codec's tag in it."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..lift.codecs import from_tag
from ..tree.coded import Coded, is_coded

# In the names of members and parameters a percent sign is written %25.
_CODE = re.compile(r"([^/]*)%([a-z]+[0-9][^%/]*)%([a-z]+)(/.*)?")


def written(key: str, x: Any) -> dict[str, Any]:
    """The entries of one leaf of a state."""
    if not is_coded(x):
        return {key: jax.random.key_data(x) if checks.is_key(x) else x}
    if not hasattr(x.codec, "tag"):
        return {key: x.decoded()}  # a user's own codec
    tag, shape = x.codec.tag(), "x".join(map(str, x.made_of))
    member, slash, rest = key.partition("/")
    return {f"{member}%{tag}-{shape}%{part}{slash}{rest}": value for part, value in x.code.items()}


def read(d: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a dict, those of a code joined to one `Coded`."""
    found: dict[str, Any] = {}
    codes: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for key, value in d.items():
        match = _CODE.fullmatch(key)
        if match:
            member, tag, part, rest = match.groups()
            codes[member + (rest or ""), tag][part] = value
        else:
            found[key] = value
    for (name, tag), code in codes.items():
        kind, _, shape = tag.rpartition("-")
        codec = from_tag(kind)
        if codec is None:
            checks.fail(f"{name!r} has a code of the unknown kind {kind!r}")
        found[name] = Coded(code, codec, tuple(int(n) for n in shape.split("x") if n))
    return found


def numbers(x: Coded) -> Any:
    """What a code of a file stands for."""
    arrays = {}
    for part, value in x.code.items():
        wanted = x.codec.dtypes()[part]
        raw = value if isinstance(value, jax.Array) else np.asarray(value)
        arrays[part] = jnp.asarray(raw.view(wanted) if raw.dtype.kind == "V" else raw)
    return Coded(arrays, x.codec, x.made_of).decoded()

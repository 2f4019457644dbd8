"""Values in sentences: what a value is, how it is shown, and which names are near a misspelt one."""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray)


def is_shape(x: Any) -> bool:
    """Whether `x` is the shape and dtype of an array without its values."""
    return isinstance(x, jax.ShapeDtypeStruct)


def is_key(x: Any) -> bool:
    """Whether `x` is a PRNG key."""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def is_number(x: Any) -> bool:
    """A concrete Python or NumPy real number; booleans are not."""
    return isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)


def broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether an array of one shape broadcasts to the other, which stays as it is."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in pairs)


def shown(x: Any) -> str:
    """A short, readable form of a value that was not expected."""
    if is_traced(x) or (is_array(x) and x.shape != ()):
        return f"an array of shape {x.shape} and dtype {x.dtype}"
    if is_array(x):
        return repr(x.item()) if x.dtype.kind in "biufc" else f"an array of dtype {x.dtype}"
    if isinstance(x, np.generic):
        return repr(x.item())
    if callable(x) and hasattr(x, "__name__"):
        return f"the {'class' if inspect.isclass(x) else 'function'} {x.__name__}"
    if any(map(is_array, jax.tree.leaves(x))):
        return _described(x)
    text = without_address(repr(x))
    return text if len(text) <= 60 else f"{text[:57]}..."


def function_name(f: Any) -> str:
    """What a `repr` calls a function: `sophia.update` for one inside another; the outer's name for a lambda there."""
    path = getattr(f, "__qualname__", type(f).__name__).split(".")
    return ".".join(part.lstrip("_") for part in path if "<" not in part) or "lambda"


def without_address(text: str) -> str:
    """A `repr` without the place in memory that Python's own ends with."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _described(tree: Any) -> str:
    """What a tree of arrays is, in place of all that is in it."""
    if isinstance(tree, Mapping):
        return f"a dict with the keys {', '.join(map(repr, list(tree)[:4]))}{', ...' if len(tree) > 4 else ''}"
    plain = type(tree) in (tuple, list)
    return with_article(type(tree).__name__) + (f" of {', '.join(map(shown, tree[:4]))}" if plain else "")


def with_article(word: str) -> str:
    return f"{'an' if word[:1] in 'AEIOUaeiou' else 'a'} {word}"


def written(signature: inspect.Signature) -> str:
    """A signature as one calls it: names and defaults."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


def near(name: str, names: Iterable[str], n: int = 3) -> str:
    """`; did you mean 'adam' or 'adamw'?`, or nothing."""
    folded = {k.lower(): k for k in names}
    close = [folded[k] for k in difflib.get_close_matches(name.lower(), folded, n, 0.6)]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""

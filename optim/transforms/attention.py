"""QK-clip: the weights of queries and keys shrink where attention logits are too large."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..checks import Range
from ..core.registry import example, register
from ..core.stateless import EmptyState, init_empty_state
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.rules import check_updates
from ..numerics import hyperparameter, real_dtype
from ..types import Array, Scalar

Patterns = str | Sequence[str] | None


def _fits(path: str, patterns: Patterns) -> bool:
    listed = [patterns] if isinstance(patterns, str) else patterns or ()
    return any(fnmatch.fnmatchcase(path, p) or fnmatch.fnmatchcase(f"/{path}", p) for p in listed)


def _logits_of(path: str, max_logits: Any) -> Array:
    """The largest logits of the heads of the layer that `path` is in."""
    if not isinstance(max_logits, Mapping):
        return jnp.atleast_1d(hyperparameter(max_logits))
    found = [key for key in max_logits if path.startswith(f"{key}/") or _fits(path, key)]
    if len(found) != 1:
        checks.fail(f"max_logits must have one entry for {path!r}, got {found} of {list(max_logits)}")
    return jnp.atleast_1d(hyperparameter(max_logits[found[0]]))


_LOGITS = {"max_logits": np.asarray([200.0], np.float32)}
_NAMES = "its patterns need the names of parameters"


@register(
    example(100.0, query="w", key="b", head_axis=0).given(**_LOGITS),
    example(50.0, query="none", key="b", rotary_query="w", head_axis=0).given(**_LOGITS),
    ranges={
        "threshold": Range(0, open_low=True),
        "head_axis": Range(integer=True, means="axis of the heads"),
        "nope_features": Range(1, integer=True, optional=True, means="number of features without rotary positions"),
    },
    exceptions={"independent": "packages need a model with their names", "dtypes": _NAMES, "leaves": _NAMES},
    errors=[
        (example(mla_query="*"), "mla_query and mla_key_value need nope_features"),
        (example(query=1), "query must be a pattern of paths, several, or None, got 1"),
    ],
)
def qk_clip(
    threshold: Scalar = 100.0,
    *,
    query: Patterns = "*query*",
    key: Patterns = "*key*",
    rotary_query: Patterns = None,
    mla_query: Patterns = None,
    mla_key_value: Patterns = None,
    nope_features: int | None = None,
    head_axis: int = -2,
) -> GradientTransformationExtraArgs:
    """Scale the weights of queries and keys after the step, so that no attention logit exceeds the threshold.

        c = min(1, threshold / S)          S: the largest logit of a head in the last forward pass
        W <- sqrt(c) (W + u) for queries and keys;  c (W + u) for rotary queries, whose rotary keys all heads share

    It is the last member of a chain, after the learning rate. update needs max_logits=...: an array (heads,), or
    (layers, heads) for stacked layers, or a dict from the path of a layer, or a pattern of it, to such an array.

    Args:
      threshold: largest logit, > 0. Usually 100.
      query, key, rotary_query: patterns of paths, as in `label_by_path`, biases included; None is for none.
      mla_query, mla_key_value: patterns of the fused weights of multi-head latent attention: in each head the first
        nope_features features are those of a query or key; the rest are rotary queries, and values, which stay.
      nope_features: number of features of a head without rotary positions.
      head_axis: axis of the heads, or of the features of all heads one after the other. Usually -2, as in Flax.
    State:   empty.
    Raises:  ValueError where no parameter fits a pattern, or the axis of the heads does not fit max_logits.
    Source:  Kimi K2, 2507.20534, Alg. 1: MuonClip is `muon` and this.
    When:    transformers whose attention logits grow, with `muon` most of all.
    """
    roles = {
        "rotary_query": rotary_query,
        "mla_query": mla_query,
        "mla_key_value": mla_key_value,
        "query": query,
        "key": key,
    }
    for name, patterns in roles.items():
        several = isinstance(patterns, list | tuple) and all(isinstance(p, str) for p in patterns)
        if not (patterns is None or isinstance(patterns, str) or several):
            checks.fail(f"{name} must be a pattern of paths, several, or None, got {checks.shown(patterns)}", TypeError)
    split = nope_features or 0
    if (mla_query or mla_key_value) and nope_features is None:
        checks.fail("mla_query and mla_key_value need nope_features")

    def role_of(path: str) -> str | None:
        return next((role for role, patterns in roles.items() if _fits(path, patterns)), None)

    def factor(path: str, role: str, p: Array, max_logits: Any) -> Array:
        """What multiplies the weight, in a shape that broadcasts to it."""
        largest = _logits_of(path, max_logits)
        bound, axis = hyperparameter(threshold).astype(largest.dtype), head_axis % max(p.ndim, 1)
        heads, stacked = largest.shape[-1], largest.shape[:-1]
        fits = -p.ndim <= head_axis < p.ndim and p.shape[: len(stacked)] == stacked and len(stacked) <= axis
        if not fits or p.shape[axis] % heads:
            checks.fail(
                f"{path!r} of shape {p.shape} does not fit max_logits of {largest.shape} along axis {head_axis}"
            )
        over = jnp.isfinite(largest) & (largest > bound)
        c = jnp.where(over, bound / jnp.where(over, largest, 1), 1)
        root, features = jnp.sqrt(c), p.shape[axis] // heads
        apart = features == 1 and axis + 1 < p.ndim  # features have an axis of their own
        if role.startswith("mla"):
            size = p.shape[axis + 1] if apart else features
            rest = c if role == "mla_query" else jnp.ones_like(c)
            first = np.arange(size) < split
            by_feature = jnp.where(first, root[..., None], rest[..., None])
        else:
            size = 1 if apart else features
            by_feature = jnp.broadcast_to((c if role == "rotary_query" else root)[..., None], (*c.shape, size))
        shape = [*stacked, *[1] * (p.ndim - len(stacked))]
        if apart:
            shape[axis : axis + 2] = [heads, size]
        else:
            shape[axis] = heads * size
        return by_feature.reshape(shape).astype(real_dtype(p.dtype))

    def update(updates: Any, state: Any, params: Any = None, *, max_logits: Any = None, **extra_args: Any) -> Any:
        del extra_args
        if params is None:
            checks.fail("update needs the parameters: call update(updates, state, params)")
        if max_logits is None:
            checks.fail("update needs max_logits: call update(updates, state, params, max_logits=...)", TypeError)
        us, structure = tree.match(updates, params, "updates", "params"), tree.structure(params)
        ps = tree.flatten(params)[0]
        check_updates(us, ps, params)
        names = tree.names(params)
        if names and not any(map(role_of, names)):
            checks.fail(f"no parameter fits a pattern of queries or keys; there are {', '.join(map(repr, names[:6]))}")

        def clipped(path: str, u: Any, p: Any) -> Any:
            role = role_of(path)
            if tree.absent(u) or role is None:
                return u
            wide, p = tree.widen(tree.as_array(u)), tree.widen(tree.as_array(p)).astype(tree.widen(u).dtype)
            c = factor(path, role, p, max_logits).astype(real_dtype(wide.dtype))
            # c (p + u) - p without the difference of two numbers as large as p.
            return c * wide + (c - 1) * p

        new = structure.unflatten(list(map(clipped, names, us, ps)))
        return tree.cast_like(new, structure.unflatten(us)), state

    return GradientTransformationExtraArgs(init_empty_state, update).declaring(
        grain="leafwise", state_classes=(EmptyState,)
    )

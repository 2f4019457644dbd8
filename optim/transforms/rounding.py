"""Parameters of 16 bits that move by less than their rounding: last members of a chain."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from .. import checks, numerics, tree
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.codecs import rounded, salted, ulp
from ..lift.rules import check_updates
from ..types import Array, Count, Params, Updates

_EXACT = {
    "golden": "it rounds, in 16 bits only; tests/units/test_rounding.py has its formula",
    "errors": "it looks at updates beside parameters only",
    "dtypes": "its updates are float32, the exact differences of parameters; see tests/units/test_rounding.py",
    "purity": "it asks for the parameters, and leaves those of 32 bits alone",
    "packed": "its updates must not be cast, as packing does",
}
_NARROW = ("bfloat16", "float16")


class RoundStochasticallyState(NamedTuple):
    count: Count


class KeepResidualState(NamedTuple):
    residual: Updates


class KeepMasterState(NamedTuple):
    master: Params


@register(example(), exceptions=_EXACT)
def round_stochastically() -> GradientTransformationExtraArgs:
    """Round p + u to the parameter's dtype without bias, so that small updates move bfloat16 parameters on average.

        u <- round(p + u) - p,  up with the probability (p + u - low) / (high - low) of the neighbours low and high

    The last member of a chain, after weight decay, which is in the same rounding. The random numbers are a hash of
    step, leaf and element: the same on any number of devices. Parameters of 32 bits and more are left alone.

    State:   RoundStochasticallyState(count): none for a parameter.
    When:    bfloat16 parameters without a float32 copy, in the least memory.
    """

    def leaf(p: Array, theta: Array, u: Array, old: Any, salt: Array) -> tuple[Array, Any]:
        del theta, old
        return rounded(numerics.convert(p, jnp.float32) + u, p.dtype, salt), None

    def init(params: Params) -> RoundStochasticallyState:
        del params
        return RoundStochasticallyState(numerics.zero_count())

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        count = numerics.safe_increment(state.count)
        us, _ = _moved(updates, params, None, leaf, count)
        return us, RoundStochasticallyState(count)

    # The random numbers depend on an element's place in its leaf.
    return _exact(init, update, RoundStochasticallyState).declaring(grain="leafwise")


@register(
    example(),
    example("kahan"),
    exceptions=_EXACT,
    errors=[(example("int4"), "precision must be 'int8', 'int16' or 'kahan', got 'int4'")],
)
def keep_residual(precision: str = "int8") -> GradientTransformationExtraArgs:
    """Keep what rounding to the parameter's dtype loses, and add it to the next update: float32 training in effect.

        theta = p + r half_ulp(p) / 127;  p' = round(theta + u);  r <- round(127 (theta + u - p') / half_ulp(p'))
        kahan:  y = u + r;  p' = round(p + y);  r <- y - (p' - p), in the parameter's dtype

    The last member of a chain, after weight decay, which is in the same rounding. Parameters of 32 bits and more are
    left alone.

    Args:
      precision: "int8" (1 byte for a parameter, 16 bits of mantissa in all), "int16" (2 bytes, 24 bits), or "kahan"
        (2 bytes, the compensated sum).
    State:   KeepResidualState(residual), shaped like params: 1 or 2 bytes for a bfloat16 parameter.
    Source:  Ortiz et al. 2026 (FlashOptim); Kahan 1965.
    When:    bfloat16 parameters that should train as float32 ones do.
    """
    checks.choice("precision", precision, ("int8", "int16", "kahan"))
    levels = {"int8": 127, "int16": 32767}.get(precision, 0)
    kind = {"int8": jnp.int8, "int16": jnp.int16}.get(precision)

    def leaf(p: Array, theta: Array, u: Array, old: Array, salt: Any) -> tuple[Array, Any]:
        del salt
        if kind is None:
            y = u + numerics.convert(old, jnp.float32)
            new = numerics.convert(_applied(p, y), jnp.float32)
            lost = y - (new - theta)
            return numerics.convert(new, p.dtype), numerics.convert(lost, p.dtype)
        theta = theta + numerics.convert(old, jnp.float32) / levels * (ulp(theta, p.dtype) / 2)
        wanted = theta + u
        new = _applied(
            p, numerics.convert(numerics.convert(wanted, p.dtype), jnp.float32) - numerics.convert(p, jnp.float32)
        )
        wide = numerics.convert(new, jnp.float32)
        share = jnp.clip((wanted - wide) / (ulp(wide, p.dtype) / 2), -1, 1)
        # A parameter that is not finite has no residual.
        share = jnp.where(jnp.isfinite(share), share, jnp.zeros_like(share))
        return new, lax.convert_element_type(jnp.round(share * levels), kind)

    def fresh(p: Array) -> Array:
        return numerics.full_like(p, 0, p.dtype if kind is None else kind)

    def init(params: Params) -> KeepResidualState:
        return KeepResidualState(tree.map(lambda p: fresh(p) if _is_narrow(p) else None, params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        us, residual = _moved(updates, params, state.residual, leaf, None)
        return us, KeepResidualState(residual)

    return _exact(init, update, KeepResidualState, "residual")


@register(example(), exceptions=_EXACT)
def keep_master() -> GradientTransformationExtraArgs:
    """Keep a float32 copy of the parameters, to which updates are added, and round it for the parameters themselves.

        theta <- theta + u;  u <- round(theta) - p

    The last member of a chain. Parameters of 32 bits and more are left alone. A parameter that is changed by other code
    is set back at the next update.

    State:   KeepMasterState(master), shaped like params: 4 bytes for a bfloat16 parameter.
    When:    comparison: `keep_residual` does the same in 1 byte.
    """

    def leaf(p: Array, theta: Array, u: Array, old: Array, salt: Any) -> tuple[Array, Any]:
        del theta, salt
        wanted = old + u
        return numerics.convert(wanted, p.dtype), wanted

    def init(params: Params) -> KeepMasterState:
        def copy(p: Any) -> Any:
            p = tree.as_array(p)
            return numerics.copied(numerics.widened(p), p, jnp.float32) if _is_narrow(p) else None

        return KeepMasterState(tree.map(copy, params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        us, master = _moved(updates, params, state.master, leaf, None)
        return us, KeepMasterState(master)

    return _exact(init, update, KeepMasterState, "master")


def _is_narrow(p: Any) -> bool:
    return tree.trainable(p) and jnp.result_type(p).name in _NARROW


def _applied(p: Array, u: Array) -> Array:
    """What `apply_updates` makes of p and u."""
    return numerics.convert(numerics.convert(p, jnp.float32) + u, p.dtype)


def _moved(updates: Any, params: Any, kept: Any, leaf: Callable[..., Any], count: Any) -> tuple[Any, Any]:
    """The updates that move narrow parameters to what `leaf` returns, and what it keeps of each."""
    if params is None:
        checks.fail("update needs the parameters: call update(updates, state, params)")
    us, ps = tree.match(updates, params, "updates", "params"), tree.flatten(params)[0]
    check_updates([u if tree.absent(u) else tree.as_array(u) for u in us], ps, params)
    olds = [None] * len(ps) if kept is None else tree.match(kept, params, "state", "params")
    out: list[Any] = []
    new: list[Any] = []
    for i, (u, p, old) in enumerate(zip(us, ps, olds, strict=True)):
        if tree.absent(u) or not _is_narrow(p):
            out.append(u if tree.absent(u) else tree.widen(u))
            new.append(old)
            continue
        wide, p = numerics.convert(tree.as_array(u), jnp.float32), tree.as_array(p)
        theta = numerics.convert(p, jnp.float32)
        moved, keep = leaf(p, theta, wide, old, None if count is None else salted(count, i))
        out.append(numerics.convert(moved, jnp.float32) - theta)
        new.append(keep)
    structure = tree.structure(params)
    return structure.unflatten(out), structure.unflatten(new)


def _exact(init: Any, update: Any, state_class: Any, *slots: str) -> GradientTransformationExtraArgs:
    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="elementwise", state_classes=(state_class,), slots=slots, exact=True)

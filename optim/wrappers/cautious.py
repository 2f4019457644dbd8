"""Updates whose signs agree with the gradient's: Cautious optimizers and Grams."""

import jax.numpy as jnp

from .. import checks
from ..core.record import Call
from ..core.registry import example, lookup, register
from ..core.transformation import GradientTransformation, GradientTransformationExtraArgs, taking_extra_args
from ..lift.wrap import wrap
from ..numerics import as_complex, as_pairs, is_complex, real_dtype, scaled
from ..optimizers.adam import adam, scale_by_adam
from ..optimizers.sgd import sgd
from ..types import Array, TransformationLike


def _turns(tx: GradientTransformation) -> int:
    """How often the members of `tx` change the sign of updates."""
    call = tx.call
    if call is not None and call.name == "scale_by_learning_rate":
        arguments = call.arguments
        return int(arguments.get("learning_rate") is not None and arguments.get("flip_sign", True))
    if call is not None and call.name == "scale":
        step_size = call.arguments["step_size"]
        return int(checks.is_number(step_size) and step_size < 0)
    if call is not None and call.name == "scale_by_schedule":
        checks.fail("the sign of a schedule in inner is unknown: pass ascending=False if inner changes the sign")
    turns = [_turns(member) for member in tx.members]
    number = sum(turns) if tx.facts.sequential else max(turns, default=0)
    return max(number, 1) if _is_optimizer(call) else number


def _is_optimizer(call: Call | None) -> bool:
    """Whether a registered optimizer was called, with or without a learning rate, and not a direction."""
    if call is None or not isinstance(call.name, str) or call.name.startswith("scale_by_"):
        return False
    entry = lookup(call.name)
    return entry.kind == "transformation" and entry.factory.__module__.split(".")[1] in ("optimizers", "keras")


def _ascends(inner: GradientTransformation, ascending: bool | None) -> bool:
    """Whether updates of `inner` have the gradient's sign. A pair that no factory made descends."""
    if not isinstance(ascending, bool | None):
        checks.fail(f"ascending must be True, False or None, got {checks.shown(ascending)}", TypeError)
    if ascending is not None:
        return ascending
    known = inner.call is not None or inner.facts.rule is not None or bool(inner.members)
    return known and _turns(inner) % 2 == 0


_ERRORS = [(example(1), "inner must be a transformation (init, update), got 1")]


@register(
    example(sgd(0.1, momentum=0.9)),
    example(scale_by_adam()),
    errors=_ERRORS,
    exceptions={"independent": "packages divide by the mean of the mask, where the paper has the sum and 1"},
)
def cautious(inner: TransformationLike, *, ascending: bool | None = None) -> GradientTransformationExtraArgs:
    """Drop the elements of an update that the gradient disagrees with, and scale up the rest.

        m  = 1 where u and g move a parameter in the same direction, 0 elsewhere
        u <- u m d / (sum(m) + 1)              d: the number of elements of the leaf

    Weight decay belongs outside: chain(cautious(scale_by_adam()), add_decayed_weights(0.1), scale_by_learning_rate(r)).

    Args:
      inner: a transformation, with or without its learning rate.
      ascending: whether updates of `inner` point along the gradient, as those of `scale_by_adam` do; None finds out
        whether `inner` has the minus sign of a learning rate. A bare pair of functions counts as descending.
    State:   that of `inner`.
    Source:  Liang et al. 2024, Cautious Optimizers, Alg. 1.
    When:    around optimizers with momentum; the learning rate stays as it was.
    """
    member = taking_extra_args(inner, "inner")
    side = 1.0 if _ascends(member, ascending) else -1.0

    def rule(u: Array, g: Array) -> Array:
        if is_complex(u):
            return as_complex(rule(as_pairs(u), as_pairs(g)))
        # Not u g, which may be rounded to 0.
        mask = (side * jnp.sign(u) * jnp.sign(g) > 0).astype(u.dtype)
        share = u.size / (jnp.sum(mask) + 1)
        return scaled(u * mask, share.astype(real_dtype(u.dtype)))

    return wrap(member, rule, grain="leafwise")


@register(example(scale_by_adam()), example(adam(0.1)), errors=_ERRORS)
def grams(inner: TransformationLike, *, ascending: bool | None = None) -> GradientTransformationExtraArgs:
    """Take the magnitude of an update from `inner` and its direction from the gradient.

        u <- -sign(g) |u|,  or sign(g) |u| where `inner` has no minus sign yet

    Args:
      inner: a transformation, with or without its learning rate.
      ascending: as in `cautious`.
    State:   that of `inner`.
    Source:  Cao et al. 2024, Grams, Alg. 1.
    When:    around Adam; the learning rate stays as it was.
    """
    member = taking_extra_args(inner, "inner")
    side = 1.0 if _ascends(member, ascending) else -1.0
    return wrap(member, lambda u, g: side * jnp.sign(g) * jnp.abs(u))

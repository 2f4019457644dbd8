"""Complex parameters as pairs of real ones."""

from typing import Any, NamedTuple

import jax

from .. import checks, tree
from ..core.inspection import eval_params
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..numerics import is_complex
from ..transforms.momentum import ema
from ..types import Array, Params, TransformationLike, Tree


class SplitRealAndImaginaryArrays(NamedTuple):
    """A complex array as two real ones."""

    real: Array
    imaginary: Array


class SplitRealAndImaginaryState(NamedTuple):
    inner_state: Any


@register(
    example(ema(0.9)),
    exceptions={
        "golden": "it only chooses what its inner transformation sees",
        "init": "it splits complex parameters",
    },
    errors=[(example(1), "inner must be a transformation (init, update), got 1")],
)
def split_real_and_imaginary(inner: TransformationLike) -> GradientTransformationExtraArgs:
    """Present every complex leaf to `inner` as two real ones, its real and its imaginary part.

    The elementwise and treewise rules of this library do this themselves. Use it for transformations from elsewhere,
    and for rules that depend on a whole leaf.

    Args:
      inner: a transformation.
    State:   SplitRealAndImaginaryState(inner_state): inner_state is that of `inner` for the parts.
    """
    member = taking_extra_args(inner, "inner")

    def init(params: Params) -> SplitRealAndImaginaryState:
        return SplitRealAndImaginaryState(member.init(_split(params)))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        if params is None:
            template, parts = updates, _split(updates)
        else:
            template, leaves = params, tree.match(updates, params, "updates", "params")
            pairs = [_halves(g, p) for g, p in zip(leaves, tree.flatten(params)[0], strict=True)]
            parts = tree.structure(params).unflatten(pairs)
        halves = None if params is None else _split(params)
        new, inner_state = member.update(parts, state.inner_state, halves, **extra_args)
        return _merge(new, template), SplitRealAndImaginaryState(inner_state)

    def evaluates(state: Any, params: Any) -> Any:
        parts = _split(params)
        other = eval_params(member, state.inner_state, parts)
        return params if other is parts else _merge(other, params)

    return around(
        member,
        init,
        update,
        inner=lambda state: state.inner_state,
        sees=lambda params: jax.eval_shape(_split, params),
        state_classes=(SplitRealAndImaginaryState,),
        evaluates=evaluates,
    )


def _split(params: Tree) -> Tree:
    leaves, structure = tree.flatten(params)
    return structure.unflatten([_halves(x, x) for x in leaves])


def _halves(g: Any, p: Any) -> Any:
    """The real and imaginary parts of `g`, the gradient of `p`; `g` itself if `p` is real."""
    if tree.absent(p) or not is_complex(p):
        return g
    if tree.absent(g):
        return SplitRealAndImaginaryArrays(None, None)  # type: ignore[arg-type]
    if not is_complex(g):
        checks.fail(f"updates have a leaf of dtype {tree.as_array(g).dtype} whose parameter is complex")
    return SplitRealAndImaginaryArrays(tree.as_array(g).real, tree.as_array(g).imag)


def _merge(parts: Tree, template: Tree) -> Tree:
    """Inverse of `_split`: complex leaves where `template` has them."""
    structure = tree.structure(template)
    leaves = [
        x if not isinstance(x, SplitRealAndImaginaryArrays) else None if x.real is None else jax.lax.complex(*x)
        for x in structure.flatten_up_to(parts)
    ]
    return structure.unflatten(leaves)

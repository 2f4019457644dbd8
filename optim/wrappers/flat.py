"""All parameters as one vector."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import numerics, tree
from ..core.inspection import eval_params
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.rules import check_updates
from ..transforms.momentum import ema
from ..tree.packing import joined, size, split
from ..tree.params import of_arrays
from ..types import Array, Params, TransformationLike


@register(
    example(ema(0.9)),
    exceptions={
        "golden": "it only chooses what its inner transformation sees",
        "init": "it concatenates the parameters",
        "communication": "it concatenates the shards of the parameters",
    },
    errors=[(example(1), "inner must be a transformation (init, update), got 1")],
)
def flatten(inner: TransformationLike) -> GradientTransformationExtraArgs:
    """Apply `inner` to one vector, the concatenation of all leaves.

    With many small parameters this replaces many operations by one. A rule that sees a whole leaf, for instance its
    norm, then sees the whole vector. The vector has the widest dtype of the leaves; a complex element becomes two real
    ones.

    Args:
      inner: a transformation.
    State:   that of `inner` for the vector.
    Differs: Optax's vector is complex if a leaf is.
    When:    elementwise rules on thousands of small parameters; `packed` does the same and leaves large leaves as they
             are.
    """
    member = taking_extra_args(inner, "inner")

    def vector(params: Params) -> Array:
        whole: Array = of_arrays(joined, [p for p in tree.flatten(params)[0] if tree.trainable(p)])
        return whole

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        template = updates if params is None else params
        gs, ps = tree.match(updates, template, "updates", "params"), tree.flatten(template)[0]
        check_updates(gs, ps, template)
        indices = [i for i, p in enumerate(ps) if tree.trainable(p)]
        has_grad = [not tree.absent(gs[i]) for i in indices]
        flat: Any = None
        if any(has_grad) or not indices:
            filled = [gs[i] if given else tree.zeros_like(ps[i]) for i, given in zip(indices, has_grad, strict=True)]
            flat = joined(filled)
        flat, new = member.update(flat, state, None if params is None else vector(params), **extra_args)
        if not all(has_grad):
            new = _without_missing(new, state, np.repeat(has_grad, [size(ps[i]) for i in indices]))
        if flat is not None:
            for i, given, piece in zip(indices, has_grad, split(flat, [ps[i] for i in indices]), strict=True):
                if given:
                    gs[i] = numerics.restored(piece, tree.as_array(gs[i]))
        return tree.structure(template).unflatten(gs), new

    def evaluates(state: Any, params: Any) -> Any:
        flat = vector(params)
        evaluation = eval_params(member, state, flat)
        if evaluation is flat:
            return params
        leaves, structure = tree.flatten(params)
        pieces = iter(split(evaluation, list(filter(tree.trainable, leaves))))
        return structure.unflatten(
            [numerics.restored(next(pieces), tree.as_array(p)) if tree.trainable(p) else p for p in leaves]
        )

    # The slots do not correspond to leaves, so an outer wrapper must not split the update by leaf.
    grain = member.grain and "treewise"
    return around(
        member,
        lambda params: member.init(vector(params)),
        update,
        inner=lambda state: state,
        sees=lambda params: jax.eval_shape(vector, params),
        grain=grain,
        evaluates=evaluates,
    )


def _without_missing(new: Any, old: Any, has_grad: Any) -> Any:
    """The new state, but the old elements of vector-shaped arrays where there was no gradient."""
    return jax.tree.map(lambda x, y: jnp.where(has_grad, x, y) if jnp.shape(x) == has_grad.shape else x, new, old)

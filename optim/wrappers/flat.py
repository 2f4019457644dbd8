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
from ..types import Array, Params, TransformationLike


@register(example(ema(0.9)), errors=[(example(1), "inner must be a transformation (init, update), got 1")])
def flatten(inner: TransformationLike) -> GradientTransformationExtraArgs:
    """Apply `inner` to one vector that holds all leaves, end to end.

    Where there are many small parameters that is one operation in place of many. What a rule says of a leaf, a norm
    of it for instance, it then says of all. The vector has the widest dtype of the leaves; a complex element is in it
    as two real ones.

    Args:    inner: a transformation.
    State:   that of `inner` for the vector.
    Differs: Optax' vector is complex if a leaf is.
    """
    member = taking_extra_args(inner, "inner")

    def vector(params: Params) -> Array:
        return joined([p for p in tree.flatten(params)[0] if tree.trainable(p)])

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        home = updates if params is None else params
        gs, ps = tree.match(updates, home, "updates", "params"), tree.flatten(home)[0]
        check_updates(gs, ps, home)
        places = [i for i, p in enumerate(ps) if tree.trainable(p)]
        here = [not tree.absent(gs[i]) for i in places]
        flat: Any = None
        if any(here) or not places:
            filled = [gs[i] if there else tree.zeros_like(ps[i]) for i, there in zip(places, here, strict=True)]
            flat = joined(filled)
        flat, new = member.update(flat, state, None if params is None else vector(params), **extra_args)
        if not all(here):
            new = _kept(new, state, np.repeat(here, [size(ps[i]) for i in places]))
        if flat is not None:
            for i, there, piece in zip(places, here, split(flat, [ps[i] for i in places]), strict=True):
                if there:
                    gs[i] = numerics.restored(piece, tree.as_array(gs[i]))
        return tree.structure(home).unflatten(gs), new

    def evaluates(state: Any, params: Any) -> Any:
        flat = vector(params)
        other = eval_params(member, state, flat)
        if other is flat:
            return params
        leaves, structure = tree.flatten(params)
        pieces = iter(split(other, list(filter(tree.trainable, leaves))))
        return structure.unflatten(
            [numerics.restored(next(pieces), tree.as_array(p)) if tree.trainable(p) else p for p in leaves]
        )

    # Its slots are no leaf's, so nobody may work leaf by leaf; the order of all elements is all that counts.
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


def _kept(new: Any, old: Any, here: Any) -> Any:
    """The new state, but in what has the vector's shape the old one, wherever a gradient was nothing."""
    return jax.tree.map(lambda x, y: jnp.where(here, x, y) if jnp.shape(x) == here.shape else x, new, old)

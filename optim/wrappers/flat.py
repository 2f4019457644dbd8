"""All parameters as one vector."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from .. import checks, numerics, tree
from ..base import GradientTransformationExtraArgs, taking_extra_args
from ..compose import around
from ..inspection import eval_params
from ..registry import example, register
from ..rules import check_leaf
from ..slots import as_complex, as_pairs, is_complex
from ..transforms.momentum import ema
from ..types import Array, Params, Tree

_reshard: Any = jax.sharding.reshard  # untyped in jax, as the next is
_whole: Any = PartitionSpec


@register(example(ema(0.9)), errors=[(example(1), "inner must be a transformation (init, update), got 1")])
def flatten(inner: Any) -> GradientTransformationExtraArgs:
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
        return _vector([p for p in tree.flatten(params)[0] if _counts(p)])

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        home = updates if params is None else params
        gs, ps = tree.match(updates, home, "updates", "params"), tree.flatten(home)[0]
        _check(gs, ps, home)
        places = [i for i, p in enumerate(ps) if _counts(p)]
        here = [not tree.absent(gs[i]) for i in places]
        flat: Any = None
        if any(here) or not places:
            filled = [gs[i] if there else tree.zeros_like(ps[i]) for i, there in zip(places, here, strict=True)]
            flat = _vector(filled)
        flat, new = member.update(flat, state, None if params is None else vector(params), **extra_args)
        if not all(here):
            new = _kept(new, state, np.repeat(here, [_size(ps[i]) for i in places]))
        if flat is not None:
            for i, there, piece in zip(places, here, _pieces(flat, [ps[i] for i in places]), strict=True):
                if there:
                    gs[i] = _like(piece, tree.as_array(gs[i]))
        return tree.structure(home).unflatten(gs), new

    def evaluates(state: Any, params: Any) -> Any:
        flat = vector(params)
        other = eval_params(member, state, flat)
        leaves, structure = tree.flatten(params)
        pieces = iter([] if other is flat else _pieces(other, list(filter(_counts, leaves))))
        return structure.unflatten([_like(next(pieces, p), tree.as_array(p)) if _counts(p) else p for p in leaves])

    # Its slots are no leaf's, so nobody may work leaf by leaf; the order of all elements is all that counts.
    grain = member.grain and "treewise"
    seen = {"inner": lambda state: state, "seen": lambda params: jax.eval_shape(vector, params)}
    return around(member, lambda params: member.init(vector(params)), update, **seen, grain=grain, evaluates=evaluates)


def _counts(p: Any) -> bool:
    """Whether a parameter is in the vector: integers are carried along."""
    return not tree.absent(p) and jnp.issubdtype(jnp.result_type(p), jnp.inexact)


def _check(gs: list[Any], ps: list[Any], home: Tree) -> None:
    for i, (g, p) in enumerate(zip(gs, ps, strict=True)):
        if tree.absent(g):
            continue
        if not _counts(g):
            where, dtype = tree.paths(home)[i], jnp.result_type(g)
            checks.fail(f"updates{where} has dtype {dtype}, expected a floating or complex one")
        check_leaf(g, "params", p, home, i)


def _size(p: Any) -> int:
    """How many real numbers a leaf holds."""
    return math.prod(jnp.shape(p)) * (2 if is_complex(p) else 1)


def _vector(leaves: list[Any]) -> Array:
    arrays = [_gathered(tree.as_array(x)) for x in leaves]
    arrays = [as_pairs(x) if is_complex(x) else x for x in arrays]
    dtype = numerics.common_dtype(*(x.dtype for x in arrays)) if arrays else jnp.dtype(jnp.float32)
    return jnp.concatenate([jnp.zeros(0, dtype)] + [numerics.convert(x.ravel(), dtype) for x in arrays])


def _axes(x: Array) -> Any:
    """The sharding that is a part of the type of `x`, under an Explicit mesh; else None."""
    sharding = jax.typeof(x).sharding
    return sharding if any(axis is not None for axis in sharding.spec) else None


def _gathered(x: Array) -> Array:
    """`x` whole on every device: leaves that are cut differently do not fit end to end."""
    sharding = _axes(x)
    return x if sharding is None else _reshard(x, NamedSharding(sharding.mesh, _whole()))


def _like(piece: Array, leaf: Array) -> Array:
    """A piece of the vector in the dtype and the sharding of its leaf."""
    piece = numerics.convert(piece, leaf.dtype, weak=leaf.weak_type)
    return piece if _axes(leaf) is None else _reshard(piece, _axes(leaf))


def _pieces(vector: Array, likes: list[Any]) -> list[Array]:
    """The vector cut into leaves shaped like these."""
    found, start = [], 0
    for like in likes:
        shape = jnp.shape(like)
        piece = jax.lax.slice_in_dim(vector, start, start + _size(like))
        found.append(as_complex(piece.reshape(*shape, 2)) if is_complex(like) else piece.reshape(shape))
        start += _size(like)
    return found


def _kept(new: Any, old: Any, here: Any) -> Any:
    """The new state, but in what has the vector's shape the old one, wherever a gradient was nothing."""
    return jax.tree.map(lambda x, y: jnp.where(here, x, y) if jnp.shape(x) == here.shape else x, new, old)

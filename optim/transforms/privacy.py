"""Differential privacy: clipping each example's gradient, and noise on their sum."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..numerics import convert, hyperparameter, root, square, wide_dtype
from ..types import Array, Params, Scalar, Tree, Updates
from .noise import as_key


class DifferentiallyPrivateAggregateState(NamedTuple):
    rng_key: Array


def _examples(grads: Tree) -> int:
    """How many examples there are along the first axis of every leaf."""
    sizes = {path: g.shape[0] if jnp.ndim(g) else None for path, g in _named(grads)}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        told = ", ".join(f"grads{path} has {n}" for path, n in sizes.items())
        checks.fail(f"every leaf needs the same number of examples along its first axis; {told}")
    return next(iter(sizes.values()), 1) or 1


def _named(grads: Tree) -> list[tuple[str, Array]]:
    pairs = zip(tree.paths(grads), tree.flatten(grads)[0], strict=True)
    return [(path, g) for path, g in pairs if not tree.absent(g)]


def _wide(g: Any) -> Array:
    g = tree.as_array(g)
    return convert(g, wide_dtype(g.dtype))


def _squares(g: Any) -> Array:
    """|g|^2 of each example."""
    g = _wide(g)
    return jnp.sum(square(g).reshape(g.shape[0], -1), axis=1)


def _shortened(norms: Array, most: Any) -> Array:
    """What each example is multiplied by, so that its norm is at most `most`."""
    most = jnp.asarray(hyperparameter(most), norms.dtype)
    return jnp.where(norms > most, most / jnp.where(norms > most, norms, 1), 1)


def _summed(g: Any, factors: Array) -> Array:
    g = _wide(g)
    return jnp.tensordot(convert(factors, g.dtype), g, axes=1)


@checks.entrance("per_example_global_norm_clip")
def per_example_global_norm_clip(grads: Tree, l2_norm_clip: Scalar) -> tuple[Tree, Array]:
    """Clip each example's gradient by its norm over the whole tree, and sum over examples.

        sum over i of g_i min(1, l2_norm_clip / |g_i|)

    Args:    grads: a tree whose leaves have the examples along their first axis; l2_norm_clip >= 0.
    Returns: the sums, and how many examples were clipped.
    Raises:  ValueError where leaves do not have the same number of examples.
    Source:  Abadi et al. 2016, Alg. 1.
    """
    n = _examples(grads)
    parts = [_squares(g) for _, g in _named(grads)]
    norms = root(sum(parts[1:], start=parts[0])) if parts else jnp.zeros(n)
    factors = _shortened(norms, l2_norm_clip)
    return tree.map(lambda g: _summed(g, factors), grads), jnp.sum(norms > hyperparameter(l2_norm_clip))


@checks.entrance("per_example_layer_norm_clip")
def per_example_layer_norm_clip(grads: Tree, global_l2_norm_clip: Scalar, uniform: bool = True) -> tuple[Tree, Tree]:
    """Clip each example's gradient leaf by leaf, and sum over examples.

    With C = global_l2_norm_clip, of K leaves each gets C / sqrt(K); without uniform C sqrt(D_i / D), the share of the
    parameters that are in it.

    Args:    grads: a tree whose leaves have the examples along their first axis; global_l2_norm_clip >= 0; uniform.
    Returns: the sums, and for each leaf how many examples were clipped.
    Raises:  ValueError where leaves do not have the same number of examples.
    Source:  McMahan et al. 2018, Sec. 3.
    """
    n = _examples(grads)
    leaves, structure = tree.flatten(grads)
    there = [g for g in leaves if not tree.absent(g)]
    whole = sum(g.size // n for g in there)

    def clipped(g: Any) -> tuple[Any, Any]:
        if tree.absent(g):
            return g, g
        share = 1 / len(there) if uniform else g.size // n / max(whole, 1)
        norms, most = root(_squares(g)), hyperparameter(global_l2_norm_clip) * math.sqrt(share)
        return _summed(g, _shortened(norms, most)), jnp.sum(norms > most)

    sums, counts = zip(*map(clipped, leaves), strict=True) if leaves else ((), ())
    return structure.unflatten(sums), structure.unflatten(counts)


@register(
    example(1.0, 0.5, seed=1),
    kind="factory",
    ranges={"l2_norm_clip": checks.POSITIVE, "noise_multiplier": checks.NON_NEGATIVE},
    errors=[(example(1.0, 0.5, 1, seed=1), "give key or seed, not both")],
)
def differentially_private_aggregate(
    l2_norm_clip: Scalar, noise_multiplier: Scalar, key: Any = None, *, seed: int | None = None
) -> GradientTransformationExtraArgs:
    """Make one private gradient of many: clip each example's, sum them, add noise, divide by how many there are.

        u = (sum over i of g_i min(1, C / |g_i|) + noise_multiplier C xi) / n,  xi standard normal

    Updates come with the examples along the first axis of every leaf, as `vmap` of `grad` gives them, and leave
    without it: it is the first member of a chain.

    Args:    l2_norm_clip > 0 (C); noise_multiplier >= 0; key: a PRNG key or an int (0 by default); seed: an int.
    State:   rng_key.
    Raises:  ValueError where leaves do not have the same number of examples, or not their parameter's shape behind.
    Source:  Abadi et al. 2016, Alg. 1.
    """
    start = as_key(key, seed)

    def init(params: Params) -> DifferentiallyPrivateAggregateState:
        del params
        return DifferentiallyPrivateAggregateState(jnp.copy(start))

    def update(updates: Updates, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        n = _examples(updates)
        if params is not None:
            _check_shapes(updates, params)
        sums, _ = per_example_global_norm_clip(updates, l2_norm_clip)
        leaves, structure = tree.flatten(sums)
        kept, *keys = jax.random.split(state.rng_key, len(leaves) + 1)
        deviation = hyperparameter(l2_norm_clip) * hyperparameter(noise_multiplier)

        def noisy(total: Any, key: Array, g: Any) -> Any:
            if tree.absent(total):
                return total
            noise = jax.random.normal(key, total.shape, total.dtype)
            dtype = tree.as_array(g).dtype
            return convert((total + deviation.astype(noise.dtype) * noise) / n, dtype)

        places = tree.match(updates, sums, "updates", "their sums")
        us = [noisy(s, k, g) for s, k, g in zip(leaves, keys, places, strict=True)]
        return structure.unflatten(us), DifferentiallyPrivateAggregateState(kept)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(DifferentiallyPrivateAggregateState,))


def _check_shapes(updates: Updates, params: Params) -> None:
    gs = tree.match(updates, params, "updates", "params")
    for path, g, p in zip(tree.paths(params), gs, tree.flatten(params)[0], strict=True):
        if not tree.absent(g) and jnp.shape(g)[1:] != jnp.shape(p):
            checks.fail(
                f"updates{path} has shape {jnp.shape(g)}, expected (examples, *{jnp.shape(p)}): "
                "a gradient for each example, as vmap of grad gives them"
            )

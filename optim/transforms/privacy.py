"""Differential privacy: clip each example's gradient, add noise to their sum."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..numerics import convert, hyperparameter, joint_norm, wide_dtype
from ..types import Array, Params, Scalar, Tree, Updates
from .noise import as_key


class DifferentiallyPrivateAggregateState(NamedTuple):
    rng_key: Array


def _examples(grads: Tree) -> int:
    """The number of examples, the same along the first axis of every leaf."""
    sizes = {path: g.shape[0] if jnp.ndim(g) else None for path, g in _named_leaves(grads)}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        listed = ", ".join(f"grads{path} has {n}" for path, n in sizes.items())
        checks.fail(f"every leaf needs the same number of examples along its first axis; {listed}")
    return next(iter(sizes.values()), 1) or 1


def _named_leaves(grads: Tree) -> list[tuple[str, Array]]:
    pairs = zip(tree.paths(grads), tree.flatten(grads)[0], strict=True)
    return [(path, g) for path, g in pairs if not tree.absent(g)]


def _wide(g: Any) -> Array:
    g = tree.as_array(g)
    return convert(g, wide_dtype(g.dtype))


def _norms(gs: list[Any]) -> Array:
    """The norm of each example's gradient."""
    norms: Array = jax.vmap(joint_norm)([_wide(g) for g in gs])
    return norms


def _clip_factors(norms: Array, most: Any) -> Array:
    """The factor of each example's gradient that brings its norm down to at most `most`."""
    most = jnp.asarray(hyperparameter(most), norms.dtype)
    return jnp.where(norms > most, most / jnp.where(norms > most, norms, 1), 1)


def _weighted_sum(g: Any, factors: Array) -> Array:
    g = _wide(g)
    return jnp.tensordot(convert(factors, g.dtype), g, axes=1)


@checks.entrance("per_example_global_norm_clip")
def per_example_global_norm_clip(grads: Tree, l2_norm_clip: Scalar) -> tuple[Tree, Array]:
    """Clip each example's gradient by its norm over the whole tree, and sum over examples.

        sum over i of g_i min(1, l2_norm_clip / |g_i|)

    Args:
      grads: a tree of gradients with the examples along the first axis of every leaf, as `vmap(grad(f))` returns them.
      l2_norm_clip: largest norm of one example's gradient, >= 0, in units of g.
    Returns: the summed gradients, and the number of examples that were clipped.
    Raises:  ValueError if leaves differ in their number of examples.
    Source:  Abadi et al. 2016, Alg. 1.
    """
    n = _examples(grads)
    named = _named_leaves(grads)
    norms = _norms([g for _, g in named]) if named else jnp.zeros(n)
    factors = _clip_factors(norms, l2_norm_clip)
    return tree.map(lambda g: _weighted_sum(g, factors), grads), jnp.sum(norms > hyperparameter(l2_norm_clip))


@checks.entrance("per_example_layer_norm_clip")
def per_example_layer_norm_clip(grads: Tree, global_l2_norm_clip: Scalar, uniform: bool = True) -> tuple[Tree, Tree]:
    """Clip each example's gradient leaf by leaf, and sum over examples.

    With C = global_l2_norm_clip and K leaves, the bound of a leaf is C / sqrt(K); without uniform it is C sqrt(D_i / D)
    for a leaf with D_i of the D parameters.

    Args:
      grads: a tree of gradients with the examples along the first axis of every leaf, as `vmap(grad(f))` returns them.
      global_l2_norm_clip: largest norm of one example's gradient over all leaves, >= 0, in units of g.
      uniform: whether all leaves have the same bound; False makes it grow with the size of the leaf.
    Returns: the summed gradients, and for each leaf the number of examples that were clipped.
    Raises:  ValueError if leaves differ in their number of examples.
    Source:  McMahan et al. 2018, Sec. 3.
    """
    n = _examples(grads)
    leaves, structure = tree.flatten(grads)
    present = [g for g in leaves if not tree.absent(g)]
    whole = sum(g.size // n for g in present)

    def clipped(g: Any) -> tuple[Any, Any]:
        if tree.absent(g):
            return g, g
        share = 1 / len(present) if uniform else g.size // n / max(whole, 1)
        norms, most = _norms([g]), hyperparameter(global_l2_norm_clip) * math.sqrt(share)
        return _weighted_sum(g, _clip_factors(norms, most)), jnp.sum(norms > most)

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
    """Clip each example's gradient, sum them, add noise, and divide by the number of examples.

        u = (sum over i of g_i min(1, C / |g_i|) + noise_multiplier C xi) / n,  xi standard normal

    Use it first in a chain. Its updates are gradients per example, with the examples along the first axis of every
    leaf, as `vmap` of `grad` returns them; its result has no axis of examples.

    Args:
      l2_norm_clip: C, the largest norm of one example's gradient, > 0, in units of g.
      noise_multiplier: standard deviation of the noise in units of C, >= 0. Usually 0.5 to 2.
    State:   rng_key.
    Raises:  ValueError if leaves differ in their number of examples, or a leaf has not the shape (n, *parameter's
             shape).
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
        next_key, *keys = jax.random.split(state.rng_key, len(leaves) + 1)
        deviation = hyperparameter(l2_norm_clip) * hyperparameter(noise_multiplier)

        def noisy(total: Any, key: Array, g: Any) -> Any:
            if tree.absent(total):
                return total
            noise = jax.random.normal(key, total.shape, total.dtype)
            dtype = tree.as_array(g).dtype
            return convert((total + deviation.astype(noise.dtype) * noise) / n, dtype)

        places = tree.match(updates, sums, "updates", "their sums")
        us = [noisy(s, k, g) for s, k, g in zip(leaves, keys, places, strict=True)]
        return structure.unflatten(us), DifferentiallyPrivateAggregateState(next_key)

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(DifferentiallyPrivateAggregateState,))


def _check_shapes(updates: Updates, params: Params) -> None:
    gs = tree.match(updates, params, "updates", "params")
    for path, g, p in zip(tree.paths(params), gs, tree.flatten(params)[0], strict=True):
        if not tree.absent(g) and jnp.shape(g)[1:] != jnp.shape(p):
            checks.fail(
                f"updates{path} has shape {jnp.shape(g)}, expected (examples, *{jnp.shape(p)}): "
                "one gradient per example, as vmap(grad(f)) returns them"
            )

"""Functions smoothed by random perturbations of their argument, so that they have derivatives."""

import typing as _typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import checks, hints, numerics, tree as trees
from .distributions import Gumbel, Noise, Normal
from .types import Array, Scalar, Tree

__all__ = ["Gumbel", "Normal", "make_perturbed_fun"]


@checks.entrance("make_perturbed_fun")
def make_perturbed_fun(
    fun: Callable[[Tree], Tree],
    num_samples: int = 1000,
    sigma: Scalar = 0.1,
    noise: Noise = Gumbel(),  # noqa: B008  immutable
    use_baseline: bool = True,
) -> Callable[[Array, Tree], Tree]:
    """Smooth a function, of which only values are used, into a differentiable one, estimated from samples.

        f_sigma(x) = E f(x + sigma z);   grad f_sigma(x) = E (f(x + sigma z) - f(x)) grad_x log p(x + sigma z)

        smooth = make_perturbed_fun(lambda x: jax.nn.one_hot(jnp.argmax(x), x.size))
        probabilities = smooth(key, x);  jax.jacobian(smooth, argnums=1)(key, x)

    Values and derivatives of every order, in x and in sigma, are unbiased; forward and reverse mode both work. The
    error of a derivative of order k is about |f(x + sigma z) - f(x)| / (sigma^k sqrt(num_samples)).

    Args:
      fun: function from a tree of real arrays to a tree of arrays, evaluated at all samples at once by `jax.vmap`.
      num_samples: number of samples, >= 1.
      sigma: scale of the noise, > 0, in units of x.
      noise: `Gumbel()`, `Normal()`, or an object with sample(key, sample_shape, dtype) and log_prob(z).
      use_baseline: whether derivatives subtract f(x), which reduces their variance.
    Returns: a function (key, x) -> a tree like that of fun; results that are integers or booleans become floating.
    Raises:  ValueError for a number out of range, TypeError naming a leaf of x that is not real and floating.
    Source:  Berthet et al. 2020, Prop. 3.1; Foerster et al. 2018, Eq. 4, for derivatives of every order.
    """
    checks.function("fun", fun)
    checks.argument("num_samples", num_samples, checks.Range(1, integer=True))
    checks.argument("sigma", sigma, checks.POSITIVE)
    for method in ("sample", "log_prob"):
        if not callable(getattr(noise, method, None)):
            checks.fail(f"noise must have the methods sample and log_prob, got {checks.shown(noise)}", TypeError)

    @checks.entrance("make_perturbed_fun")
    def perturbed(key: Array, x: Tree) -> Tree:
        leaves, structure = trees.flatten(x)
        for leaf, path in zip(leaves, trees.paths(x), strict=True):
            if not trees.absent(leaf) and not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                checks.fail(f"x{path} has dtype {jnp.result_type(leaf)}, expected a real, floating one", TypeError)
        places = [i for i, leaf in enumerate(leaves) if not trees.absent(leaf)]
        moved, log_prob = list(leaves), jnp.zeros(num_samples)
        for i, own in zip(places, jax.random.split(key, max(len(places), 1)), strict=False):
            moved[i], change = _moved(jnp.asarray(leaves[i]), own)
            dtype = numerics.common_dtype(log_prob.dtype, change.dtype)
            log_prob = numerics.convert(log_prob, dtype) + numerics.convert(change, dtype)
        # Equal to 1. Its derivatives weight a sample by those of its log density.
        weight = jnp.exp(log_prob - lax.stop_gradient(log_prob))
        values = jax.vmap(fun, axis_size=num_samples)(structure.unflatten(moved))
        if not use_baseline:
            return trees.map(lambda f: _mean(f, weight), values)
        return trees.map(lambda f, base: _mean(f, weight, base), values, fun(lax.stop_gradient(x)))

    def _moved(x: Array, key: Array) -> tuple[Array, Array]:
        """x + sigma z for every sample, as constants, and the log densities, as functions of x and sigma."""
        wide = numerics.wide_dtype(x.dtype)
        z = noise.sample(key, (num_samples, *x.shape), wide)
        x_wide, scale = numerics.convert(x, wide), jnp.asarray(sigma, wide)
        fixed, fixed_scale = lax.stop_gradient((x_wide, scale))
        z_of_x = (fixed_scale * z + (fixed - x_wide)) / scale
        log_prob = noise.log_prob(z_of_x) - jnp.log(scale)
        return numerics.convert(fixed + fixed_scale * z, x.dtype), jnp.sum(log_prob, axis=tuple(range(1, z.ndim)))

    return perturbed


def _mean(values: Any, weight: Array, base: Any = None) -> Array:
    """The mean over samples; the derivatives of `weight` meet the distance from `base`."""
    values = jnp.asarray(values)
    inexact = jnp.issubdtype(values.dtype, jnp.inexact)
    wide = numerics.wide_dtype(values.dtype if inexact else numerics.scalar_dtype())
    weight = numerics.convert(weight, numerics.real_dtype(wide))
    weights = numerics.convert(weight, wide).reshape(-1, *[1] * (values.ndim - 1))
    terms = weights * numerics.convert(values, wide)
    if base is not None:
        constant = lax.stop_gradient(numerics.convert(jnp.asarray(base), wide))
        terms += (1 - weights) * jnp.where(jnp.isfinite(constant), constant, 0)
    mean = jnp.mean(terms, axis=0)
    return numerics.convert(mean, values.dtype) if inexact else mean


if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = hints.surface(__name__)

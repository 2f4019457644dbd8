"""Perturbed functions against the expectations they estimate, distributions against SciPy, scaled gradients.

Bounds are five standard errors, computed from the variance of what is averaged: a wrong test fails once in two million.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import optim
from optim.perturbations import Gumbel, Normal, make_perturbed_fun

KEY = jax.random.key(0)
X = jnp.asarray([0.3, 0.1, -0.2])


def one_hot_of_max(x):
    return jax.nn.one_hot(jnp.argmax(x), x.size)


def within(estimate, exact, deviation, samples):
    np.testing.assert_array_less(np.abs(np.asarray(estimate) - exact), 5 * np.asarray(deviation) / samples**0.5)


def test_the_perturbed_maximum_is_the_softmax():
    """With Gumbel noise P(argmax = i) = softmax(x / sigma)_i; its derivative is known too."""
    n, sigma = 16_000, 0.5
    smooth = make_perturbed_fun(one_hot_of_max, n, sigma)
    p = np.asarray(jax.nn.softmax(X / sigma), np.float64)

    @jax.jit
    def all_of_them(x):
        f = functools.partial(smooth, KEY)
        return f(x), jax.jacrev(f)(x), jax.jacfwd(f)(x)

    value, jacobian, forward = all_of_them(X)
    within(value, p, np.sqrt(p * (1 - p)), n)
    exact = (np.diag(p) - np.outer(p, p)) / sigma
    # |f - f(x)| <= 1, and the score of a Gumbel variable has variance 1.
    within(jacobian, exact, np.full((3, 3), 1 / sigma), n)
    np.testing.assert_allclose(forward, jacobian, atol=1e-5)


@pytest.mark.parametrize("baseline", [True, False])
def test_derivatives_of_a_polynomial(baseline):
    """E (x + sigma z)^2 = x^2 + sigma^2 for normal noise: derivatives 2x, 2, and 2 sigma in sigma."""
    n, x, sigma = 30_000, 0.7, 0.5

    def smooth(x, sigma):
        return make_perturbed_fun(jnp.square, n, sigma, Normal(), baseline)(KEY, x)

    @jax.jit
    def all_of_them(x, sigma):
        return smooth(x, sigma), *jax.grad(smooth, (0, 1))(x, sigma), jax.grad(jax.grad(smooth))(x, sigma)

    z = np.random.default_rng(0).normal(size=200_000)
    f = (x + sigma * z) ** 2 - baseline * x**2
    value, in_x, in_sigma, twice_in_x = all_of_them(x, sigma)
    within(value, x**2 + sigma**2, np.std((x + sigma * z) ** 2), n)
    within(in_x, 2 * x, np.std(f * z / sigma), n)
    within(twice_in_x, 2, np.std(f * (z**2 - 1) / sigma**2), n)
    within(in_sigma, 2 * sigma, np.std(f * (z**2 - 1) / sigma), n)


def test_the_baseline_reduces_the_variance():
    def spread(baseline):
        f = make_perturbed_fun(lambda x: 100 + jnp.sum(x), 50, 0.1, Normal(), baseline)
        return np.std(jax.jit(jax.vmap(jax.grad(f, 1), (0, None)))(jax.random.split(KEY, 50), X))

    assert spread(True) < spread(False) / 50


def test_trees_dtypes_and_what_is_absent():
    def f(x):
        return {"up": x["a"] > 0, "sum": x["a"].astype(jnp.float32) + x["b"], "none": x["n"]}

    x = {"a": jnp.zeros(3, jnp.bfloat16), "b": jnp.ones((2, 3)), "n": None}
    smooth = functools.partial(make_perturbed_fun(f, 500, 1e-3), KEY)

    @jax.jit
    def out_and_gradient(x):
        out, pull = jax.vjp(smooth, x)
        return out, pull(jax.tree.map(jnp.ones_like, out))[0]

    out, grads = out_and_gradient(x)
    shapes = jax.tree.map(lambda y: (y.shape, str(y.dtype)), out)
    assert shapes == {"up": ((3,), "float32"), "sum": ((2, 3), "float32"), "none": None}
    # P(Gumbel > 0) = 1 - 1 / e
    within(out["up"], 1 - np.exp(-1), np.full(3, 0.5), 500)
    assert jax.tree.map(lambda y: str(y.dtype), grads) == {"a": "bfloat16", "b": "float32", "n": None}


def test_other_noise_draws_once_for_each_leaf_and_a_value_that_is_infinite_at_x():
    class Uniform:
        def sample(self, key, sample_shape=(), dtype=float):
            return jax.random.uniform(key, sample_shape, dtype, 0.5, 1.5)

        def log_prob(self, inputs):
            return jnp.zeros_like(inputs)

    f = make_perturbed_fun(lambda x: jnp.log(x["a"]) + x["b"], 20, 1.0, Uniform())
    x = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    value, grads = jax.jit(jax.value_and_grad(lambda x: f(KEY, x).sum()))(x)
    assert np.isfinite(value).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("law", [Gumbel(), Normal()], ids=repr)
def test_densities_and_draws(law):
    scipys = scipy.stats.gumbel_r if isinstance(law, Gumbel) else scipy.stats.norm
    z = np.linspace(-3, 5, 17, dtype=np.float32)
    np.testing.assert_allclose(law.log_prob(z), scipys.logpdf(z), rtol=1e-5, atol=1e-6)
    assert law.sample(KEY, (2, 3), jnp.bfloat16).dtype == jnp.bfloat16
    assert scipy.stats.kstest(law.sample(KEY, (4000,)), scipys.cdf).pvalue > 1e-3


def test_multi_normal():
    loc, log_scale = jnp.asarray([[0.5, -1.0, 2.0], [0.0, 1.0, 3.0]]), jnp.asarray([0.0, -1.0, 1.0])
    normal = optim.multi_normal(loc, log_scale)
    x = jax.jit(lambda normal: normal.sample((4000,), KEY))(normal)
    assert x.shape == (4000, 2, 3)
    z = (np.asarray(x) - np.asarray(loc)) / np.exp(np.asarray(log_scale))
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    exact = scipy.stats.norm(np.asarray(loc), np.exp(np.asarray(log_scale))).logpdf(np.asarray(x[:5])).sum((1, 2))
    density = jax.jit(lambda x: (normal.log_prob(x), normal.log_prob(x[0])))
    for ours, scipys in zip(density(x[:5]), (exact, exact[0]), strict=True):
        np.testing.assert_allclose(ours, scipys, rtol=1e-5)
    # The derivative along a draw: d x / d log_scale = x - loc.
    draw = jax.jit(lambda s, t: jax.jvp(lambda s: optim.multi_normal(loc, s).sample((), KEY), (s,), (t,)))
    drawn, tangent = draw(log_scale, jnp.ones(3))
    np.testing.assert_allclose(tangent, drawn - loc, rtol=1e-5)
    assert [p.shape for p in jax.tree.leaves(normal)] == [p.shape for p in normal.params]


def test_scale_gradient():
    x = {"a": jnp.asarray([1.0, jnp.inf]), "n": None, "i": jnp.asarray(3), "z": jnp.asarray(1 + 2j)}
    same = optim.scale_gradient(x, 0.5)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), x, same))

    def f(a, s):
        return jnp.sum(optim.scale_gradient({"a": a}, s)["a"] ** 2)

    a = jnp.asarray([1.0, -2.0])
    for scale in (0.5, -1.0, 0, jnp.asarray(3.0)):
        np.testing.assert_allclose(jax.grad(f)(a, scale), 2 * a * scale)
    assert float(jax.grad(f, 1)(a, 2.0)) == 0
    tangent = jax.jvp(lambda a: optim.scale_gradient(a, 0.5), (a,), (a,))[1]
    np.testing.assert_allclose(tangent, 0.5 * a)
    assert optim.scale_gradient(a.astype(jnp.bfloat16), jnp.asarray(0.5)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: make_perturbed_fun(jnp.sum, 0), "num_samples must be an integer >= 1, got 0"),
        (lambda: make_perturbed_fun(jnp.sum, sigma=0.0), "make_perturbed_fun: sigma must be > 0, got 0.0"),
        (lambda: make_perturbed_fun(jnp.sum, noise=1), "noise must have the methods sample and log_prob, got 1"),
        (
            lambda: make_perturbed_fun(jnp.sum)(KEY, {"i": jnp.arange(3)}),
            r"make_perturbed_fun: x\['i'\] has dtype int32, expected a real, floating one",
        ),
        (lambda: optim.multi_normal(jnp.ones(2), jnp.ones(3)), r"log_scale must have the shape of loc, \(2,\)"),
        (lambda: optim.multi_normal(jnp.ones(2), jnp.ones((3, 2))), r"log_scale must have the shape of loc, \(2,\)"),
        (lambda: optim.multi_normal(1j, 0.0), "loc must be real, got complex64"),
        (
            lambda: optim.multi_normal(jnp.ones(2), jnp.ones(2)).log_prob(jnp.ones(3)),
            r"multi_normal: x must have the shape \(..., 2\)",
        ),
        (lambda: optim.scale_gradient(jnp.ones(2), "a"), "scale_gradient: scale must be a number, got 'a'"),
    ],
)
def test_mistakes(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()

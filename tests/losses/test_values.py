"""Every loss against its formula in float64, against Optax, in every dtype, mapped, and its derivatives."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import check_all, close
from .cases import CASES, EMPTY, differentiable, loss_of, names

optax = pytest.importorskip("optax", reason="Optax is a test dependency")


def first(x):
    """The losses, where a function returns more."""
    return x[0] if isinstance(x, tuple) else x


def test_names_are_those_of_optax():
    theirs = {n for n in dir(optax.losses) if not n.startswith("_") and callable(getattr(optax.losses, n))}
    assert set(optim.losses.__all__) == theirs
    assert set(dir(optim.losses)) == theirs
    top = {n for n in theirs if hasattr(optax, n)}
    assert {n for n in theirs if n in optim.__all__} == top
    assert all(getattr(optim, n) is getattr(optim.losses, n) for n in top)


def test_every_loss_has_a_case():
    assert sorted({case.name for case in CASES}) == names()


def cast(args, dtype):
    """The floating arguments in `dtype`."""
    return [np.asarray(x, jnp.dtype(dtype)) if i in differentiable(args) else x for i, x in enumerate(args)]


def moved(case, amount):
    """The arguments, the floating ones moved along one direction."""
    wrt = differentiable(case.args)
    direction = [np.cos(np.arange(np.size(x)) + 1.0).reshape(np.shape(x)) for x in case.args]
    pairs = enumerate(zip(case.args, direction, strict=True))
    return [x + amount * d if i in wrt else x for i, (x, d) in pairs]


@pytest.mark.parametrize("name", names())
def test_against_the_formula(name, x64):
    """In float64 the formula, its slope along a direction, and Optax; mapped in float32 and in bfloat16 the formula."""
    cases = [case for case in CASES if case.name == name]
    one, kwargs = cases[0], cases[0].kwargs
    loss, theirs = loss_of(optim.losses, name), loss_of(optax.losses, name)
    wrt = differentiable(one.args)
    single, half = cast(one.args, "float32"), cast(one.args, "bfloat16")
    stacks = [np.stack([x, x / 2]) if i in wrt else x for i, x in enumerate(single)]

    @jax.jit
    def ours(amounts, stacks, half):
        def run(case, amount):
            value = lambda a: loss(*moved(case, a), **case.kwargs)  # noqa: E731
            sloped = case is one or case.kwargs.get("where") is EMPTY
            return jax.jvp(value, (amount,), (1.0,)) if sloped else (value(0.0), None)

        mapped = jax.vmap(
            lambda *args: first(loss(*args, **kwargs)), [0 if i in wrt else None for i in range(len(half))]
        )
        return list(map(run, cases, amounts)), mapped(*stacks), first(loss(*half, **kwargs))

    @jax.jit
    def optax_losses():
        shared = {i: case for i, case in enumerate(cases) if not case.not_optax}
        return {i: theirs(*map(jnp.asarray, case.args), **case.kwargs) for i, case in shared.items()}

    doubles, mapped, rounded = ours([0.0] * len(cases), stacks, half)
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it deprecates one of its names
        expected_by_optax = optax_losses()

    def check(i):
        case, (value, slope) = cases[i], doubles[i]
        assert first(value).dtype == jnp.float64
        np.testing.assert_allclose(first(value), case.expected(*case.args), rtol=1e-12, atol=1e-13)
        if slope is not None:
            numeric = (case.expected(*moved(case, 1e-5)) - case.expected(*moved(case, -1e-5))) / 2e-5
            np.testing.assert_allclose(first(slope), numeric, rtol=1e-6, atol=1e-8)
        if i in expected_by_optax:
            close(value, expected_by_optax[i], rtol=1e-9, atol=1e-10)

    check_all(range(len(cases)), check, name=lambda i: cases[i].id)
    for factor, out in zip((1, 0.5), mapped, strict=True):
        assert out.dtype == jnp.float32
        near(out, one.expected(*(factor * exact(x) if i in wrt else x for i, x in enumerate(single))), 0)
    assert rounded.dtype == (jnp.float32 if name.startswith("ctc") else jnp.bfloat16)
    near(rounded, one.expected(*map(exact, half)), 0 if name.startswith("ctc") else 2.0**-8)


def exact(x):
    return np.asarray(x, np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def near(out, expected, rounding):
    """The value, but for the rounding of float32 inside and one rounding at the end."""
    allowed = rounding * np.abs(expected) + 3e-6 * np.max(np.abs(expected)) + 2e-7
    assert np.all(np.abs(exact(out) - expected) <= allowed)

"""Values and derivatives at the edges are finite, in the narrow dtypes too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from .cases import differentiable, loss_of, names
from .edges import EDGES
from .test_values import cast, exact, first


def test_every_loss_has_edges():
    assert sorted(EDGES) == names()


@pytest.mark.parametrize("name", names())
def test_finite(name):
    """The known values, and finite gradients of the dtypes of the arguments. In float16 the first call only."""
    loss = loss_of(optim.losses, name)
    calls = [("float32", call) for call in EDGES[name](1e30)] + [("float16", EDGES[name](6e4)[0])]

    def slopes(args, kwargs):
        wrt = differentiable(args)

        def total(*some):
            value = first(loss(*(some[wrt.index(i)] if i in wrt else x for i, x in enumerate(args)), **kwargs))
            return jnp.sum(value), value

        return jax.grad(total, range(len(wrt)), has_aux=True)(*(args[i] for i in wrt))

    arguments = [cast(args, dtype) for dtype, (args, _, _) in calls]
    all_kwargs = [kwargs for _, (_, kwargs, _) in calls]
    results = jax.jit(lambda arguments: list(map(slopes, arguments, all_kwargs)))(arguments)
    for args, (dtype, (_, kwargs, expected)), (gradient, value) in zip(arguments, calls, results, strict=True):
        where = f"{dtype} {kwargs} {args}"
        assert np.all(np.isfinite(exact(value))), f"{where}: {value}"
        known = np.isfinite(np.array(expected, float))
        np.testing.assert_allclose(exact(value)[known], np.array(expected, float)[known], 1e-3, 1e-3, err_msg=where)
        for i, slope in zip(differentiable(args), gradient, strict=True):
            assert slope.dtype == args[i].dtype
            assert np.all(np.isfinite(exact(slope))), f"{where}: {slope}"

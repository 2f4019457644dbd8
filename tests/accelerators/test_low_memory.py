"""What a step with coded slots moves on a GPU."""

import jax
import jax.numpy as jnp
import pytest

import optim

from .programs import compile, mesh, missing, struct


@pytest.mark.skipif(missing("gpu") is not None, reason=str(missing("gpu")))
@pytest.mark.parametrize(("dtype", "most"), [(jnp.float32, 22.5), (jnp.bfloat16, 14.5)], ids=["float32", "bfloat16"])
def test_bytes_moved_for_a_parameter(dtype, most):
    """28.0 with float32 slots; the limit of one pass is 16.1, and 10.1 with bfloat16 parameters."""
    on = mesh("gpu", d=1)
    params = {f"w{i}": struct((2048, 2048), dtype, on) for i in range(4)}
    tx = optim.stored(optim.adamw(1e-3), mu="int8", nu="int8")
    state = jax.tree.map(lambda x: struct(x.shape, x.dtype, on), jax.eval_shape(tx.init, params))

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    program = compile(step, params, state, params, donate=(0, 1))
    n = 4 * 2048 * 2048
    assert program.moved / n <= most
    assert program.temporary / n <= 0.02

"""Second derivatives of a loss: products with the Hessian, its diagonal, and the diagonal of the Fisher matrix.

The loss is a function (params, inputs, targets) -> real scalar. A complex parameter counts as two real ones: the real
part of a result belongs to its real part, the imaginary part to its imaginary part. `None` and integers in `params` are
constants.
"""

import typing as _typing
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from . import checks, hints, numerics, tree as trees
from .tree.packing import joined, split
from .types import Array, Params, Tree

__all__ = ["fisher_diag", "hessian_diag", "hvp"]

LossFn: TypeAlias = Callable[[Any, Any, Any], Any]

AT_ONCE = 32
"""Columns of the Hessian that `hessian_diag` computes at the same time."""


@checks.entrance("hvp")
def hvp(loss: LossFn, v: Tree, params: Params, inputs: Any, targets: Any) -> Tree:
    """Multiply the Hessian of a loss by a vector.

        H v = d/de grad loss(params + e v) at e = 0

    It costs about two gradients, in time and in memory; the Hessian is not built.

    Args:
      loss: function (params, inputs, targets) -> real scalar.
      v: a vector with an element for each of `params`, leaf after leaf, or a tree like `params`.
      params: a tree of arrays.
      inputs, targets: what loss takes.
    Returns: a tree like `params`.
    Raises:  ValueError for a v of another size; TypeError if the loss is not a real scalar.
    Source:  Pearlmutter 1994, Sec. 2.
    Differs: for complex parameters Optax returns the complex conjugate, which is no direction to move in.
    """
    given, restored = _variables(params)
    f = _loss_of(loss, restored, inputs, targets)
    return restored(jax.jvp(lambda x: _grad(f, x), (given,), (_direction(v, params, given),))[1], constants=False)


@checks.entrance("hessian_diag")
def hessian_diag(loss: LossFn, params: Params, inputs: Any, targets: Any) -> Array:
    """Compute the diagonal of the Hessian of a loss.

        d_i = e_i . H e_i

    The time is about that of one gradient for each parameter. The gradient is linearised once, and the columns of H are
    computed 32 at a time, so memory grows with the number of parameters, not with its square.

    Args:
      loss: function (params, inputs, targets) -> real scalar.
      params: a tree of arrays.
      inputs, targets: what loss takes.
    Returns: a vector with an element for each of `params`, leaf after leaf.
    Raises:  TypeError if the loss is not a real scalar.
    Differs: Optax fails for complex parameters.
    When:    small models; `hutchinson_estimator_diag_hessian` estimates the diagonal of large ones.
    """
    given, restored = _variables(params)
    if not given:
        return _flat([])
    f = _loss_of(loss, restored, inputs, targets)

    def of_vector(x: Array) -> Any:
        leaves = [numerics.convert(piece, p.dtype) for piece, p in zip(split(x, given), given, strict=True)]
        return f(leaves)

    x = joined(given)
    _, column = jax.linearize(jax.grad(of_vector), x)

    def element(i: Array) -> Array:
        one: Array = column(jnp.zeros_like(x).at[i].set(1))[i]
        return one

    diagonal: Array = lax.map(element, jnp.arange(x.size), batch_size=min(AT_ONCE, max(x.size, 1)))
    return _flat(split(diagonal, given))


@checks.entrance("fisher_diag")
def fisher_diag(negative_log_likelihood: LossFn, params: Params, inputs: Any, targets: Any) -> Array:
    """Compute the diagonal of the observed Fisher information, the squared gradient of a negative log-likelihood.

        d_i = (d loss / d params_i)^2

    This is the square of one gradient. The Fisher information of a batch is the sum of the squared gradients of its
    examples, not the square of their sum: map over the examples with `jax.vmap` and add, or use `micro_grad`.

    Args:
      negative_log_likelihood: function (params, inputs, targets) -> real scalar, usually that of one example.
      params: a tree of arrays.
      inputs, targets: what the function takes.
    Returns: a vector with an element for each of `params`, leaf after leaf.
    Raises:  TypeError if the loss is not a real scalar.
    Differs: for complex parameters Optax returns the square of a complex number.
    """
    given, restored = _variables(params)
    grads = _grad(_loss_of(negative_log_likelihood, restored, inputs, targets), given) if given else []
    wide = [numerics.convert(g, numerics.wide_dtype(g.dtype)) for g in grads]
    squares = [lax.complex(g.real**2, g.imag**2) if numerics.is_complex(g) else g**2 for g in wide]
    return _flat([numerics.convert(s, g.dtype) for s, g in zip(squares, grads, strict=True)])


def _variables(params: Params) -> tuple[list[Array], Callable[..., Params]]:
    """The leaves to differentiate by, and a function that puts leaves in their places."""
    leaves, structure = trees.flatten(params)
    places = [i for i, x in enumerate(leaves) if trees.trainable(x)]

    def restored(new: list[Any], constants: bool = True) -> Params:
        out = list(leaves) if constants else [None] * len(leaves)
        for i, x in zip(places, new, strict=True):
            out[i] = x
        return structure.unflatten(out)

    return [jnp.asarray(leaves[i]) for i in places], restored


def _loss_of(loss: LossFn, restored: Any, inputs: Any, targets: Any) -> Callable[[list[Array]], Any]:
    checks.function("loss", loss, "a function (params, inputs, targets) -> real scalar", arity=3)

    def f(leaves: list[Array]) -> Any:
        out = loss(restored(leaves), inputs, targets)
        if jnp.shape(out) != () or not jnp.issubdtype(jnp.result_type(out), jnp.floating):
            checks.fail(f"the loss must be a real scalar, got {checks.shown(out)}", TypeError)
        return out

    return f


def _grad(f: Callable[..., Any], leaves: list[Array]) -> list[Array]:
    """The direction of steepest ascent, which is the conjugate of JAX's gradient for complex leaves."""
    return [jnp.conj(g) if numerics.is_complex(g) else g for g in jax.grad(f)(leaves)]


def _direction(v: Tree, params: Params, given: list[Array]) -> list[Array]:
    """The leaves of `v`, a tree like the parameters or a vector, shaped and typed like the variables."""
    leaves, structure = trees.flatten(v)
    if structure == trees.structure(params):
        own = [x for x, p in zip(leaves, trees.flatten(params)[0], strict=True) if trees.trainable(p)]
        if all(x is not None and jnp.shape(x) == p.shape for x, p in zip(own, given, strict=True)):
            return [_cast(x, p) for x, p in zip(own, given, strict=True)]
    total = sum(p.size for p in given)
    if not jax.tree_util.all_leaves([v]) or jnp.shape(v) != (total,):
        checks.fail(f"v must be a vector of {total} elements or a tree like params, got {checks.shown(v)}")
    vector, pieces, start = jnp.asarray(v), [], 0
    for p in given:
        pieces.append(vector[start : start + p.size].reshape(p.shape))
        start += p.size
    some_complex = any(map(numerics.is_complex, given))
    return [
        _cast(x.real if some_complex and not numerics.is_complex(p) else x, p)
        for x, p in zip(pieces, given, strict=True)
    ]


def _cast(x: Any, like: Array) -> Array:
    x = jnp.asarray(x)
    if numerics.is_complex(x) and not numerics.is_complex(like):
        checks.fail(f"v is {x.dtype} where params is {like.dtype}")
    return numerics.convert(x, like.dtype)


def _flat(leaves: list[Array]) -> Array:
    """The leaves end to end, in the dtype that holds all of them."""
    if not leaves:
        return jnp.zeros(0, jnp.float32)
    dtype = numerics.common_dtype(*(x.dtype for x in leaves))
    return jnp.concatenate([numerics.convert(x.ravel(), dtype) for x in leaves])


if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = hints.surface(__name__)

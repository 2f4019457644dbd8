"""A stored array in the form that a codec gives it, which counts as one leaf."""

from collections.abc import Callable
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp

from ..types import Array, Tree


@jax.tree_util.register_pytree_with_keys_class
class Coded:
    """The code of an array, with the codec that made it.

    Trees of this library have it as one leaf; to JAX it is a node, so its arrays are donated, sharded and saved.

    Args:
      code: a tree of arrays.
      codec: an object with `encode(x, last) -> code` and `decode(code, shape) -> x`.
      shape: the shape of the array when it was made; a slice of a stacked state keeps it.
    """

    def __init__(self, code: Any, codec: Any, shape: tuple[int, ...]) -> None:
        self.code, self.codec, self.made_of = code, codec, shape

    def decoded(self) -> Array:
        """The array, in float32."""
        x: Array = self.codec.decode(self.code, self.made_of)
        return x

    def encoded(self, x: Array) -> "Coded":
        """`x` in the same form."""
        return Coded(self.codec.encode(x, self.code), self.codec, self.made_of)

    def emptied(self) -> "Coded":
        """Zeros in the same form."""
        if not hasattr(self.codec, "emptied"):
            return self.encoded(jnp.zeros(self.shape))
        return Coded(self.codec.emptied(self.code), self.codec, self.made_of)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded array."""
        shape: tuple[int, ...] = jax.eval_shape(lambda code: self.codec.decode(code, self.made_of), self.code).shape
        return shape

    @property
    def like(self) -> Any:
        """The shape and dtype of the decoded array."""
        made: Any = jax.ShapeDtypeStruct
        return made(self.shape, jnp.float32)

    def __repr__(self) -> str:
        return f"Coded({self.codec}, {list(self.made_of)})"

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any]], tuple[Any, tuple[int, ...]]]:
        return ((jax.tree_util.GetAttrKey("code"), self.code),), (self.codec, self.made_of)

    def tree_flatten(self) -> tuple[tuple[Any], tuple[Any, tuple[int, ...]]]:
        return (self.code,), (self.codec, self.made_of)

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, tuple[int, ...]], children: tuple[Any]) -> "Coded":
        return cls(children[0], *aux)


def is_coded(x: Any) -> TypeGuard[Coded]:
    """Whether x is the code of an array.

    Args:
      x: anything.
    """
    return isinstance(x, Coded)


def is_leaf(x: Any) -> bool:
    """Whether x counts as one leaf although JAX has none or several there: `None`, and the code of an array.

    Args:
      x: anything.
    """
    return x is None or isinstance(x, Coded)


def decoded(tree: Tree) -> Tree:
    """The tree with every code replaced by the array that it stands for, in float32.

    Args:
      tree: a tree, such as a state.
    """
    return jax.tree.map(lambda x: x.decoded() if is_coded(x) else x, tree, is_leaf=is_leaf)


def inside(f: Callable[..., Any], xs: tuple[Any, ...]) -> Any:
    """`f` of leaves side by side; of the arrays of their codes, where all are coded."""
    return jax.tree.map(f, *xs) if all(map(is_coded, xs)) else f(*xs)

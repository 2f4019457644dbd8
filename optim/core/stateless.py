"""Stateless transformations: `identity`, and those made of a function."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import checks, tree
from ..types import Params, Updates
from .registry import example, register
from .transformation import GradientTransformationExtraArgs


class EmptyState(NamedTuple):
    """The state of a stateless transformation."""


def init_empty_state(params: Params) -> EmptyState:
    """The `init` of a stateless transformation: returns `EmptyState()`."""
    del params
    return EmptyState()


@register(exceptions={"errors": "it does not look at updates"})
def identity() -> GradientTransformationExtraArgs:
    """Return the updates as they are."""

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del params, extra_args
        return updates, state

    tx = GradientTransformationExtraArgs(init_empty_state, update)
    return tx.declaring(grain="elementwise", state_classes=(EmptyState,))


def halved(updates: Updates, params: Params | None) -> Updates:
    del params
    return tree.map(lambda g: g * 0.5, updates)


@register(
    example(halved), exceptions={"golden": "its formula is its argument", "errors": "its function accepts any updates"}
)
def stateless(f: Callable[[Updates, Params | None], Updates]) -> GradientTransformationExtraArgs:
    """Make a stateless transformation of a function of trees.

    Args:
      f: (updates, params) -> updates; params is None where update is called without parameters.
    Raises:  TypeError if f is not a function of two arguments.
    """
    checks.function("f", f, "a function (updates, params) -> updates", arity=2)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        return f(updates, params), state

    return GradientTransformationExtraArgs(init_empty_state, update)


def halved_leaf(g: Any, p: Any) -> Any:
    del p
    return g * 0.5


@register(
    example(halved_leaf),
    exceptions={"golden": "its formula is its argument", "errors": "its function accepts any updates"},
)
def stateless_with_tree_map(f: Callable[[Any, Any], Any]) -> GradientTransformationExtraArgs:
    """Make a stateless transformation of a function of one leaf.

    Args:
      f: (g, p) -> u; p is None where update is called without parameters. It is not called where g is None.
    Raises:  TypeError if f is not a function of two arguments.
    """
    checks.function("f", f, "a function (g, p) -> u", arity=2)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        if params is None:
            return tree.map(lambda g: f(g, None), updates), state
        return tree.map(f, updates, params), state

    return GradientTransformationExtraArgs(init_empty_state, update)

"""The pair of functions that everything is, applying what it returns, and the pairs that remember nothing."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from . import checks, eager, numerics, tree
from .packing import check_whole
from .record import Call, Recorded
from .registry import example, register
from .types import Grain, Params, Updates


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


class _Pair(NamedTuple):
    # As `types.TransformInitFn` and `types.TransformUpdateFn` say, but update need not take extra arguments.
    init: Callable[[Any], Any]
    update: Callable[..., Any]


class GradientTransformation(Recorded, _Pair):
    """A pair of pure functions, `init(params) -> state` and `update(updates, state, params=None, **extra)`.

    It unpacks as a pair, prints as the call that made it, and equals any other made by an equal call. In a pytree it
    is structure, not data: it has no leaves, so it passes through `jit` as a static part of its argument.
    """

    call: Call | None = None
    grain: Grain | None = None
    """What an element of the update depends on; None where a part was made by hand and nobody knows."""
    members: tuple["GradientTransformation", ...] = ()
    lifted: Any = None
    """Its `rules.LeafRule`, where it is one rule on every leaf."""
    links: tuple["GradientTransformationExtraArgs", ...] | None = None
    """Its members, where they are applied one after the other to a tuple of states."""
    state_classes: tuple[Any, ...] = ()
    """The named tuples that its state may be; none where nobody knows."""
    slots: tuple[str, ...] = ()
    """The fields of its state that are trees like the parameters."""
    parts: "Callable[[Any, Params | None], list[Part]] | None" = None
    """(state, params) -> its members with what each has of these, where there are members."""
    exposes: Callable[[Any], Mapping[str, Any]] | None = None
    """state -> what it would tell by name (the learning rate, say) that is no field of its state."""
    evaluates: Callable[[Any, Params], Params] | None = None
    """(state, params) -> the parameters to evaluate with, where these are others."""
    body: "GradientTransformation | None" = None
    """What an alias stands for: the same pair as the call inside the factory made it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_static(cls)

    def knowing(self, **facts: Any) -> Self:
        """The same pair, knowing more of itself."""
        return self._rebuilt(*self, **facts)

    def _recorded(self, call: Call) -> Self:
        init, update = self
        looks_at_leaves = self.of_grain("leafwise") == [self]

        def named_init(params: Any) -> Any:
            with checks.naming(str(call.name)):
                if looks_at_leaves:
                    check_whole(params)
                return init(params)

        def named_update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
            with checks.naming(str(call.name)):
                checks.state(state, *self.state_classes)
                return update(updates, state, params, **extra_args)

        # What Python calls them where an argument is missing.
        named_init.__qualname__, named_update.__qualname__ = f"{call.name}.init", f"{call.name}.update"
        if self._known_throughout():
            named_update = eager.compiled(call, named_update)
        return self._rebuilt(named_init, named_update, call=call, body=self if self.call else None)

    def _known_throughout(self) -> bool:
        """Whether it is this library's down to its last member, so that its update may be compiled at will."""
        return self.grain is not None and all(m._known_throughout() for m in self.members)

    def of_grain(self, grain: Grain | None) -> list["GradientTransformation"]:
        """The innermost transformations, this one or in it, that are what makes it of this grain."""
        inner = [found for m in self.members for found in m.of_grain(grain)]
        return inner or ([self] if self.grain == grain else [])

    def _rebuilt(self, init: Any, update: Any, **facts: Any) -> Self:
        new = tuple.__new__(type(self), (init, update))
        new.__dict__.update(self.__dict__, **facts)
        return new

    def __repr__(self) -> str:
        return repr(self.call) if self.call else f"{type(self).__name__}(init={self.init}, update={self.update})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GradientTransformation):
            return NotImplemented
        if self.call or other.call:
            return self.call == other.call
        return tuple(self) == tuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.call) if self.call else hash(tuple(self))


class Part(NamedTuple):
    """A member of a combination, with its state and the parameters that it sees."""

    name: str
    tx: GradientTransformation
    state: Any
    params: Params | None


class GradientTransformationExtraArgs(GradientTransformation):
    """A transformation whose update takes extra keyword arguments and ignores those it has no use for."""


jax.tree_util.register_static(GradientTransformation)


def with_extra_args_support(tx: Any) -> GradientTransformationExtraArgs:
    """`tx` as a pair whose update takes any extra argument; what its own update does not name is not passed on.

    Raises: TypeError for what is no (init, update) pair; for a factory that was not called, with the call to write.
    """
    return taking_extra_args(tx, "with_extra_args_support's argument")


def taking_extra_args(tx: Any, where: str) -> GradientTransformationExtraArgs:
    """`with_extra_args_support` for the argument that `where` names."""
    if isinstance(tx, GradientTransformationExtraArgs):
        return tx
    init, update = _pair(tx, where)
    parameters = inspect.signature(update).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return GradientTransformationExtraArgs(init, update).knowing(**getattr(tx, "__dict__", {}))
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    named |= {p.name for p in list(parameters)[3:] if p.kind is p.POSITIONAL_OR_KEYWORD}

    def update_with(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        return update(updates, state, params, **{k: v for k, v in extra_args.items() if k in named})

    return GradientTransformationExtraArgs(init, update_with).knowing(**getattr(tx, "__dict__", {}))


def _pair(tx: Any, where: str) -> tuple[Any, Any]:
    init, update = getattr(tx, "init", None), getattr(tx, "update", None)
    if callable(init) and callable(update):
        return init, update
    if isinstance(tx, tuple) and len(tx) == 2 and callable(tx[0]) and callable(tx[1]):
        return tx
    hint = checks.called(tx)
    if isinstance(tx, list | tuple) and any(isinstance(x, GradientTransformation) for x in tx):
        hint = f"; did you mean chain({', '.join(map(checks.shown, tx))})?"
    return checks.fail(f"{where} must be a transformation (init, update), got {checks.shown(tx)}{hint}", TypeError)


def init_empty_state(params: Params) -> EmptyState:
    """The `init` of a transformation that remembers nothing."""
    del params
    return EmptyState()


def apply_updates(params: Params, updates: Updates) -> Params:
    """params + updates, computed in the wider of both dtypes and at least float32, and cast last to each parameter's.

    Where an update is `None` its parameter stays; a parameter `None` stays `None`.

    Raises: ValueError naming the leaf whose shape is not its parameter's, or whose dtype no step can change.
    """
    with checks.naming("apply_updates"):
        leaves, structure = tree.flatten(params)
        steps = tree.match(updates, params, "updates", "params")
        new = [_moved(p, u, i, params) for i, (p, u) in enumerate(zip(leaves, steps, strict=True))]
    return structure.unflatten(new)


def _moved(p: Any, u: Any, i: int, params: Params) -> Any:
    if tree.absent(u):
        return p
    if p is None:
        checks.fail(f"updates{tree.paths(params)[i]} is an array, params{tree.paths(params)[i]} is None")
    p, u = tree.as_array(p), tree.as_array(u)
    if p.shape != u.shape:
        path = tree.paths(params)[i]
        checks.fail(f"updates{path} has shape {u.shape}, params{path} has {p.shape}")
    kinds = (jnp.complexfloating, jnp.inexact)
    if any(jnp.issubdtype(u.dtype, k) and not jnp.issubdtype(p.dtype, k) for k in kinds):
        path = tree.paths(params)[i]
        checks.fail(f"updates{path} is {u.dtype}, which params{path} of dtype {p.dtype} cannot hold")
    if not jnp.issubdtype(p.dtype, jnp.inexact):
        return p + numerics.convert(u, p.dtype)
    dtype = numerics.common_dtype(numerics.wide_dtype(p.dtype), u.dtype)
    moved = jax.lax.add(numerics.convert(p, dtype), numerics.convert(u, dtype))
    return numerics.convert(moved, p.dtype, weak=p.weak_type)


_UNREAD = "it does not look at updates"


@register(exceptions={"errors": _UNREAD})
def identity() -> GradientTransformationExtraArgs:
    """Return the updates as they are."""

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del params, extra_args
        return updates, state

    tx = GradientTransformationExtraArgs(init_empty_state, update)
    return tx.knowing(grain="elementwise", state_classes=(EmptyState,))


def _halved(updates: Updates, params: Params | None) -> Updates:
    del params
    return tree.map(lambda g: g * 0.5, updates)


@register(
    example(_halved),
    exceptions={"golden": "its formula is its argument", "errors": "its function takes what updates there are"},
)
def stateless(f: Callable[[Updates, Params | None], Updates]) -> GradientTransformationExtraArgs:
    """Make a transformation of `f(updates, params) -> updates`."""

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        return f(updates, params), state

    return GradientTransformationExtraArgs(init_empty_state, update)


def _halved_leaf(g: Any, p: Any) -> Any:
    del p
    return g * 0.5


@register(
    example(_halved_leaf),
    exceptions={"golden": "its formula is its argument", "errors": "its function takes what updates there are"},
)
def stateless_with_tree_map(f: Callable[[Any, Any], Any]) -> GradientTransformationExtraArgs:
    """Make a transformation of `f(g, p) -> u` on one leaf; p is None where update is called without parameters."""

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        if params is None:
            return tree.map(lambda g: f(g, None), updates), state
        return tree.map(f, updates, params), state

    return GradientTransformationExtraArgs(init_empty_state, update)

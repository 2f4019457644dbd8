"""`GradientTransformation`: the pair `(init, update)`, with what it declares about itself."""

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import jax

from .. import checks
from ..tree.packing import check_whole
from ..types import Grain, TransformationLike, TransformInitFn, TransformUpdateFn
from . import eager
from .facts import Facts
from .record import Call, Recorded


class _Pair(NamedTuple):
    init: TransformInitFn
    update: TransformUpdateFn


class GradientTransformation(Recorded, _Pair):
    """A pair of pure functions, `init(params) -> state` and `update(updates, state, params=None, **extra)`.

    It unpacks as a pair, prints as the call that made it, and equals any other made by an equal call. In a pytree it
    is structure, not data: it has no leaves, so it passes through `jit` as a static part of its argument.
    """

    facts: Facts = Facts()

    if TYPE_CHECKING:
        # A function of the user's need not take extra arguments.
        def __new__(cls, init: Callable[..., Any], update: Callable[..., Any]) -> Self: ...

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_static(cls)

    @property
    def call(self) -> Call | None:  # type: ignore[override]
        """The call that made it, if a registered factory did."""
        return self.facts.call

    @property
    def grain(self) -> Grain | None:
        """What an element of the update may depend on; None where that is unknown."""
        return self.facts.grain

    @property
    def members(self) -> tuple["GradientTransformation", ...]:
        """The transformations inside it."""
        return tuple(member.tx for member in self.facts.members)

    @property
    def body(self) -> "GradientTransformation | None":
        """The transformation that an alias stands for."""
        body: GradientTransformation | None = self.facts.body
        return body

    def declaring(self, **facts: Any) -> Self:
        """The same pair with more facts declared.

        Raises: TypeError for a fact that does not exist.
        """
        return self._rebuilt(self.init, self.update, dataclasses.replace(self.facts, **facts))

    def check_state(self, state: Any) -> None:
        """Refuse a state that is not of this transformation's form."""
        if self.facts.check:
            self.facts.check(state)
        else:
            checks.state(state, *self.facts.state_classes)

    def of_grain(self, grain: Grain | None) -> list["GradientTransformation"]:
        """The innermost transformations, this one or inside it, that give it this grain."""
        inner = [tx for member in self.members for tx in member.of_grain(grain)]
        return inner or ([self] if self.grain == grain else [])

    def _recorded(self, call: Call) -> Self:
        init, update = self
        sees_whole_leaves = self.of_grain("leafwise") == [self]
        # A chain names its members in errors. An alias does not: the user has not written them.
        name = checks.Name(str(call.name), lists_members=bool(self.facts.members) and self.call is None)

        def named_init(params: Any) -> Any:
            if sees_whole_leaves:
                check_whole(params)
            return _init(init, params)

        def named_update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
            self.check_state(state)
            return update(updates, state, params, **extra_args)

        # What Python calls them where an argument is missing.
        named_init.__qualname__, named_update.__qualname__ = f"{call.name}.init", f"{call.name}.update"
        facts = dataclasses.replace(self.facts, call=call, body=self if self.call else None)
        enter = checks.entrance(name)
        named_update = eager.compiled(call, named_update, facts.grain)
        named_init.__doc__, named_update.__doc__ = TransformInitFn.__call__.__doc__, TransformUpdateFn.__call__.__doc__
        return self._rebuilt(enter(named_init), enter(named_update), facts)

    def _rebuilt(self, init: Any, update: Any, facts: Facts) -> Self:
        new = tuple.__new__(type(self), (init, update))
        new.__dict__.update(self.__dict__, facts=facts)
        return new

    def __repr__(self) -> str:
        if self.call:
            return repr(self.call)
        if self.facts.rule is not None:
            return repr(self.facts.rule)
        return f"{type(self).__name__}({checks.function_name(self.init)}, {checks.function_name(self.update)})"

    def __format__(self, spec: str) -> str:
        # Keras' error for an optimizer that it does not know has room for this one hint, in what it formats.
        asked_by = sys._getframe(1).f_globals.get("__name__", "")
        hint = f"; did you mean optim.interop.keras.as_keras({self!r})?" if asked_by.startswith("keras.") else ""
        return format(str(self), spec) + hint

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


class GradientTransformationExtraArgs(GradientTransformation):
    """A transformation whose update takes extra keyword arguments and ignores those it does not use."""


jax.tree_util.register_static(GradientTransformation)


@checks.entrance("with_extra_args_support")
def with_extra_args_support(tx: TransformationLike) -> GradientTransformationExtraArgs:
    """`tx` as a pair whose update takes any extra argument; arguments that its own update does not name are dropped.

    Args:
      tx: a transformation, or a pair of functions.
    Raises: TypeError for a value that is not an (init, update) pair; for a factory that was not called, with the call.
    """
    return taking_extra_args(tx, "tx")


def taking_extra_args(tx: Any, where: str) -> GradientTransformationExtraArgs:
    """`with_extra_args_support` for the argument that `where` names."""
    if isinstance(tx, GradientTransformationExtraArgs):
        return tx
    init, update = _pair(tx, where)
    facts = tx.facts if isinstance(tx, GradientTransformation) else Facts()
    parameters = inspect.signature(update).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return GradientTransformationExtraArgs(init, update)._rebuilt(init, update, facts)
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    named |= {p.name for p in list(parameters)[3:] if p.kind is p.POSITIONAL_OR_KEYWORD}

    def update_with(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        return update(updates, state, params, **{k: v for k, v in extra_args.items() if k in named})

    return GradientTransformationExtraArgs(init, update_with)._rebuilt(init, update_with, facts)


def _init(init: Callable[..., Any], params: Any) -> Any:
    """`init(params)`; an init that reads values of parameters that are only shapes says so."""
    try:
        return init(params)
    except (TypeError, AttributeError) as error:
        if isinstance(error, checks.Mistake) or not any(map(checks.is_shape, jax.tree.leaves(params))):
            raise
    return checks.fail(
        "init reads the values of the parameters, got shapes; for the shapes of the state, "
        "call jax.eval_shape(tx.init, params)",
        TypeError,
    )


def _pair(tx: Any, where: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    init, update = getattr(tx, "init", None), getattr(tx, "update", None)
    if callable(init) and callable(update):
        return init, update
    if isinstance(tx, tuple) and len(tx) == 2 and callable(tx[0]) and callable(tx[1]):
        return tx
    hint = checks.called(tx)
    if isinstance(tx, list | tuple) and any(isinstance(x, GradientTransformation) for x in tx):
        hint = f"; did you mean chain({', '.join(map(checks.shown, tx))})?"
    return checks.fail(f"{where} must be a transformation (init, update), got {checks.shown(tx)}{hint}", TypeError)

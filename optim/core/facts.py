"""What a transformation declares about itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..types import Grain, Params, Tree
from .record import Call


def _same(x: Any) -> Any:
    return x


@dataclass(frozen=True, eq=False)
class Member:
    """A transformation inside another one.

    Args:
      name: its name there; a chain's members are named after their factories.
      tx: the transformation.
      state: the state of the whole -> the state of the member.
      params: the parameters of the whole -> the parameters that the member sees.
    """

    name: str
    tx: Any
    state: Callable[[Any], Any] = _same
    params: Callable[[Any], Any] = _same


@dataclass(frozen=True, eq=False)
class Facts:
    """What is declared about a transformation, for everything that looks inside it.

    Args:
      call: the call that made it.
      body: the transformation that an alias stands for.
      grain: what an element of the update depends on; None where that is unknown.
      rule: its `lift.rules.LeafRule`, where it is one rule applied to every leaf.
      members: the transformations inside it.
      sequential: whether the members are applied one after the other to a tuple of states.
      state_classes: the named tuples that its state may be; empty where that is unknown.
      check: refuses a state of the wrong form, where that is more than its class.
      slots: the fields of its state that are trees like the parameters.
      opened: state -> (a transformation configured by this state, the state of that transformation), where the state
        holds hyperparameters.
      exposes: state -> values to report by name (the learning rate, say) that are not fields of the state.
      exact: whether its updates are differences between rounded parameters, which a cast would spoil.
      evaluates: (state, params) -> the parameters to evaluate with, where they differ.
      applies: (updates, state, params, extra_args) -> (params, state): update and application in one, where that is
        less work than one after the other.
    """

    call: Call | None = None
    body: Any = None
    grain: Grain | None = None
    rule: Any = None
    members: tuple[Member, ...] = ()
    sequential: bool = False
    state_classes: tuple[Any, ...] = ()
    check: Callable[[Any], None] | None = None
    slots: tuple[str, ...] = ()
    opened: Callable[[Any], tuple[Any, Any]] | None = None
    exposes: Callable[[Any], Mapping[str, Any]] | None = None
    exact: bool = False
    evaluates: Callable[[Any, Params], Tree] | None = None
    applies: Callable[[Any, Any, Params, Mapping[str, Any]], tuple[Params, Any]] | None = None

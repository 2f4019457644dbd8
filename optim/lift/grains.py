"""From a rule on one array to a transformation of trees.

A rule is the paper's formula on ONE array: a function whose parameters are named for what it needs, and which returns
the update, or the update and its new slots in the order they were declared.

    g        the gradient, or whatever comes in, in at least float32
    p        the parameter, in the same precision
    t        the number of this update, 1 on the first: an int32 scalar
    NAME     the slot, the state scalar or the derived scalar of that name
    last_g   the slot, where its name is g
    key      a PRNG key of this leaf's own, where `scalars` returns one for the tree

`Slot` declares one state array per parameter, `StateScalar` one state scalar. Tree-wide scalars (a clip factor, a
momentum schedule) are derived by one function, `scalars`, whose parameters are named likewise, with `updates`,
`params` and a slot's name for whole trees, and any extra argument of `update` by its name; what it returns under the
name of a `StateScalar` is stored.

A complex leaf is two real ones where the grain allows it: elementwise and treewise rules see real arrays only, with
real and imaginary parts along a last axis of two. A leafwise rule sees the complex array.

The lift carries what is the same for every rule: `None`, dtypes, shapes and their errors, the count, fresh buffers,
shardings. The grain says what an element of the update may depend on, and so what may be done with the rule: see
`elementwise`, `treewise`, `leafwise`.
"""

from collections.abc import Mapping
from typing import Any

from .. import checks
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs
from ..types import Grain
from .passes import run
from .rules import LeafRule, Rule, Scalars
from .slots import Slot as Slot, StateScalar as StateScalar


@checks.entrance("elementwise")
def elementwise(
    rule: Rule,
    state: Any = EmptyState,
    *,
    scalars: Scalars | None = None,
    **slots: Slot | StateScalar,
) -> GradientTransformationExtraArgs:
    """Lift a rule whose every element depends on the same element of g, p and the slots, and on scalars.

        class MomentumState(NamedTuple):
            trace: optim.Updates

        def rule(g, trace):
            trace = g + 0.9 * trace
            return trace, trace

        tx = optim.elementwise(rule, MomentumState, trace=optim.Slot())

    The transformation may be packed, computed in pieces, and its slots quantised block by block.

    Args:
      rule: a function of the words it needs (g, p, t, slots, scalars) that returns the update, or the update and its
        new slots in the order of their declaration.
      state: the NamedTuple class of the state: the slots, the state scalars, and perhaps a `count`.
      scalars: a function of the words it needs that returns a dict of tree-wide scalars.
      slots: a `Slot` or `StateScalar` for every field of the state but `count`.
    Raises:  TypeError for a state class with other fields, or a rule that asks for a word that does not exist.
    """
    return _lift("elementwise", rule, state, scalars, slots)


@checks.entrance("treewise")
def treewise(
    rule: Rule, state: Any = EmptyState, *, scalars: Scalars, **slots: Slot | StateScalar
) -> GradientTransformationExtraArgs:
    """Lift a rule that is elementwise but for `scalars`, which may be sums over the whole tree: a global norm.

    The transformation may be packed: a sum over the tree does not depend on where a leaf ends.

    Args:
      rule, state, slots: as in `elementwise`.
      scalars: a function of the words it needs, `updates` and `params` for whole trees among them, that returns a dict
        of tree-wide scalars.
    """
    return _lift("treewise", rule, state, scalars, slots)


@checks.entrance("leafwise")
def leafwise(
    rule: Rule,
    state: Any = EmptyState,
    *,
    scalars: Scalars | None = None,
    **slots: Slot | StateScalar,
) -> GradientTransformationExtraArgs:
    """Lift a rule whose elements depend on their whole leaf: a norm of a leaf, a product of matrices.

    The transformation is never packed across leaves, and its rule sees complex leaves as complex arrays.

    Args:
      rule, state, scalars, slots: as in `elementwise`.
    """
    return _lift("leafwise", rule, state, scalars, slots)


def _lift(
    grain: Grain, rule: Rule, state: Any, scalars: Scalars | None, declared: Mapping[str, Slot | StateScalar]
) -> GradientTransformationExtraArgs:
    lifted = LeafRule(grain, rule, state, scalars, declared)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        updates, (state,) = run([lifted], updates, [state], params, extra_args)
        return updates, state

    tx = GradientTransformationExtraArgs(lifted.init, update)
    return tx.declaring(grain=grain, rule=lifted, state_classes=(lifted.state_class,), slots=tuple(lifted.slots))

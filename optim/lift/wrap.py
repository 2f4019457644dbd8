"""A rule around another transformation, on one array."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import checks, tree
from ..core.members import around, coarsest
from ..core.stateless import EmptyState
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..types import Grain, TransformationLike
from .passes import narrowed, run
from .rules import LeafRule, Rule, Scalars, check_updates
from .slots import Slot, StateScalar


@checks.entrance("wrap")
def wrap(
    inner: TransformationLike,
    rule: Rule,
    state: Any = None,
    *,
    grain: Grain = "elementwise",
    scalars: Scalars | None = None,
    evaluate: Rule | None = None,
    **slots: Slot | StateScalar,
) -> GradientTransformationExtraArgs:
    """Lift a rule on what another transformation returns, as `elementwise` and its kin lift one on gradients.

        u, inner_state = inner.update(g, inner_state, p);  u, slots = rule(u, g, p, slots)      on every leaf

    The rule's parameters are named for what it needs: `u`, the update of `inner`; `g`, what came in; `p`, `t`, slots
    and scalars as in `elementwise`. In `scalars`, `updates` is the tree that came in and `inner_updates` that of
    `inner`. Trees, `None`, dtypes, masks, checkpoints and errors are taken care of.

        def cautious(inner):
            return optim.wrap(inner, lambda u, g: jnp.where(u * g < 0, u, 0))

    Args:
      inner: a transformation.
      rule: a function of the words it needs that returns the update, or the update and its new slots.
      state: a NamedTuple class with the slots, the state scalars, perhaps a `count`, and one field more: the state of
        `inner`. None, without slots, makes the state that of `inner`.
      grain: what an element of the result may depend on, beside `inner`.
      scalars, slots: as in `elementwise`.
      evaluate: a function of p, slots and state scalars that returns the parameter to evaluate with.
    Raises:  TypeError for an `inner` that is not an (init, update) pair, and for a state class whose fields are not
             those.
    """
    member = taking_extra_args(inner, "inner")
    field = _field_of_inner(state, slots)
    fields = [] if field is None else [name for name in state._fields if name != field]
    own_class: Any = NamedTuple(state.__name__, [(name, Any) for name in fields]) if field else EmptyState
    own = LeafRule(grain, rule, own_class, scalars, slots, passes="u")

    def inner_of(whole: Any) -> Any:
        return whole if field is None else getattr(whole, field)

    def own_of(whole: Any) -> Any:
        return own_class(**{name: getattr(whole, name) for name in fields})

    def joined(inner_state: Any, rest: Any) -> Any:
        return inner_state if field is None else state(**{field: inner_state}, **rest._asdict())

    def init(params: Any) -> Any:
        return joined(member.init(params), own.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        wide = tree.widen(_checked(updates, params))
        us, inner_state = member.update(wide, inner_of(state), params, **extra_args)
        us = tree.map(lambda _, u: u, wide, tree.structure(wide).unflatten(tree.match(us, wide, "updates", "updates")))
        beside = {"g": wide} if "g" in own.wants else {}
        trees = {"updates": wide, "inner_updates": us}
        us, (rest,) = run([own], us, [own_of(state)], params, extra_args, beside=beside, trees=trees)
        return narrowed(us, updates), joined(inner_state, rest)

    def evaluates(whole: Any, params: Any) -> Any:
        assert evaluate is not None
        rest = own_of(whole)
        leaves, structure = tree.flatten(params)
        columns = [leaves, *own.slot_values(rest, params, "params")]
        scalars = {name: getattr(rest, name) for name in own.state_scalars}
        names = ["p", *own.slots]
        rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        return structure.unflatten([own.evaluated(evaluate, row, scalars) for row in rows])

    facts: dict[str, Any] = {"grain": coarsest(member.grain, grain), "slots": tuple(own.slots)}
    facts |= {"check": member.check_state} if field is None else {"state_classes": (state,)}
    facts |= {} if evaluate is None else {"evaluates": evaluates}
    return around(member, init, update, inner=inner_of, **facts)


def _field_of_inner(state: Any, declared: Mapping[str, Any]) -> str | None:
    """The field of a state class that no declaration is about: that of the inner state."""
    if state is None:
        if declared:
            checks.fail(f"slots need a state class: wrap(inner, rule, State, {', '.join(declared)}=...)", TypeError)
        return None
    counter = next((name for name in ("count", "t") if name in state._fields and name not in declared), None)
    rest = [name for name in state._fields if name not in declared and name != counter]
    if len(rest) != 1:
        got = f"got {', '.join(rest)}" if rest else "got none"
        problem = f"{state.__name__} must have one field that is not declared, for the state of inner; {got}"
        checks.fail(problem, TypeError)
    field: str = rest[0]
    return field


def _checked(updates: Any, params: Any) -> Any:
    """The updates as arrays, in the parameters' structure if there are parameters."""
    places = updates if params is None else params
    gs = [g if tree.absent(g) else tree.as_array(g) for g in tree.match(updates, places, "updates", "params")]
    if params is not None:
        check_updates(gs, tree.flatten(params)[0], params)
    return tree.structure(places).unflatten(gs)

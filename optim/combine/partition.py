"""A transformation for each group of parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .. import checks, tree
from ..core.facts import Member
from ..core.members import coarsest, title
from ..core.registry import example, register
from ..core.stateless import identity
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..tree.packing import labelled_by_words
from ..types import Params, TransformationLike, Tree
from .masked import every_other, keep_where, masked


class PartitionState(NamedTuple):
    """label -> the state of that label's transformation, as `masked` keeps it."""

    inner_states: Any


@register(
    example({"all": identity()}, "all"),
    example({True: identity(), False: identity()}, every_other),
    exceptions={
        "golden": "it combines others and has no formula of its own",
        "errors": "only its members look at updates",
    },
    errors=[(example({"a": 1}, "a"), "transforms['a'] must be a transformation (init, update), got 1")],
)
def partition(
    transforms: Mapping[Any, TransformationLike],
    param_labels: Any | Callable[[Params], Any],
    *,
    mask_compatible_extra_args: bool = False,
) -> GradientTransformationExtraArgs:
    """Apply to each group of parameters the transformation of its label.

    Args:
      transforms: label -> transformation.
      param_labels: a tree of labels that is a prefix of the parameters, or a function params -> such a tree.
      mask_compatible_extra_args: as in `masked`.
    State:   PartitionState(inner_states), a dict label -> MaskedState.
    Raises:  ValueError for a label that has no transformation, naming the leaf.
    """
    if not isinstance(transforms, Mapping):
        checks.fail(f"transforms must be a dict label -> transformation, got {checks.shown(transforms)}", TypeError)
    if len({isinstance(k, str) for k in transforms}) > 1 or None in transforms:
        checks.fail(f"labels are the keys of the state, which JAX sorts: words or numbers, got {list(transforms)}")
    members = {k: taking_extra_args(tx, f"transforms[{k!r}]") for k, tx in transforms.items()}

    def groups(over: Tree) -> dict[Any, list[bool]]:
        """label -> one bool per leaf."""
        if tree.stands_for_params(over):
            return {k: [] for k in members}
        flat = labelled_by_words(param_labels, over, "param_labels")
        for i, label in enumerate(flat):
            if label not in members:
                checks.fail(f"params{tree.paths(over)[i]} has the label {label!r}, transforms has {list(members)}")
        return {k: [label == k for label in flat] for k in members}

    def each(over: Tree) -> dict[Any, GradientTransformationExtraArgs]:
        places = tree.structure(over)
        return {
            k: masked(members[k], places.unflatten(mask), mask_compatible_extra_args=mask_compatible_extra_args)
            for k, mask in groups(over).items()
        }

    def init(params: Params) -> PartitionState:
        return PartitionState({k: tx.init(params) for k, tx in each(params).items()})

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        new = {}
        name = checks.caller()
        for k, tx in each(updates if params is None else params).items():
            with checks.speaking_of(name.member(repr(k), title(members[k], ""), lists_members=False)):
                updates, new[k] = tx.update(updates, state.inner_states[k], params, **extra_args)
        return updates, PartitionState(new)

    def member(k: Any) -> Member:
        def sees(params: Any) -> Any:
            return keep_where(groups(params)[k], params)

        return Member(str(k), members[k], lambda state: state.inner_states[k].inner_state, sees)

    return GradientTransformationExtraArgs(init, update).declaring(
        grain=coarsest(*(m.grain for m in members.values())),
        state_classes=(PartitionState,),
        members=tuple(map(member, members)),
        exact=any(m.facts.exact for m in members.values()),
    )

"""The state of a PyTorch optimizer as the state of a transformation.

These transformations, in PyTorch's arguments, give PyTorch's numbers. Put `add_decayed_weights(weight_decay)` before
them if there is weight decay.

    SGD      sgd(lr, momentum, nesterov), without dampening
    Adam     adam(lr, *betas, eps)
    AdamW    adamw(lr, *betas, eps, weight_decay=weight_decay), and no other decay
    RMSprop  chain(scale_by_rms(alpha, eps, eps_in_sqrt=False), trace(momentum), scale_by_learning_rate(lr)),
             with scale_by_stddev in place of scale_by_rms if centered, and trace where there is momentum
    Adagrad  chain(scale_by_adagrad(0.0, eps), scale_by_learning_rate(inverse_time_decay(lr, 1, lr_decay)))
    Adam with amsgrad, whose largest moment is uncorrected but meets a corrected root:
             chain(inject_hyperparams(scale_by_adam_eps_hat)(*betas, lambda n: eps * (1 - betas[1] ** (n + 1)) ** 0.5,
             amsgrad=True), scale_by_learning_rate(lr))

PyTorch is not imported: a state dict is a dict, and its tensors convert themselves to arrays.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import checks, numerics, tree
from ..core.members import Part, title, walk
from ..core.transformation import GradientTransformation, taking_extra_args
from ..tree.places import entry_name
from ..types import OptState, Params, TransformationLike
from .torch_facts import COUNTS, SLOTS, MemberArgs, disagreements
from .torch_sources import Place, Source, Sources


@checks.entrance("state_from_torch")
def state_from_torch(
    torch_state_dict: Mapping[str, Any],
    tx: TransformationLike,
    params: Params,
    mapping: Mapping[str, Any] | Callable[[str], Place],
    *,
    step: int | None = None,
    check_hyperparams: bool = True,
) -> OptState:
    """Convert the state of a PyTorch optimizer to that of `tx`, to resume training.

        state = state_from_torch(torch.load(path), optim.adam(1e-3), params, {"w": ("fc.weight", np.transpose)})

    Supported are SGD, Adam, AdamW, RMSprop and Adagrad; the head of this module lists the matching transformations.
    Other fields of the state are as `tx.init(params)` makes them, and every count of updates is PyTorch's step.

    Args:
      torch_state_dict: the result of `optimizer.state_dict()`, or of `torch.load`.
      tx: this library's transformation.
      params: the parameters of tx.
      mapping: for each leaf of params, by its path, PyTorch's name or index of the parameter, or a pair of it and a
        function from PyTorch's layout to the leaf's: {"fc/kernel": ("fc.weight", np.transpose), "fc/bias": "fc.bias"}.
        A nested dict or a function of the path works as well. Names need an optimizer made of
        `model.named_parameters()`.
      step: number of updates done, for SGD, which does not store it.
      check_hyperparams: whether to fail if an argument of tx (betas, eps, lr, ...) differs from PyTorch's.
    Raises:  ValueError naming the entry that is missing, extra, misshapen or different, with both values.
    """
    tx = taking_extra_args(tx, "tx")
    sources = Sources(torch_state_dict, params, mapping)
    fresh = tx.init(params)
    members = list(_members(tx, fresh, params))
    converted: dict[int, Any] = {}
    for at, member in enumerate(members):
        converted |= _slot_arrays(member, members[:at], sources, params)
    sources.check_all_taken()
    for member in members:
        converted |= _counts(member, sources, step)
    if check_hyperparams:
        _check_hyperparams(members, sources, step)
    return jax.tree.map(lambda x: converted.get(id(x), x), fresh)


# Members of the transformation


class _Member(NamedTuple):
    """A transformation inside `tx`, and its own members."""

    part: Part
    parts: list[Part]

    @property
    def tx(self) -> GradientTransformation:
        return self.part.tx

    @property
    def state(self) -> Any:
        return self.part.state

    @property
    def name(self) -> str:
        return title(self.tx, "a member made by hand")

    def sees(self, i: int) -> bool:
        """Whether it, or one of its members, receives leaf number i."""
        trees = [part.params for part in self.parts] or [self.part.params]
        return any(tree.flatten(params)[0][i] is not None for params in trees)


def _members(tx: GradientTransformation, state: Any, params: Params) -> Iterator[_Member]:
    """All transformations in `tx`: wrappers before their inner one, members of a chain in their order."""
    for _, part in walk(tx, state, params):
        member = _Member(part, part.parts)
        for inner in member.parts:
            if tree.structure(inner.params) != tree.structure(params):
                checks.fail(f"{member.name} changes the leaves that its members see: convert the state without it")
        yield member


def _slot_arrays(member: _Member, before: list[_Member], sources: Sources, params: Params) -> dict[int, Any]:
    """Dict from the id of each slot's array to PyTorch's values."""
    new: dict[int, Any] = {}
    for slot in member.tx.facts.slots:
        if slot not in SLOTS:
            checks.fail(f"{member.name} stores {slot}, PyTorch does not: convert the state without it, then add it")
        slot_values = getattr(member.state, slot)
        olds = [None] * len(sources.by_leaf) if slot_values is None else tree.flatten(slot_values)[0]
        for i, (source, old) in enumerate(zip(sources.by_leaf, olds, strict=True)):
            if source is None or not member.sees(i):
                continue
            if slot_values is None:  # not stored, as its decay is 0; PyTorch stores it anyway
                source.taken.update(SLOTS[slot])
                continue
            path = tree.paths(params)[i]
            value = source.take(SLOTS[slot], f"state.{slot}{path}")
            if value.shape != old.shape:
                hint = f": give ({source.name!r}, np.transpose)" if value.T.shape == old.shape else ""
                checks.fail(f"{source.name} has shape {value.shape}, state.{slot}{path} has {old.shape}{hint}")
            rate = _rate_inside(before, i) if slot == "trace" else 1.0
            new[id(old)] = numerics.placed(np.array(value * rate, old.dtype), old)
    return new


def _rate_inside(before: list[_Member], i: int) -> float:
    """Factor on PyTorch's momentum, which sums before the learning rate, if `tx` sums after it."""
    rate = 1.0
    for member in before:
        if member.name == "scale_by_learning_rate" and member.sees(i) and member.tx.call:
            rate_argument, flip = (member.tx.call.arguments[name] for name in ("learning_rate", "flip_sign"))
            if callable(rate_argument) and not checks.is_array(rate_argument):
                checks.fail("tx sums its momentum after a scheduled learning rate, PyTorch before: put trace before it")
            rate *= (-1.0 if flip else 1.0) * (1.0 if rate_argument is None else float(rate_argument))
    return rate


def _counts(member: _Member, sources: Sources, step: int | None) -> dict[int, Any]:
    """Dict from the id of each of the member's own counts of updates to PyTorch's step."""
    inside = {id(x) for part in member.parts for x in jax.tree.leaves(part.state)}
    exposed = member.tx.facts.exposes(member.state) if member.tx.facts.exposes else {}
    inside |= {id(x) for name, x in exposed.items() if name == "count"}  # declared as a count of something else
    leaves = jax.tree_util.tree_flatten_with_path(member.state)[0]
    counts = [x for path, x in leaves if id(x) not in inside and path and entry_name(path[-1]) in COUNTS]
    if not counts:
        return {}
    done = _step_of([s for i, s in sources.present() if member.sees(i)], step)
    if done is None:
        checks.fail(
            f"{member.name} counts updates, and PyTorch has no step here: give step, the number of updates done"
        )
    return {id(x): numerics.placed(np.array(done, x.dtype), x) for x in counts}


def _step_of(sources: list[Source], step: int | None) -> int | None:
    counted = [s for s in sources if s.step is not None]
    for source in counted:
        if step is not None and source.step != step:
            checks.fail(f"step is {step}, PyTorch's of {source.name} is {source.step}")
        if source.step != counted[0].step:
            checks.fail(f"PyTorch's step of {counted[0].name} is {counted[0].step}, of {source.name} {source.step}")
    return counted[0].step if counted else step


def _check_hyperparams(members: list[_Member], sources: Sources, step: int | None) -> None:
    """Compare the members that act on each leaf, in order, with its parameter group in PyTorch."""
    scheduled = {
        id(member.state.hyperparams[name])
        for member in members
        for name in getattr(member.state, "hyperparams_states", {})
    }
    for i, source in sources.present():
        chain = []
        for member in members:
            call = member.tx.call
            # Skip wrappers, whose members are in the list; a masked add_decayed_weights is a wrapper itself.
            if call and member.sees(i) and (not member.parts or call.name == "add_decayed_weights"):
                arguments = {k: v for k, v in call.arguments.items() if id(v) not in scheduled}
                chain.append(MemberArgs(str(call.name), member.tx.facts.slots, arguments))
        for difference in disagreements(chain, source.group, _step_of([source], step)):
            checks.fail(f"{difference} for {source.name}; check_hyperparams=False skips this check")

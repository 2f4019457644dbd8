"""The state of a PyTorch optimizer as the state of a transformation.

In PyTorch's words, these go on with the numbers with which PyTorch would, each with `add_decayed_weights(weight_decay)`
before it where there is weight decay:

    SGD      sgd(lr, momentum, nesterov), without dampening
    Adam     adam(lr, *betas, eps)
    AdamW    adamw(lr, *betas, eps, weight_decay=weight_decay), and no other decay
    RMSprop  chain(scale_by_rms(alpha, eps, eps_in_sqrt=False), trace(momentum), scale_by_learning_rate(lr)),
             with scale_by_stddev in place of scale_by_rms if centered, and trace where there is momentum
    Adagrad  chain(scale_by_adagrad(0.0, eps), scale_by_learning_rate(inverse_time_decay(lr, 1, lr_decay)))
    Adam with amsgrad, whose largest moment is uncorrected but meets a corrected root:
             chain(inject_hyperparams(scale_by_adam_eps_hat)(*betas, lambda n: eps * (1 - betas[1] ** (n + 1)) ** 0.5,
             amsgrad=True), scale_by_learning_rate(lr))

PyTorch is not imported: a state dict is a dict, and a tensor in it turns itself into an array.
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
from .torch_facts import COUNTS, SLOTS, Said, disagreements
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
    """The state with which `tx` goes on where a PyTorch optimizer stopped: SGD, Adam, AdamW, RMSprop, Adagrad.

    What else `tx` has is as `tx.init(params)` makes it, every count of updates at PyTorch's step. Which arguments give
    PyTorch's numbers is told at the head of this module.

    Args:
      torch_state_dict: what `optimizer.state_dict()` gave, or `torch.load` of it.
      mapping: for each leaf of params, by its path, PyTorch's name or index of the parameter, or a pair of that and a
        function from PyTorch's layout to this one: {"fc/kernel": ("fc.weight", np.transpose), "fc/bias": "fc.bias"}. A
        nested dict or a function of the path does as well. PyTorch knows names where its optimizer was made of
        `model.named_parameters()`.
      step: the number of updates done, for SGD, which does not count them.
      check_hyperparams: whether an argument of `tx` that is not PyTorch's (betas, eps, lr, ...) is an error.

    Raises:  ValueError naming what is missing, extra, misshapen, or differs, with both values.
    """
    tx = taking_extra_args(tx, "tx")
    sources = Sources(torch_state_dict, params, mapping)
    fresh = tx.init(params)
    members = list(_members(tx, fresh, params))
    new: dict[int, Any] = {}
    for at, member in enumerate(members):
        new |= _filled(member, members[:at], sources, params)
    sources.check_all_taken()
    for member in members:
        new |= _counted(member, sources, step)
    if check_hyperparams:
        _check_hyperparams(members, sources, step)
    return jax.tree.map(lambda x: new.get(id(x), x), fresh)


# What the transformation has


class _Source(NamedTuple):
    """A transformation inside the whole, and its members."""

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
        """Whether it, or one of its members, sees leaf number i."""
        trees = [part.params for part in self.parts] or [self.part.params]
        return any(tree.flatten(params)[0][i] is not None for params in trees)


def _members(tx: GradientTransformation, state: Any, params: Params) -> Iterator[_Source]:
    """All transformations in `tx`: wrappers before their inner one, members of a chain in their order."""
    for _, part in walk(tx, state, params):
        member = _Source(part, part.parts)
        for inner in member.parts:
            if tree.structure(inner.params) != tree.structure(params):
                checks.fail(f"{member.name} shows its members other leaves than params has: move the state without it")
        yield member


def _filled(member: _Source, before: list[_Source], sources: Sources, params: Params) -> dict[int, Any]:
    """id of each slot's array -> PyTorch's."""
    new: dict[int, Any] = {}
    for slot in member.tx.facts.slots:
        if slot not in SLOTS:
            checks.fail(f"{member.name} keeps {slot}, which PyTorch has not: move the state without it, then add it")
        held = getattr(member.state, slot)
        olds = [None] * len(sources.by_leaf) if held is None else tree.flatten(held)[0]
        for i, (source, old) in enumerate(zip(sources.by_leaf, olds, strict=True)):
            if source is None or not member.sees(i):
                continue
            if held is None:  # with a decay of 0 it is not kept; PyTorch keeps it all the same
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


def _rate_inside(before: list[_Source], i: int) -> float:
    """What PyTorch's momentum, which sums before the learning rate, is multiplied by where `tx` sums after it."""
    rate = 1.0
    for member in before:
        if member.name == "scale_by_learning_rate" and member.sees(i) and member.tx.call:
            given, flip = (member.tx.call.arguments[name] for name in ("learning_rate", "flip_sign"))
            if callable(given) and not checks.is_array(given):
                checks.fail("tx sums its momentum after a scheduled learning rate, PyTorch before: put trace before it")
            rate *= (-1.0 if flip else 1.0) * (1.0 if given is None else float(given))
    return rate


def _counted(member: _Source, sources: Sources, step: int | None) -> dict[int, Any]:
    """id of each of the member's own counts of updates -> PyTorch's step."""
    inside = {id(x) for part in member.parts for x in jax.tree.leaves(part.state)}
    told = member.tx.facts.exposes(member.state) if member.tx.facts.exposes else {}
    inside |= {id(x) for name, x in told.items() if name == "count"}  # it says itself that this counts something else
    found = jax.tree_util.tree_flatten_with_path(member.state)[0]
    counts = [x for path, x in found if id(x) not in inside and path and entry_name(path[-1]) in COUNTS]
    if not counts:
        return {}
    done = _step_of([s for i, s in sources.here() if member.sees(i)], step)
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


def _check_hyperparams(members: list[_Source], sources: Sources, step: int | None) -> None:
    """What every leaf meets, in order, against its group in PyTorch."""
    scheduled = {
        id(member.state.hyperparams[name])
        for member in members
        for name in getattr(member.state, "hyperparams_states", {})
    }
    for i, source in sources.here():
        chain = []
        for member in members:
            call = member.tx.call
            # A wrapper's arguments are told by its members; a mask's by what it masks.
            if call and member.sees(i) and (not member.parts or call.name == "add_decayed_weights"):
                known = {k: v for k, v in call.arguments.items() if id(v) not in scheduled}
                chain.append(Said(str(call.name), member.tx.facts.slots, known))
        for told in disagreements(chain, source.group, _step_of([source], step)):
            checks.fail(f"{told} for {source.name}; check_hyperparams=False lets it be")

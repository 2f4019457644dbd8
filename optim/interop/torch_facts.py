"""PyTorch's names for this library's slots and arguments, and where the two differ in meaning."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import checks

SLOTS: dict[str, tuple[str, ...]] = {
    "mu": ("exp_avg", "grad_avg"),
    "nu": ("exp_avg_sq", "square_avg"),
    "nu_max": ("max_exp_avg_sq",),
    "sum_of_squares": ("sum",),
    "trace": ("momentum_buffer",),
}
"""Slot name -> its possible names in the state of a PyTorch parameter."""

COUNTS = ("count", "gradient_step")
"""Fields that count updates."""

ALWAYS = {"eps_root": 0.0, "eps_in_sqrt": False, "bias_correction": False, "bias_correction_mu": True}
"""Arguments that PyTorch lacks, and the value that its rule corresponds to."""

RATES = {"scale_by_learning_rate": "learning_rate", "scale": "step_size", "scale_by_schedule": "step_size_fn"}


@dataclass(frozen=True)
class MemberArgs:
    """A member's name, slots, and those arguments whose values are certain."""

    name: str
    slots: Sequence[str]
    arguments: Mapping[str, Any]


def disagreements(chain: Sequence[MemberArgs], group: Mapping[str, Any], done: int | None) -> Iterator[str]:
    """One sentence for each difference between the members, in their order, and PyTorch's parameter group."""
    yield from _unknown_here(group)
    for member in chain:
        if any(slot in SLOTS for slot in member.slots):
            yield from _otherwise(member, group)
            for name, value in member.arguments.items():
                word, theirs = _theirs(name, member, group)
                if theirs is not None and not _equal(value, theirs):
                    yield f"{member.name} has {name}={checks.shown(value)}, PyTorch {word}={theirs}"
    yield from _rate(chain, group, done)
    yield from _decay(chain, group, done)


def _unknown_here(group: Mapping[str, Any]) -> Iterator[str]:
    if group.get("maximize"):
        yield "PyTorch has maximize=True: a transformation descends"
    if group.get("dampening"):
        yield f"PyTorch has dampening={group['dampening']}, trace has none"


def _otherwise(member: MemberArgs, group: Mapping[str, Any]) -> Iterator[str]:
    eps = member.arguments.get("eps", 0.0)
    if member.name == "scale_by_rss" and not (_equal(eps, 0) and _equal(group.get("eps", 0.0), 0)):
        yield "scale_by_rss has its eps inside the root, PyTorch outside: scale_by_adagrad(0.0, eps) has it there"
    if member.name == "scale_by_adam_eps_hat" and not _equal(eps, 0):
        yield "scale_by_adam_eps_hat adds its eps before the correction, PyTorch after it"
    if member.name == "scale_by_amsgrad":
        yield "scale_by_amsgrad keeps the largest corrected moment, PyTorch the largest uncorrected one"


def _theirs(name: str, member: MemberArgs, group: Mapping[str, Any]) -> tuple[str, Any]:
    """PyTorch's name for an argument, and its value, or None if PyTorch lacks it."""
    betas = group.get("betas", (None, None))
    if name in ("b1", "b2"):
        i = int(name[1]) - 1
        return f"betas[{i}]", betas[i]
    if name == "decay":
        name_there = "momentum" if "trace" in member.slots else "alpha"
        return name_there, group.get(name_there)
    if name in ("nesterov", "amsgrad"):
        return name, group.get(name, False)
    if name == "eps":
        return name, None if member.name == "scale_by_adam_eps_hat" else group.get(name)
    return name, ALWAYS.get(name)


def _rate(chain: Sequence[MemberArgs], group: Mapping[str, Any], done: int | None) -> Iterator[str]:
    rates = [member for member in chain if member.name in RATES]
    if not rates or any(RATES[member.name] not in member.arguments for member in rates):
        return
    ours = 1.0
    for member in rates:
        value = _at(member.arguments[RATES[member.name]], done)
        if value is None:
            return
        ours *= -value if member.arguments.get("flip_sign") else value
    theirs = float(group["lr"]) / (1 + (done or 0) * float(group.get("lr_decay", 0.0)))
    if not _equal(-ours, theirs):
        yield f"the learning rate of tx after {done} updates is {-ours:g}, PyTorch's is {theirs:g}"


def _decay(chain: Sequence[MemberArgs], group: Mapping[str, Any], done: int | None) -> Iterator[str]:
    indices = [i for i, member in enumerate(chain) if member.name == "add_decayed_weights"]
    values = [_at(chain[i].arguments.get("weight_decay"), done) for i in indices]
    theirs = group.get("weight_decay", 0.0)
    if None in values:
        return
    if not _equal(sum(v for v in values if v), theirs):
        yield f"tx adds {sum(v for v in values if v):g} of the weights, PyTorch has weight_decay={theirs}"
    moments = [i for i, member in enumerate(chain) if any(slot in SLOTS for slot in member.slots)]
    decoupled = group.get("decoupled_weight_decay", None if "betas" in group else False)
    for i, value in zip(indices, values, strict=True):
        if value and moments and decoupled is not None and decoupled != (i > moments[0]):
            where = "after" if decoupled else "before"
            yield f"PyTorch adds weight decay {where} {chain[moments[0]].name}: put add_decayed_weights there"


def _at(value: Any, done: int | None) -> float | None:
    """A number, or a schedule's value for the next update; None if the step is unknown."""
    if callable(value) and not checks.is_array(value):
        return None if done is None else float(value(np.asarray(done, np.int32)))
    return 1.0 if value is None else float(value)


def _equal(ours: Any, theirs: Any) -> bool:
    """Equal as numbers, up to a rounding to float32."""
    if isinstance(ours, str) or callable(ours):
        return bool(ours == theirs)
    return math.isclose(float(ours), float(theirs), rel_tol=1e-6)

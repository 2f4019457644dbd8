"""PyTorch's words for what this library keeps and is told, and where the two do not mean the same."""

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
"""A slot's name -> what the state of a PyTorch parameter may call it."""

COUNTS = ("count", "gradient_step")
"""Fields that count the updates."""

ALWAYS = {"eps_root": 0.0, "eps_in_sqrt": False, "bias_correction": False, "bias_correction_mu": True}
"""Arguments for which PyTorch has no word, because there is only this."""

RATES = {"scale_by_learning_rate": "learning_rate", "scale": "step_size", "scale_by_schedule": "step_size_fn"}


@dataclass(frozen=True)
class Said:
    """A member's name, slots, and those arguments of which it is known what they will be."""

    name: str
    slots: Sequence[str]
    arguments: Mapping[str, Any]


def disagreements(chain: Sequence[Said], group: Mapping[str, Any], done: int | None) -> Iterator[str]:
    """A sentence for each thing that the members, in their order, do otherwise than PyTorch's group of parameters."""
    yield from _unknown_here(group)
    for said in chain:
        if any(slot in SLOTS for slot in said.slots):
            yield from _otherwise(said, group)
            for name, value in said.arguments.items():
                word, theirs = _theirs(name, said, group)
                if theirs is not None and not _equal(value, theirs):
                    yield f"{said.name} has {name}={checks.shown(value)}, PyTorch {word}={theirs}"
    yield from _rate(chain, group, done)
    yield from _decay(chain, group, done)


def _unknown_here(group: Mapping[str, Any]) -> Iterator[str]:
    if group.get("maximize"):
        yield "PyTorch has maximize=True: a transformation descends"
    if group.get("dampening"):
        yield f"PyTorch has dampening={group['dampening']}, trace has none"


def _otherwise(said: Said, group: Mapping[str, Any]) -> Iterator[str]:
    eps = said.arguments.get("eps", 0.0)
    if said.name == "scale_by_rss" and not (_equal(eps, 0) and _equal(group.get("eps", 0.0), 0)):
        yield "scale_by_rss has its eps inside the root, PyTorch outside: scale_by_adagrad(0.0, eps) has it there"
    if said.name == "scale_by_adam_eps_hat" and not _equal(eps, 0):
        yield "scale_by_adam_eps_hat adds its eps before the correction, PyTorch after it"
    if said.name == "scale_by_amsgrad":
        yield "scale_by_amsgrad keeps the largest corrected moment, PyTorch the largest uncorrected one"


def _theirs(name: str, said: Said, group: Mapping[str, Any]) -> tuple[str, Any]:
    """PyTorch's word for an argument, and its value there, or None where there is none."""
    betas = group.get("betas", (None, None))
    if name in ("b1", "b2"):
        i = int(name[1]) - 1
        return f"betas[{i}]", betas[i]
    if name == "decay":
        word = "momentum" if "trace" in said.slots else "alpha"
        return word, group.get(word)
    if name in ("nesterov", "amsgrad"):
        return name, group.get(name, False)
    if name == "eps":
        return name, None if said.name == "scale_by_adam_eps_hat" else group.get(name)
    return name, ALWAYS.get(name)


def _rate(chain: Sequence[Said], group: Mapping[str, Any], done: int | None) -> Iterator[str]:
    rates = [said for said in chain if said.name in RATES]
    if not rates or any(RATES[said.name] not in said.arguments for said in rates):
        return
    ours = 1.0
    for said in rates:
        value = _at(said.arguments[RATES[said.name]], done)
        if value is None:
            return
        ours *= -value if said.arguments.get("flip_sign") else value
    theirs = float(group["lr"]) / (1 + (done or 0) * float(group.get("lr_decay", 0.0)))
    if not _equal(-ours, theirs):
        yield f"the learning rate of tx after {done} updates is {-ours:g}, PyTorch's is {theirs:g}"


def _decay(chain: Sequence[Said], group: Mapping[str, Any], done: int | None) -> Iterator[str]:
    found = [i for i, said in enumerate(chain) if said.name == "add_decayed_weights"]
    values = [_at(chain[i].arguments.get("weight_decay"), done) for i in found]
    theirs = group.get("weight_decay", 0.0)
    if None in values:
        return
    if not _equal(sum(v for v in values if v), theirs):
        yield f"tx adds {sum(v for v in values if v):g} of the weights, PyTorch has weight_decay={theirs}"
    moments = [i for i, said in enumerate(chain) if any(slot in SLOTS for slot in said.slots)]
    decoupled = group.get("decoupled_weight_decay", None if "betas" in group else False)
    for i, value in zip(found, values, strict=True):
        if value and moments and decoupled is not None and decoupled != (i > moments[0]):
            where = "after" if decoupled else "before"
            yield f"PyTorch adds weight decay {where} {chain[moments[0]].name}: put add_decayed_weights there"


def _at(value: Any, done: int | None) -> float | None:
    """A number, or what a schedule gives for the next update; None where that cannot be known."""
    if callable(value) and not checks.is_array(value):
        return None if done is None else float(value(np.asarray(done, np.int32)))
    return 1.0 if value is None else float(value)


def _equal(ours: Any, theirs: Any) -> bool:
    """Equal as numbers; what passed through float32 is equal too."""
    if isinstance(ours, str) or callable(ours):
        return bool(ours == theirs)
    return math.isclose(float(ours), float(theirs), rel_tol=1e-6)

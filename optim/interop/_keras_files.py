"""Optimizer weights in HDF5 files of Keras 2, converted to the order of Keras 2.2.4.

before 2.3      `iterations` if the class counts, then slot by slot; without amsgrad Adam has a third one of (1,)
2.3, 2.4 ...    `iterations` first for every class, then Nadam's product, then slot by slot, without unused slots
2.11 ...        `iteration` first, then parameter by parameter: the slot is the second word of a name
"""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import checks
from ..keras import KerasOptimizer

Values = np.ndarray[Any, Any]


@dataclass
class Saved:
    """The contents of a file: the weights in Keras 2.2.4's order, and fields that its list lacks, by name."""

    names: list[str]
    weights: list[Values]
    beside: dict[str, Values] = field(default_factory=dict)


def read(path: Any, file: Any, tx: KerasOptimizer, like: list[Values]) -> Saved:
    """The weights of `tx` in the file; `like` is Keras 2.2.4's list of them."""
    if "optimizer_weights" not in file:
        checks.fail(f"{path} has no group 'optimizer_weights': the model was saved without its optimizer", KeyError)
    saved = _saved_class(file.attrs.get("training_config"))
    if saved not in (None, tx.class_name):
        checks.fail(f"{path} has the weights of {saved}, expected those of {tx.class_name}")
    group = file["optimizer_weights"]
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in group.attrs["weight_names"]]
    return _reorder(Saved(names, [np.asarray(group[name]) for name in names]), tx, like)


def _reorder(saved: Saved, tx: KerasOptimizer, like: list[Values]) -> Saved:
    counted = "count" in tx.weights
    slots = len(tx.weights) - counted
    per_slot = (len(like) - counted) // slots
    slot_counts = {"SGD": (0, 1), "Adam": (2, 3)}.get(tx.class_name, (slots,))  # files omit slots that stay zero
    most = 2 if tx.class_name == "Nadam" else 1
    fits = [(n, k) for k in slot_counts for n in range(counted, most + 1) if n + k * per_slot == len(saved.weights)]
    if not fits:
        return saved  # `set_weights` reports the length
    n, present = fits[-1]
    first, names, weights = saved.weights[:n], saved.names[n:], saved.weights[n:]
    if n and saved.names[0].partition(":")[0] == "iteration":
        words = [name.split("/")[1] if "/" in name else name for name in names]
        order = sorted(range(len(names)), key=lambda i: words.index(words[i]))
        names, weights = [names[i] for i in order], [weights[i] for i in order]
    beside = dict(zip(("count", "momentum_product"), first, strict=False))
    weights += [np.zeros(x.shape, x.dtype) for x in like[counted + present * per_slot :]]
    if counted:
        return Saved(saved.names[:1] + names, [beside.pop("count"), *weights], beside)
    return Saved(names, weights, beside)


def _saved_class(config: Any) -> str | None:
    """The optimizer's class in the attribute `training_config`, if present."""
    if config is None:
        return None
    saved = json.loads(config.decode() if isinstance(config, bytes) else config).get("optimizer_config") or {}
    name = saved.get("class_name")
    return None if name is None else str(name).removeprefix("Custom>")

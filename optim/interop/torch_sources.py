"""The entries of a PyTorch state dict for each leaf of the parameters."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..types import Params

Values = np.ndarray[Any, Any]
Place = int | str | tuple[int | str, Callable[[Values], Any]]
"""PyTorch's index or name of a parameter, and a function from its layout to the leaf's."""


@dataclass
class Source:
    """The entries of a state dict for one parameter."""

    name: str
    turned: Callable[[Values], Any]
    slots: dict[str, Any]
    group: Mapping[str, Any]
    step: int | None = None
    taken: set[str] = field(default_factory=set)

    def take(self, words: tuple[str, ...], where: str) -> Values:
        word = next((w for w in words if w in self.slots), None)
        if word is None:
            has = ", ".join(self.slots) or "no state at all"
            checks.fail(f"{where} needs {' or '.join(words)} of {self.name}, for which PyTorch has {has}")
        if word in self.taken:
            checks.fail(f"two members of tx would take {word} of {self.name}")
        self.taken.add(word)
        return np.asarray(self.turned(_array(self.slots[word])))


def _array(x: Any) -> Values:
    """A tensor on any device as a NumPy array; bfloat16, which NumPy lacks, becomes float32."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    return np.asarray(x)


class Sources:
    """The sources of all leaves; None for leaves without a gradient, such as integers."""

    def __init__(self, state_dict: Mapping[str, Any], params: Params, mapping: Any) -> None:
        for key in ("state", "param_groups"):
            if not isinstance(state_dict, Mapping) or key not in state_dict:
                checks.fail(f"torch_state_dict must have {key!r}, as optimizer.state_dict() does", TypeError)
        states, self.groups = state_dict["state"], state_dict["param_groups"]
        group_of = {i: group for group in self.groups for i in group["params"]}
        index_of = {n: i for g in self.groups for n, i in zip(g.get("param_names", ()), g["params"], strict=False)}
        name_of = {i: str(n) for n, i in index_of.items()}
        places = _places(mapping, params)
        self.by_leaf: list[Source | None] = []
        path_of: dict[Any, str] = {}
        for path, place in places:
            if place is None:
                self.by_leaf.append(None)
                continue
            key, turned = place if isinstance(place, tuple) else (place, lambda x: x)
            index = key if key in group_of else index_of.get(key)
            if index is None:
                _unknown(key, path, index_of, len(group_of))
            if index in path_of:
                checks.fail(f"mapping has {key!r} for {path_of[index]!r} and for {path!r}")
            path_of[index] = path
            slots = {k: v for k, v in states.get(index, {}).items() if v is not None}
            step = slots.pop("step", None)
            count = None if step is None else int(_array(step))
            self.by_leaf.append(Source(name_of.get(index, repr(index)), turned, slots, group_of[index], count))
        for index, slots in states.items():
            if index not in path_of and slots:
                checks.fail(f"mapping has no path for {name_of.get(index, repr(index))}, for which PyTorch has a state")

    def present(self) -> list[tuple[int, Source]]:
        return [(i, s) for i, s in enumerate(self.by_leaf) if s is not None]

    def check_all_taken(self) -> None:
        for _, source in self.present():
            for word in source.slots:
                if word not in source.taken:
                    checks.fail(f"PyTorch has {word} of {source.name}, for which tx has no slot")


def _places(mapping: Any, params: Params) -> list[tuple[str, Any]]:
    """Pairs (path, place in PyTorch) of every leaf; None as place for leaves without a gradient."""
    leaves = [(n, p) for n, p in zip(tree.names(params), tree.flatten(params)[0], strict=True)]
    trainable = {n for n, p in leaves if p is not None and jnp.issubdtype(jnp.result_type(p), jnp.inexact)}
    if callable(mapping):
        flat = {n: mapping(n) for n in trainable}
    elif isinstance(mapping, Mapping):
        flat = dict(_flat(mapping, ""))
    else:
        checks.fail(f"mapping must be a dict or a function of the path, got {checks.shown(mapping)}", TypeError)
    for name, place in flat.items():
        if name not in trainable:
            checks.fail(f"mapping has {name!r}, params has no such leaf{checks.near(name, trainable)}")
        key, turned = place if isinstance(place, tuple) and len(place) == 2 else (place, len)
        if not (isinstance(key, int | str | None) and callable(turned)):
            words = f"mapping has {checks.shown(place)} for {name!r}, expected a name, an index, or (either, function)"
            checks.fail(words, TypeError)
    for name, _ in leaves:
        if name in trainable and flat.get(name) is None:
            checks.fail(f"mapping has no entry for params' leaf {name!r}")
    return [(n, flat.get(n)) for n, _ in leaves]


def _flat(mapping: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, place in mapping.items():
        if isinstance(place, Mapping):
            yield from _flat(place, f"{above}{name}/")
        else:
            yield f"{above}{name}", place


def _unknown(key: Any, path: str, index_of: Mapping[str, Any], n: int) -> None:
    if index_of or not isinstance(key, str):
        hint = checks.near(key, index_of) if isinstance(key, str) else ""
        checks.fail(f"mapping has {checks.shown(key)} for {path!r}, PyTorch has no such parameter{hint}")
    checks.fail(
        f"mapping has {key!r} for {path!r}, but the state dict has no names: give the index of the parameter, 0 to "
        f"{n - 1} in the order of model.parameters(), or make the optimizer of model.named_parameters()"
    )

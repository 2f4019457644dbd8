"""What is measured: the measures, and the trees and optimizers of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .libraries import CALLS, CEILING, KERNELS, LIBRARIES, LOWERABLE_OWN, OWN, PEERS, PLAIN, REFERENCE, TORCH
from .optimizers import OPTIMIZERS
from .trees import TREES


class Cell(NamedTuple):
    """One table: a measure of an optimizer on a tree, for all libraries."""

    measure: str
    tree: str
    optimizer: str

    def __str__(self) -> str:
        return f"{self.measure}, {self.tree}, {self.optimizer}"


USUAL = ("adamw", "clip+adamw")
"""The optimizers of all measures."""
STEPS = ("mlp", "resnet50", "gpt2", "thousand", "narrow")
LARGE = ("resnet50", "gpt2")
"""Trees that fit into no cache, so that the memory's bandwidth is a bound for their steps."""


@dataclass(frozen=True)
class Measure:
    """A measure: what it is, its libraries, and whether a tree and an optimizer are measured by default.

    left_out: the combinations that are not measured by default, and why.
    """

    about: str
    libraries: tuple[str, ...]
    default: Callable[[str, str], bool]
    left_out: str
    timed: bool = True


def _step(tree: str, optimizer: str) -> bool:
    if (tree, optimizer) == ("resnet50", "muon"):
        return False
    return tree in (STEPS if optimizer in USUAL else ("mlp", "resnet50"))


MEASURES = {
    "step": Measure(
        "One jitted update with donated parameters and state, over many consecutive steps.",
        LIBRARIES,
        _step,
        "other optimizers on gpt2, thousand and narrow, where they differ from adamw as on mlp and resnet50; muon on "
        "resnet50, whose time is that of its matrix products",
    ),
    "train": Measure(
        "Forward pass, backward pass and update of the tree's model, over many consecutive steps.",
        LIBRARIES,
        lambda tree, optimizer: tree in ("mlp", "narrow") and optimizer in USUAL,
        "trees without a model; other optimizers, because the model's time is the same",
    ),
    "eager": Measure(
        "The update outside jit, for libraries with an update that is separate from the step.",
        (*LOWERABLE_OWN, REFERENCE),
        lambda tree, optimizer: tree in ("mlp", "resnet50", "thousand") and optimizer in USUAL,
        "gpt2 and narrow, which have as many leaves as resnet50 and thousand; other optimizers",
    ),
    "trace": Measure(
        "Tracing and lowering the step with empty caches, as for the first step of a program.",
        (*LOWERABLE_OWN, REFERENCE, "keras"),
        lambda tree, optimizer: tree in ("mlp", "resnet50", "thousand") and optimizer in USUAL,
        "gpt2 and narrow, which have as many leaves as resnet50 and thousand; other optimizers",
    ),
    "compile": Measure(
        "Compiling the lowered step.",
        (*LOWERABLE_OWN, REFERENCE, "keras"),
        lambda tree, optimizer: (
            (tree in ("mlp", "gpt2") and optimizer in USUAL) or (tree, optimizer) == ("thousand", "adamw")
        ),
        "resnet50 and narrow, and clip+adamw on thousand, which take up to 17 s for each of 50 compilations",
    ),
    "memory": Measure(
        "The compiled step: temporary bytes and accessed bytes per parameter, and the number of kernels.",
        (*LOWERABLE_OWN, REFERENCE, "keras"),
        lambda tree, optimizer: tree in STEPS[:4] if optimizer in USUAL else (tree, optimizer) == ("resnet50", "lamb"),
        "narrow; other optimizers, of which lamb stands for those that read a leaf twice",
        timed=False,
    ),
    "floor": Measure(
        "AdamW on one leaf of the tree's size, in all ways that XLA's CPU backend can run it.",
        (*KERNELS, CEILING),
        lambda tree, optimizer: (tree, optimizer) == ("gpt2", "adamw"),
        "trees that fit into a cache",
    ),
    "call": Measure(
        "AdamW on few elements: what a call costs, and which part of it a jitted call cannot do without.",
        (*CALLS, *OWN, REFERENCE, TORCH),
        lambda tree, optimizer: tree in ("small", "mlp") and optimizer == "adamw",
        "trees whose steps take far longer than their call",
    ),
}
KINDS = {"temporary": "memory", "accessed": "memory", "kernels": "memory", **{name: name for name in MEASURES}}
"""The measure that each kind of result comes from."""
QUICK = [
    Cell("step", "mlp", "adamw"),
    Cell("step", "mlp", "clip+adamw"),
    Cell("eager", "mlp", "clip+adamw"),
    Cell("memory", "mlp", "clip+adamw"),
    Cell("trace", "mlp", "clip+adamw"),
    Cell("train", "mlp", "adamw"),
]
"""Only programs that compile quickly."""
QUICK_LIBRARIES = (PLAIN, "optim make_update", "optim pack", *PEERS[:3])


def selection(measures: Sequence[str], trees: Sequence[str], optimizers: Sequence[str]) -> list[Cell]:
    """The cells of a run. A tree or an optimizer that is named is measured, by default or not."""
    cells = []
    for measure in measures or MEASURES:
        for tree in trees or TREES:
            for optimizer in optimizers or OPTIMIZERS:
                named = bool(trees and optimizers) or MEASURES[measure].default(tree, optimizer)
                if named and (measure != "train" or TREES[tree].forward):
                    cells.append(Cell(measure, tree, optimizer))
    return sorted(cells, key=lambda cell: cell.optimizer not in USUAL)


def libraries(cell: Cell, chosen: Sequence[str]) -> list[str]:
    """The libraries of a cell, among those that are chosen. The ways of `floor` and `call` cannot be chosen."""
    names = [n for n in MEASURES[cell.measure].libraries if n in chosen or n not in LIBRARIES]
    if cell.measure == "step" and cell.tree in LARGE and OPTIMIZERS[cell.optimizer].least is not None:
        names.append(CEILING)
    return names

"""The results as ratios: the summary, and the bars."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from .cells import KINDS, MEASURES, Cell
from .libraries import CEILING, LIBRARIES, OWN, PEERS, PLAIN, REFERENCE, TORCH
from .machine import PLATFORM
from .optimizers import OPTIMIZERS
from .rounds import Result
from .trust import Spread, reason, spread

NOT_MEASURED = "not measured"


def ratio(mine: Result, other: Result) -> Spread:
    """The ratio of each round. Where `other` is zero it is 1 if `mine` is zero too, otherwise infinite."""
    pairs = zip(mine.values, other.values, strict=True)
    return spread([a / b if b else 1.0 if not a else float("inf") for a, b in pairs])


class Table:
    """The results that may be published, by measure, tree, optimizer and library, and the reasons for the others.

    refused: the reason for each table that is not published, which is one of the measures and not a kind of result.
    """

    def __init__(
        self, results: Iterable[Result], failed: Mapping[Cell, str] | None = None, *, busy: bool = False
    ) -> None:
        self.all, self.refused = list(results), dict(failed or {})
        cells: dict[Cell, list[Result]] = {}
        for r in self.all:
            cells.setdefault(cell_of(r), []).append(r)
        self.refused |= {cell: why for cell, rows in cells.items() if (why := reason(rows, busy))}
        self.results = [r for r in self.all if cell_of(r) not in self.refused]
        self._by = {(*r.cell, r.library): r for r in self.results}

    def get(self, measure: str, tree: str, optimizer: str, library: str) -> Result | None:
        return self._by.get((measure, tree, optimizer, library))

    def cells(self) -> list[Cell]:
        """The kind of result, tree and optimizer of the results."""
        return list(dict.fromkeys(Cell(*r.cell) for r in self.results))

    def ratio(self, cell: tuple[str, str, str], library: str, other: str) -> Spread | None:
        mine, others = self.get(*cell, library), self.get(*cell, other)
        return ratio(mine, others) if mine and others else None

    def share(self, cell: tuple[str, str, str], library: str) -> Spread | None:
        """The fraction of the ceiling's bandwidth that a step reaches, counting only the minimal bytes."""
        mine, top, least = self.get(*cell, library), self.get(*cell, CEILING), OPTIMIZERS[cell[2]].least
        if not (mine and top and top.moved and least) or library == CEILING:
            return None
        work = (mine.moved or least * mine.parameters) / top.moved
        return spread([work * c / t for t, c in zip(mine.values, top.values, strict=True)])


def cell_of(result: Result) -> Cell:
    """The table that a result comes from."""
    return Cell(KINDS[result.measure], result.tree, result.optimizer)


# The summary


@dataclass(frozen=True)
class Comparison:
    """The plain form of this library in one table, and the fastest form, each as ratios to the peers.

    ratios: the plain form's time by each peer's; best: the fastest form's by the fastest peer's, of which `form` and
    `peer` are the names.
    """

    cell: Cell
    ratios: dict[str, Spread]
    best: Spread
    form: str
    peer: str

    @property
    def worst(self) -> float:
        return max(s.median for s in self.ratios.values())


def comparisons(table: Table) -> list[Comparison]:
    """All tables with a peer, the largest loss first."""
    found = []
    for cell in table.cells():
        if not MEASURES[KINDS[cell.measure]].timed or cell.measure in ("floor", "call"):
            continue
        ratios = {peer: s for peer in PEERS if (s := table.ratio(cell, PLAIN, peer))}
        if ratios:
            form, peer = (_fastest(table, cell, names) for names in (OWN, PEERS))
            best = table.ratio(cell, form, peer)
            assert best is not None
            found.append(Comparison(cell, ratios, best, form, peer))
    return sorted(found, key=lambda c: -c.worst)


def _fastest(table: Table, cell: Cell, libraries: Sequence[str]) -> str:
    times = {n: spread(r.values).median for n in libraries if (r := table.get(*cell, n))}
    return min(times, key=times.__getitem__)


# The bars


@dataclass(frozen=True)
class Bar:
    """A target for a measure, and the result; `library` is the form that reached it."""

    measure: str
    bar: str
    measured: str
    library: str
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "NOT met", None: "-"}[self.met]


def bars(table: Table, facts: Mapping[str, str]) -> list[Bar]:
    """The bars of the platform; those that are not met come first, then those without a measurement."""
    return sorted(_bars(table, facts[PLATFORM].split(",")[0]), key=lambda b: {False: 0, None: 1, True: 2}[b.met])


def _bars(table: Table, platform: str) -> list[Bar]:
    if platform != "cpu":
        return [_most(table, "adamw on gpt2, of the copy's bandwidth", ("step", "gpt2", "adamw"), 0.9)]
    steps = [c for c in (*table.cells(), *table.refused) if c.measure == "step"]
    adamw = [c for c in steps if c.optimizer == "adamw"]
    return [
        *(
            _least(table, f"clip+adamw step, {t}", 0.45, [("step", t, "clip+adamw")], REFERENCE)
            for t in ("resnet50", "gpt2")
        ),
        _least(table, "adamw step, gpt2", 0.80, [("step", "gpt2", "adamw")], REFERENCE),
        _least(table, "adamw step, gpt2", 1.3, [("step", "gpt2", "adamw")], CEILING),
        _least(table, "any step, plain form", 1.05, steps, REFERENCE, [PLAIN]),
        _least(table, "adamw step, 1,000 leaves", 0.30, [("step", "thousand", "adamw")], REFERENCE),
        _least(table, "train step, 900 leaves", 0.50, [("train", "narrow", "adamw")], REFERENCE),
        _least(table, "eager clip+adamw, resnet50", 0.12, [("eager", "resnet50", "clip+adamw")], REFERENCE),
        _least(table, "trace, 1,000 leaves", 0.40, [("trace", "thousand", "adamw")], REFERENCE),
        _least(table, "compile, 1,000 leaves", 0.50, [("compile", "thousand", "adamw")], REFERENCE),
        _least(table, "adamw step, every tree", 1.0, adamw, TORCH),
    ]


def _least(
    table: Table,
    measure: str,
    bar: float,
    cells: Sequence[tuple[str, str, str]],
    other: str,
    forms: Sequence[str] = OWN,
) -> Bar:
    """The best form of each cell, of the worst cell: it must be at most `bar` times the other's.

    A bar on several cells is not met before all of them are measured.
    """
    worst: tuple[Spread, str, tuple[str, str, str]] | None = None
    for cell in sorted(cells):
        ratios = [(s, form) for form in forms if (s := table.ratio(cell, form, other))]
        if ratios:
            best = min(ratios, key=lambda x: x[0].median)
            if worst is None or best[0].median > worst[0].median:
                worst = (*best, cell)
    target = f"<= {bar:.2f} of {other}"
    if worst is None:
        return Bar(measure, target, NOT_MEASURED, "", None)
    ratio_, form, cell = worst
    where = f" ({cell[1]}, {cell[2]})" if len(cells) > 1 else ""
    if missing := sum(c in table.refused for c in cells):
        where += f", {missing} of {len(cells)} {NOT_MEASURED}"
    return Bar(measure, target, f"{ratio_}{where}", form, False if ratio_.median > bar else None if missing else True)


def _most(table: Table, measure: str, cell: tuple[str, str, str], bar: float) -> Bar:
    shares = [(s, form) for form in OWN if (s := table.share(cell, form))]
    if not shares:
        return Bar(measure, f">= {bar:.2f}", NOT_MEASURED, "", None)
    share, form = max(shares, key=lambda x: x[0].median)
    return Bar(measure, f">= {bar:.2f}", str(share), form, share.median >= bar)


# Files


def as_json(
    table: Table, facts: Mapping[str, str], distances: Mapping[str, Mapping[str, float]], skipped: Sequence[str]
) -> Any:
    """Everything that was measured, also of tables that are not published."""
    refused = [{"cell": list(cell), "reason": why} for cell, why in table.refused.items()]
    return {
        "about": dict(facts),
        "distances": {k: dict(v) for k, v in distances.items()},
        "skipped": list(skipped),
        NOT_MEASURED: refused,
        "bars": [asdict(b) for b in bars(table, facts)],
        "results": [asdict(r) for r in table.all],
    }


def from_json(data: Any) -> list[Result]:
    """The results from the output of `as_json`."""
    return [Result(**{f.name: r[f.name] for f in fields(Result)}) for r in data["results"]]


def as_csv(table: Table) -> str:
    """The raw values that are published: a line for each library of each table, with a column for each round."""
    rounds = max((len(r.values) for r in table.results), default=0)
    heads = ["measure", "tree", "optimizer", "library", "unit", "alone", *(f"round {i + 1}" for i in range(rounds))]
    lines = [",".join(heads)]
    for r in table.results:
        numbers = [f"{spread(r.alone).median:.4g}" if r.alone else "", *(f"{x:.4g}" for x in r.values)]
        lines.append(",".join([*r.cell, r.library, r.unit, *numbers, *[""] * (rounds - len(r.values))]))
    return "\n".join(lines) + "\n"


def libraries_of(table: Table, cells: Sequence[Cell]) -> list[str]:
    """The libraries with a result in any of the cells, in the order of the registry."""
    given = dict.fromkeys(r.library for r in table.results if r.cell in cells)
    known = [n for n in LIBRARIES if n in given]
    return [*known, *(n for n in given if n not in known)]

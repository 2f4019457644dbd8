"""The report: ratios, bars, tables and a chart of the results."""

import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax

from .adapters import ADAPTERS, PLAIN, REFERENCE
from .ceiling import NAME as CEILING
from .measures import ABOUT
from .optimizers import OPTIMIZERS
from .rounds import Result
from .trees import TREES

OWN = [n for n in ADAPTERS if n.startswith(PLAIN)]
TORCH = "torch fused"
PACKAGES = ("optim", "jax", "jaxlib", "numpy", "optax", "keras", "torch")
PLATFORM = "JAX runs on"
START, END = "<!-- measured -->", "<!-- end of measured -->"
"""The marks around the bars in the README."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratio(mine: Result, other: Result) -> Spread:
    """The ratio of each round. Where `other` is zero it is 1 if `mine` is zero too, otherwise infinite."""
    pairs = zip(mine.values, other.values, strict=True)
    return spread([a / b if b else 1.0 if not a else float("inf") for a, b in pairs])


class Table:
    """All results, indexed by measure, tree, optimizer and library."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.results = list(results)
        self._by = {(r.measure, r.tree, r.optimizer, r.library): r for r in self.results}

    def get(self, measure: str, tree: str, optimizer: str, library: str) -> Result | None:
        return self._by.get((measure, tree, optimizer, library))

    def cells(self) -> list[tuple[str, str, str]]:
        return list(dict.fromkeys((r.measure, r.tree, r.optimizer) for r in self.results))

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


# The bars


@dataclass(frozen=True)
class Bar:
    """A target for a measure, and the result; `library` is the form that reached it."""

    measure: str
    bar: str
    measured: str
    library: str
    met: bool | None


def bars(table: Table, platform: str) -> list[Bar]:
    """The bars of a platform."""
    if platform != "cpu":
        return [_most(table, "adamw on gpt2, of the copy's bandwidth", ("step", "gpt2", "adamw"), 0.9)]
    trees = {r.tree for r in table.results}
    cells = [(t, o) for t in trees for o in OPTIMIZERS]
    return [
        *(
            _least(table, f"clip+adamw step, {t}", 0.45, [("step", t, "clip+adamw")], REFERENCE)
            for t in ("resnet50", "gpt2")
        ),
        _least(table, "adamw step, gpt2", 0.80, [("step", "gpt2", "adamw")], REFERENCE),
        _least(table, "adamw step, gpt2", 1.3, [("step", "gpt2", "adamw")], CEILING),
        _least(table, "any step, plain form", 1.05, [("step", t, o) for t, o in cells], REFERENCE, [PLAIN]),
        _least(table, "adamw step, 1,000 leaves", 0.30, [("step", "thousand", "adamw")], REFERENCE),
        _least(table, "train step, 900 leaves", 0.50, [("train", "narrow", "adamw")], REFERENCE),
        _least(table, "eager clip+adamw, resnet50", 0.12, [("eager", "resnet50", "clip+adamw")], REFERENCE),
        _least(table, "trace, 1,000 leaves", 0.40, [("trace", "thousand", "adamw")], REFERENCE),
        _least(table, "compile, 1,000 leaves", 0.50, [("compile", "thousand", "adamw")], REFERENCE),
        _least(table, "adamw step, every tree", 1.0, [("step", t, "adamw") for t in trees], TORCH),
    ]


def _least(
    table: Table,
    measure: str,
    bar: float,
    cells: list[tuple[str, str, str]],
    other: str,
    forms: Sequence[str] = tuple(OWN),
) -> Bar:
    """The best form of each cell, of the worst cell: it must be at most `bar` times the other's."""
    worst: tuple[Spread, str, tuple[str, str, str]] | None = None
    for cell in sorted(cells):
        ratios = [(s, form) for form in forms if (s := table.ratio(cell, form, other))]
        if ratios:
            best = min(ratios, key=lambda x: x[0].median)
            if worst is None or best[0].median > worst[0].median:
                worst = (*best, cell)
    target = f"<= {bar:.2f} of {other}"
    if worst is None:
        return Bar(measure, target, "not measured", "", None)
    ratio_, form, cell = worst
    where = f" ({cell[1]}, {cell[2]})" if len(cells) > 1 else ""
    return Bar(measure, target, f"{ratio_}{where}", form, ratio_.median <= bar)


def _most(table: Table, measure: str, cell: tuple[str, str, str], bar: float) -> Bar:
    shares = [(s, form) for form in OWN if (s := table.share(cell, form))]
    if not shares:
        return Bar(measure, f">= {bar:.2f}", "not measured", "", None)
    share, form = max(shares, key=lambda x: x[0].median)
    return Bar(measure, f">= {bar:.2f}", str(share), form, share.median >= bar)


# The machine


def about() -> dict[str, str]:
    """The date, the machine without its name, and the versions."""
    facts = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "CPU": _cpu()}
    facts["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    facts["load"] = f"{os.getloadavg()[0]:.1f} over the last minute" if hasattr(os, "getloadavg") else "unknown"
    facts[PLATFORM] = f"{jax.default_backend()}, {jax.devices()[0].device_kind}"
    facts["Python"] = platform.python_version()
    facts["import optim"] = f"{_import_seconds():.2f} s after jax and chex"
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = __import__("optim").__dict__.get("__version__", "this checkout") if name == PLAIN else "none"
    return facts


def _import_seconds() -> float:
    """The median of five imports, each in a new process, with bytecode cached by an earlier import."""
    code = "import time, jax, jax.numpy, chex; t = time.perf_counter(); import optim; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        runs = [subprocess.check_output([sys.executable, "-c", code], env=env, text=True) for _ in range(6)]
    return statistics.median(map(float, runs[1:]))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.machine())


# Tables and charts


def duration(x: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if x >= size:
            return f"{x / size:.3g} {unit}"
    return f"{x / 1e-6:.2g} us"


def rows(table: Table, cell: tuple[str, str, str]) -> list[tuple[str, ...]]:
    """The rows of one measure, tree and optimizer: library, median, ratio to Optax, share of the ceiling, rounds."""
    lines = []
    for r in table.results:
        if (r.measure, r.tree, r.optimizer) != cell:
            continue
        median = spread(r.values).median
        value = duration(median) if r.unit == "s" else f"{median:.3g}"
        ratio_, share = table.ratio(cell, r.library, REFERENCE), table.share(cell, r.library)
        of_optax = "" if ratio_ is None or r.library == REFERENCE else str(ratio_)
        if r.unit != "s" and of_optax:
            of_optax = f"{ratio_.median:.2f}" if ratio_ else ""
        lines.append((r.library, value, of_optax, f"{share.median:.2f}" if share else "", str(len(r.values))))
    return lines


def verdict(bar: Bar) -> str:
    return {True: "met", False: "NOT met", None: "-"}[bar.met]


def as_json(table: Table, facts: dict[str, str], distances: dict[str, dict[str, float]], skipped: list[str]) -> Any:
    """Everything, with the values and their ratios to Optax."""
    results = []
    for r in table.results:
        ratio_ = table.ratio((r.measure, r.tree, r.optimizer), r.library, REFERENCE)
        share = table.share((r.measure, r.tree, r.optimizer), r.library)
        results.append(
            asdict(r)
            | {"ratio": asdict(ratio_) if ratio_ else None, "share_of_ceiling": asdict(share) if share else None}
        )
    targets = [asdict(b) for b in bars(table, facts[PLATFORM].split(",")[0])]
    return {"about": facts, "distances": distances, "skipped": skipped, "bars": targets, "results": results}


def from_json(data: Any) -> list[Result]:
    """The results from the output of `as_json`."""
    return [Result(**{f.name: r[f.name] for f in fields(Result)}) for r in data["results"]]


def short(table: Table, facts: dict[str, str]) -> list[str]:
    """The bars, as a table."""
    targets = bars(table, facts[PLATFORM].split(",")[0])
    lines = ["| measure | bar | measured | with | |", "|---|---|---|---|---|"]
    return lines + [f"| {b.measure} | {b.bar} | {b.measured} | {b.library} | {verdict(b)} |" for b in targets]


def into_readme(page: str, table: Table, facts: dict[str, str]) -> str:
    """Replace the text between the two marks of the page by the bars."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    on = "Measured on {date}: {CPU}, {cores} cores, jax {jax}, optax {optax}.".format_map(facts)
    picture = "![Times of each library as ratios to Optax's](benchmarks/results.png)"
    return "\n".join([before + start, on, "", *short(table, facts), "", picture, "", end + after])


def programs(table: Table) -> list[str]:
    """The kernels and bytes of the compiled AdamW steps, and the bytes of a single pass."""
    lines = []
    for tree in dict.fromkeys(r.tree for r in table.results if r.measure == "kernels"):
        counts = []
        for name in (PLAIN, REFERENCE):
            kernels, accessed = (table.get(m, tree, "adamw", name) for m in ("kernels", "accessed"))
            if kernels and accessed:
                counts.append(f"{name} {kernels.values[0]:.0f} kernels, {accessed.values[0]:.1f} bytes per parameter")
        if counts:
            leaves = len(TREES[tree].flat) if tree in TREES else 0
            least = OPTIMIZERS["adamw"].least
            lines.append(f"- {tree}, {leaves} leaves: {'; '.join(counts)}; a single pass moves {least}")
    return lines


def markdown(table: Table, facts: dict[str, str], skipped: list[str]) -> str:
    """The page RESULTS.md."""
    lines = ["# Benchmark results", "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.items()), ""]
    lines += [
        "Every round measures each library once. Ratios are taken within a round; the tables show their median and"
    ]
    lines += [
        "quartiles. Seconds depend on the machine, ratios less so. `python -m benchmarks --record` writes this page."
    ]
    lines += ["", "## Bars", "", *short(table, facts)]
    if counts := programs(table):
        lines += [
            "",
            "XLA's CPU backend compiles every output to a kernel of its own. AdamW needs three per leaf, and the",
        ]
        lines += [
            "third reads again what the other two write: 40/28 = 1.43 times the bytes of a single pass. The section"
        ]
        lines += ["`floor` shows each kernel alone, and a loop over chunks. The plain AdamW step:"]
        lines += ["", *counts]
    for measure in dict.fromkeys(c[0] for c in table.cells()):
        lines += ["", f"## {measure}", "", (ABOUT[measure].__doc__ or "").strip(), ""]
        lines += ["| tree | optimizer | library | median | of Optax | of the ceiling | rounds |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for cell in (c for c in table.cells() if c[0] == measure):
            lines += [f"| {' | '.join((*cell[1:], *row))} |" for row in rows(table, cell)]
    if skipped:
        lines += ["", "## Skipped", "", *(f"- {s}" for s in skipped)]
    return "\n".join(lines) + "\n"


def chart(table: Table, path: Path, optimizers: Sequence[str] = tuple(OPTIMIZERS)) -> None:
    """Ratios to Optax of every measure in seconds, with quartiles. Left of the line is faster than Optax."""
    from matplotlib.figure import Figure

    others = [n for n in ADAPTERS if n != REFERENCE]
    cells = [c for c in table.cells() if ABOUT[c[0]].__name__ != "memory" and c[2] in optimizers]
    cells = [c for c in cells if any(table.ratio(c, n, REFERENCE) for n in others)]
    libraries = [n for n in others if any(table.ratio(c, n, REFERENCE) for c in cells)]
    if not libraries:
        return
    figure = Figure(figsize=(9, 1.5 + 0.32 * len(cells)), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(libraries):
        points = [(y, s) for y, c in enumerate(cells) if (s := table.ratio(c, name, REFERENCE))]
        xs = [s.median for _, s in points]
        errors = [[s.median - s.low for _, s in points], [s.high - s.median for _, s in points]]
        ys = [y + 0.7 * (i / len(libraries) - 0.5) for y, _ in points]
        axes.errorbar(xs, ys, xerr=errors, fmt="o", ms=4, lw=1, label=name)
    axes.axvline(1.0, color="black", lw=0.8)
    axes.set_yticks(range(len(cells)), [", ".join(c) for c in cells], fontsize=8)
    axes.set(xscale="log", xlabel="time relative to Optax, median and quartiles")
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=len(libraries), fontsize=8)
    figure.savefig(path, dpi=120)


def show(table: Table, facts: dict[str, str]) -> None:
    """The tables on standard output."""
    from rich.console import Console
    from rich.table import Table as Grid

    # In a file the tables are not cut to a terminal's width.
    console = Console(width=None if os.isatty(1) else 140)
    for measure in dict.fromkeys(c[0] for c in table.cells()):
        grid = Grid("tree", "optimizer", "library", title=measure, title_justify="left")
        for heading in ("median", "of Optax", "of the ceiling", "rounds"):
            grid.add_column(heading, justify="right")
        for cell in (c for c in table.cells() if c[0] == measure):
            for row in rows(table, cell):
                grid.add_row(*cell[1:], *row)
            grid.add_section()
        console.print(grid)
    grid = Grid("measure", "bar", "measured", "with", "", title="bar", title_justify="left")
    for bar in bars(table, facts[PLATFORM].split(",")[0]):
        grid.add_row(bar.measure, bar.bar, bar.measured, bar.library, verdict(bar))
    console.print(grid)

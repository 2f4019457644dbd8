"""The pages: RESULTS.md, FLOOR.md, the README's table, the chart, and the tables on a terminal."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import trust
from .cells import KINDS, MEASURES, Cell
from .libraries import CALLS, CEILING, PEERS, PLAIN, REFERENCE, TORCH
from .optimizers import OPTIMIZERS
from .report import NOT_MEASURED, Comparison, Table, bars, comparisons, libraries_of
from .trees import TREES
from .trust import duration, spread

START, END = "<!-- measured -->", "<!-- end of measured -->"
"""The marks around the bars in the README."""
MEMORY = ("temporary", "accessed", "kernels")


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown."""
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def filled(text: str) -> list[str]:
    return textwrap.wrap(text, 120)


# RESULTS.md


def results(table: Table, facts: Mapping[str, str], skipped: Sequence[str]) -> str:
    """The page RESULTS.md."""
    lines = ["# Benchmark results", "", *filled("; ".join(f"{k}: {v}" for k, v in facts.items()) + "."), ""]
    lines += filled(
        "Each library runs in a process of its own, and all others are stopped while it is measured. Rounds visit "
        "every library once, in random order. Ratios are taken within a round; brackets hold their quartiles. A table "
        f"is {NOT_MEASURED} if it has fewer than {trust.ROUNDS} rounds, if the quartiles of any library are more than "
        f"a factor {trust.WIDEST} apart, if its median differs by more than a factor {trust.APART} from the time that "
        f"the library takes alone in a fresh process, or if other programs use more than {trust.OTHERS} of a "
        "processor. Such a table is measured a second time. `python -m benchmarks --record` writes this page, "
        "[the raw values](results.csv) and [the limits on a CPU](FLOOR.md)."
    )
    lines += ["", "## Summary", "", *summary(table), "", "## Bars", "", *bars_grid(table, facts)]
    for measure in (m for m in MEASURES if m not in ("floor", "call")):
        cells = [c for c in table.cells() if KINDS[c.measure] == measure]
        refused = [c for c in table.refused if c.measure == measure]
        if cells or refused:
            about, left_out = MEASURES[measure].about, MEASURES[measure].left_out
            lines += ["", f"## {measure}", "", *filled(f"{about} Left out: {left_out}."), ""]
            lines += memory(table, cells) if measure == "memory" else times(table, cells)
            lines += [f"| {c.tree} | {c.optimizer} | {NOT_MEASURED} |" for c in refused]
    if table.refused:
        lines += ["", "## Not measured", ""]
        lines += [f"- {cell}: {why}" for cell, why in table.refused.items()]
    if skipped:
        lines += ["", "## Skipped", "", *(f"- {s}" for s in skipped)]
    return "\n".join(lines) + "\n"


def summary(table: Table) -> list[str]:
    """The plain form beside each peer, losses first."""
    found = comparisons(table)
    losses = sum(c.worst > 1 for c in found)
    text = (
        f"The time of `{PLAIN}`, a jitted update, by that of each peer: above 1 the peer is faster. The last columns "
        "show the fastest form of this library by the fastest peer. The largest loss comes first. "
        f"A peer is faster than the plain form in {losses} of {len(found)} tables"
    )
    text += f"; {len(table.refused)} more are {NOT_MEASURED}." if table.refused else "."
    heads = ["measure", "tree", "optimizer", *(f"of {p}" for p in PEERS), "fastest", "with"]
    return [*filled(text), "", *grid(heads, [_row(c) for c in found])]


def _row(c: Comparison) -> list[str]:
    peers = [str(c.ratios[p]) if p in c.ratios else "" for p in PEERS]
    return [*c.cell, *peers, str(c.best), f"{c.form}, of {c.peer}"]


def bars_grid(table: Table, facts: Mapping[str, str]) -> list[str]:
    rows = [[b.measure, b.bar, b.measured, b.library, b.verdict] for b in bars(table, facts)]
    return grid(["measure", "bar", "measured", "with", ""], rows)


def times(table: Table, cells: Sequence[Cell]) -> list[str]:
    """The medians: a row for each table, a column for each library."""
    libraries = libraries_of(table, cells)
    rows = []
    for cell in cells:
        found = [table.get(*cell, n) for n in libraries]
        rows.append([cell.tree, cell.optimizer, *(duration(spread(r.values).median) if r else "" for r in found)])
    return grid(["tree", "optimizer", *libraries], rows)


def memory(table: Table, cells: Sequence[Cell]) -> list[str]:
    """The three facts of each compiled step."""
    libraries = libraries_of(table, cells)
    rows = []
    for tree, optimizer in dict.fromkeys(c[1:] for c in cells):
        row = []
        for name in libraries:
            found = [table.get(kind, tree, optimizer, name) for kind in MEMORY]
            row.append(" / ".join(f"{r.values[0]:{f}}" for r, f in zip(found, (".2f", ".1f", ".0f"), strict=True) if r))
        rows.append([tree, optimizer, *row])
    return [
        "Each entry: temporary bytes per parameter / accessed bytes per parameter / kernels.",
        "",
        *grid(["tree", "optimizer", *libraries], rows),
    ]


# FLOOR.md


def floor(table: Table, facts: Mapping[str, str]) -> str:
    """The page FLOOR.md: what cannot be had on a CPU."""
    lines = ["# The limits of AdamW on a CPU", ""]
    lines += ["Measured on {date}: {CPU}, {cores} cores, jax {jax}, optax {optax}, torch {torch}.".format_map(facts)]
    lines += ["`python -m benchmarks --record` writes this page."]
    lines += ["", "## What a call costs", "", *calls(table), "", "## What a kernel costs", "", *kernels(table)]
    return "\n".join(lines) + "\n"


def calls(table: Table) -> list[str]:
    """Few elements: the time of a step is that of its call."""
    lines = filled(
        "`jax.jit` flattens its arguments, checks each array, takes over the donated buffers, and makes an array of "
        "each result. PyTorch's step overwrites its arrays and makes none. On the tree `small`, the leaves of `mlp` "
        "with hardly an element, a step takes as long as its call. `identity` and `add one` take and return the "
        "parameters and the state of AdamW, `flat tuples` holds them in tuples, `ahead of time` calls "
        "`jit(step).lower(...).compile()`."
    )
    cells = [c for c in table.cells() if c.measure == "call"]
    for cell in cells:
        medians = {r.library: spread(r.values).median for r in table.results if r.cell == cell}
        rows = [
            [name, duration(x), str(table.ratio(cell, name, PLAIN) or ""), str(table.ratio(cell, name, TORCH) or "")]
            for name, x in medians.items()
        ]
        lines += ["", f"`{cell.tree}`:", "", *grid(["", "time", f"of {PLAIN}", f"of {TORCH}"], rows)]
        if cell.tree == "small" and {*CALLS, PLAIN, TORCH} <= set(medians):
            lines += ["", *filled(least_call(medians, len(TREES[cell.tree].flat)))]
    return lines if cells else [*lines, "", f"{NOT_MEASURED}."]


def least_call(medians: Mapping[str, float], leaves: int) -> str:
    """What a JAX library cannot do without."""
    one, identity, mine = medians["one array"], medians["identity"], medians[PLAIN]
    return (
        f"A call with one array takes {duration(one)}. The parameters and the two moments of {leaves} leaves are "
        f"{3 * leaves} arrays; each adds {duration(max(0.0, identity - one) / (3 * leaves))} although nothing is "
        f"computed. With these trees no step of JAX can take less than `identity`, {duration(identity)}: that is "
        f"{identity / medians[TORCH]:.2f} of the time of PyTorch's whole step, and {identity / mine:.2f} of that of "
        f"`{PLAIN}`."
    )


def kernels(table: Table) -> list[str]:
    """One large leaf: the time of a step is that of the memory."""
    lines = filled(
        "XLA's CPU backend compiles every output to a kernel of its own. AdamW needs three: each moment reads 8 bytes "
        "per parameter and writes 4, the parameter reads 12 and writes 4. That is 40 bytes, while a single pass moves "
        "28. If the memory is the bound, every library whose steps XLA compiles therefore takes at least 1.43 times "
        "the time of a single pass. The ceiling is such a pass, in C. The table shows each kernel alone, on one leaf, "
        "with its own bytes counted against the ceiling's. `loop of pieces` moves as many bytes as a single pass, in "
        "chunks that stay in the cache, but copies its results into place on one thread."
    )
    cells = [c for c in table.cells() if c.measure == "floor"]
    for cell in cells:
        rows = [[r.library, duration(spread(r.values).median), str(table.share(cell, r.library) or "")]
                for r in table.results if r.cell == cell]  # fmt: skip
        lines += ["", *grid([f"`{cell.tree}`", "time", "of the ceiling's bandwidth"], rows)]
    if not cells:
        lines += ["", f"{NOT_MEASURED}."]
    if programs := _programs(table):
        lines += ["", "The compiled steps of AdamW:", "", *programs]
    return lines


def _programs(table: Table) -> list[str]:
    lines = []
    for tree in dict.fromkeys(r.tree for r in table.results if r.measure == "kernels"):
        counts = []
        for name in (PLAIN, REFERENCE):
            found, accessed = (table.get(m, tree, "adamw", name) for m in ("kernels", "accessed"))
            if found and accessed:
                counts.append(f"{name} {found.values[0]:.0f} kernels, {accessed.values[0]:.1f} bytes per parameter")
        if counts:
            lines.append(f"- {tree}, {len(TREES[tree].flat)} leaves: {'; '.join(counts)}")
    return lines


# The README, the chart, the terminal


def into_readme(page: str, table: Table, facts: Mapping[str, str]) -> str:
    """Replace the text between the two marks of the page by the bars."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    on = "Measured on {date}: {CPU}, {cores} cores, jax {jax}, optax {optax}.".format_map(facts)
    picture = "![Times of each library as ratios to Optax's](benchmarks/results.png)"
    return "\n".join([before + start, on, "", *bars_grid(table, facts), "", picture, "", end + after])


def chart(table: Table, path: Path, optimizers: Sequence[str] = tuple(OPTIMIZERS)) -> None:
    """Ratios to Optax of every measure in seconds, with quartiles. Left of the line is faster than Optax."""
    from matplotlib.figure import Figure

    cells = [c for c in table.cells() if MEASURES[KINDS[c.measure]].timed and c.optimizer in optimizers]
    cells = [c for c in cells if c.measure != "call" and table.get(*c, REFERENCE)]
    libraries = [n for n in libraries_of(table, cells) if n not in (REFERENCE, CEILING)]
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


def show(table: Table) -> None:
    """The medians, and the reasons for tables that are not published, on standard output."""
    from rich.console import Console
    from rich.table import Table as Grid

    # In a file the tables are not cut to a terminal's width.
    console = Console(width=None if os.isatty(1) else 140)
    shown = Grid("measure", "tree", "optimizer", "library")
    for heading in ("median", f"of {REFERENCE}", "alone"):
        shown.add_column(heading, justify="right")
    for cell in table.cells():
        for r in (r for r in table.results if r.cell == cell):
            median = spread(r.values).median
            alone = duration(spread(r.alone).median) if r.alone else ""
            value = duration(median) if r.unit == "s" else f"{median:.3g} {r.unit}"
            shown.add_row(*cell, r.library, value, str(table.ratio(cell, r.library, REFERENCE) or ""), alone)
        shown.add_section()
    console.print(shown)
    for cell, why in table.refused.items():
        console.print(f"{cell}: {NOT_MEASURED}: {why}")

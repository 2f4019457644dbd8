"""Compare this library with Optax, Keras on JAX and PyTorch, each in a process of its own.

    python -m benchmarks                                     # everything: about an hour
    python -m benchmarks --quick                             # a selection, in under two minutes
    python -m benchmarks --trees gpt2 --optimizers adamw --measures step --rounds 50

Only one library runs at a time; the processes of the others are stopped. Each library is measured alone, in a fresh
process. Then every round measures each library once, in random order. Ratios are taken within a round; the tables show
their median and quartiles over the rounds. A table says "not measured" if it has fewer than ten rounds, if quartiles
are more than a factor 1.5 apart, if a library takes 1.2 times as long in the rounds as alone or the reverse, or if
other programs use the processors; it is then measured a second time. Before anything is timed, the libraries must
compute the same steps to 1e-5, and each compiled step must reuse its input buffers and compile only once. A library
that is not installed, or does not have an optimizer, is skipped with a reason.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import cells, machine, page, report, tables, trust
from .cells import MEASURES, Cell
from .libraries import LIBRARIES, PLAIN
from .optimizers import OPTIMIZERS
from .processes import Peer, Pool, Process, WorkerError
from .rounds import Plan, Result
from .trees import TREES

HERE = Path(__file__).parent
QUICK_SECONDS = 90.0
"""The quick run starts no table after this many seconds."""
QUICK_PLAN = Plan(rounds=10, seconds=10.0, visit=0.02, alone=3)

Start = Callable[[str, str, Path, bool], Peer]
"""Starts a worker: (library, platform, folder of shared files, whether compiled programs are kept there)."""


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan = Plan()
    for name, choices, about in (
        ("trees", TREES, ", ".join(f"{t.name}: {len(t.flat)} leaves, {t.size:,} parameters" for t in TREES.values())),
        ("optimizers", OPTIMIZERS, f"{', '.join(OPTIMIZERS)} (name trees too for tables that are left out)"),
        ("measures", MEASURES, "; ".join(f"{n}: {m.about}" for n, m in MEASURES.items())),
        ("libraries", LIBRARIES, ", ".join(LIBRARIES)),
    ):
        choice = {"nargs": "+", "choices": list(choices), "metavar": name[:-1].upper(), "default": []}
        parser.add_argument(f"--{name}", help=about, **choice)
    parser.add_argument("--rounds", type=int, default=plan.rounds, help="number of rounds (default %(default)s)")
    limit = "time limit for the rounds of one table (default %(default)s)"
    parser.add_argument("--seconds", type=float, default=plan.seconds, help=limit)
    parser.add_argument(
        "--visit", type=float, default=plan.visit, help="seconds of one library in one round (default %(default)s)"
    )
    limit = "start no table after this time; --resume measures the rest (default: no limit)"
    parser.add_argument("--minutes", type=float, default=float("inf"), help=limit)
    parser.add_argument("--seed", type=int, default=0, help="seed of the order within the rounds")
    parser.add_argument("--quick", action="store_true", help="run a fixed selection and ignore other choices")
    resume = "continue the run whose results are in the folder, without repeating its measurements"
    parser.add_argument("--resume", action="store_true", help=resume)
    busy = "accept tables that were measured beside other programs; they cannot be recorded"
    parser.add_argument("--busy", action="store_true", help=busy)
    listen = "seconds to watch for other programs before anything is measured (default %(default)s)"
    parser.add_argument("--listen", type=float, default=2.0, help=listen)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder (default %(default)s)")
    record = "also write RESULTS.md, results.csv, results.png and FLOOR.md in benchmarks, and the README's table"
    parser.add_argument("--record", action="store_true", help=record)
    options = parser.parse_args(argv)
    chosen = options.trees or options.optimizers or options.measures or options.libraries
    if options.record and (options.busy or options.quick or chosen):
        parser.error("--record needs the whole run: no --busy, no --quick and no selection")
    return options


def main(argv: Sequence[str] | None = None, start: Start = Process) -> int:
    options = parsed(argv)
    # Keras reads the first on import. JAX reads the second at start-up, and leaves device memory to other libraries.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Run(options, start, Path(folder)).run()
    return 0


class Run:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, start: Start, folder: Path) -> None:
        self.options, self.begin = options, time.perf_counter()
        self.cells = cells.QUICK if options.quick else cells.selection(
            options.measures, options.trees, options.optimizers
        )  # fmt: skip
        self.libraries = cells.QUICK_LIBRARIES if options.quick else options.libraries or LIBRARIES
        given = Plan(options.rounds, options.seconds, options.visit, seed=options.seed)
        self.plan = QUICK_PLAN if options.quick else given
        self.limit = QUICK_SECONDS if options.quick else 60 * options.minutes
        self.skip = tables.Skipped()
        self.path = options.out / "results.json"
        self.results: list[Result] = []
        self.failed: dict[Cell, str] = {}
        self.distances: dict[str, dict[str, float]] = {}
        if options.resume and self.path.exists():
            self.results = report.from_json(json.loads(self.path.read_text()))
        self.platform = "cpu"
        # Programs of the measure `compile` are compiled each time.
        self.pools = {
            cached: Pool(lambda name, cached=cached: start(name, self.platform, folder, cached))
            for cached in (True, False)
        }

    def run(self) -> None:
        try:
            device = self.pools[True].workers([PLAIN])[PLAIN].call("device")
            self.platform = "cpu" if device[0] == "cpu" else "gpu"
            self.facts = machine.about(device, imports=not self.options.quick)
            print("; ".join(f"{k}: {v}" for k, v in self.facts.items()), flush=True)
            self.listen()
            used: dict[str, set[str]] = {}
            for cell in self.pending():
                used.setdefault(cell.optimizer, set()).update(cells.libraries(cell, self.libraries))
            for optimizer, names in used.items():
                self.distances[optimizer] = tables.distances(optimizer, names, self.pools[True], self.skip)
            for _ in range(1 if self.options.quick else 2):
                self.measure(self.pending())
        finally:
            for pool in self.pools.values():
                pool.close()
        self.write()

    def listen(self) -> None:
        """Say what other programs use before anything is measured; a run to be recorded ends here."""
        load = machine.Load(self.pools[True])
        time.sleep(self.options.listen)
        if (others := load.others()) > trust.OTHERS:
            text = f"other programs use {others:.2f} processors, at most {trust.OTHERS} may be used"
            if self.options.record:
                raise SystemExit(text)
            print(text, flush=True)

    def pending(self) -> list[Cell]:
        """The tables without results, or with results that are not published."""
        done = {report.cell_of(r) for r in self.table().results}
        return [c for c in self.cells if c not in done]

    def table(self) -> report.Table:
        return report.Table(self.results, self.failed, busy=self.options.busy)

    def measure(self, pending: list[Cell]) -> None:
        for i, cell in enumerate(pending, 1):
            seconds = time.perf_counter() - self.begin
            if seconds > self.limit:
                self.failed.setdefault(cell, f"the limit of {self.limit:.0f} s was reached")
                continue
            print(f"[{i}/{len(pending)}, {seconds:.0f} s] {cell}", file=sys.stderr, flush=True)
            self.results = [r for r in self.results if report.cell_of(r) != cell]
            self.failed.pop(cell, None)
            pool = self.pools[cell.measure != "compile"]
            try:
                chosen = cells.libraries(cell, self.libraries)
                self.results += list(tables.measured(cell, chosen, pool, self.plan, self.skip))
            except WorkerError as error:
                self.failed[cell] = str(error).splitlines()[-1]
                print(error, file=sys.stderr, flush=True)
                pool.close()
            self.save()

    def save(self) -> None:
        data = report.as_json(self.table(), self.facts, self.distances, self.skip)
        self.path.write_text(json.dumps(data, indent=1))

    def write(self) -> None:
        """Write all files and print the tables."""
        self.save()
        table, out = self.table(), self.options.out
        page.show(table)
        for folder in (out, HERE) if self.options.record else (out,):
            (folder / "RESULTS.md").write_text(page.results(table, self.facts, self.skip))
            (folder / "FLOOR.md").write_text(page.floor(table, self.facts))
            (folder / "results.csv").write_text(report.as_csv(table))
            page.chart(table, folder / "results.png", ("adamw",))
        if self.options.record:
            readme = HERE.parent / "README.md"
            readme.write_text(page.into_readme(readme.read_text(), table, self.facts))
        seconds = time.perf_counter() - self.begin
        print(f"{seconds:.0f} s; results.json, results.csv, results.png, RESULTS.md and FLOOR.md are in {out}")


if __name__ == "__main__":
    sys.exit(main())

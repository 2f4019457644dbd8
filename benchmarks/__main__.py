"""Compare this library with Optax, Keras on JAX and PyTorch in one run, as ratios.

    python -m benchmarks                                     # everything: one to two hours
    python -m benchmarks --quick                             # a selection, in under two minutes
    python -m benchmarks --trees gpt2 --optimizers adamw --measures step --rounds 50

Every round measures each library once, in random order, so that disturbances affect all libraries equally. Ratios are
taken within a round; the tables show their median and quartiles over the rounds. Before anything is timed, the
libraries must compute the same steps to 1e-5, and each compiled step must reuse its input buffers and compile only
once. A library that is not installed, or does not have an optimizer, is skipped with a reason. Run on an idle machine
(see `load`): PyTorch's threads busy-wait for each other, so other processes slow it down.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import measures, report
from .adapters import ADAPTERS
from .measures import ABOUT, MEASURES
from .optimizers import OPTIMIZERS
from .rounds import Plan
from .trees import TREES

HERE = Path(__file__).parent
USUAL = ("adamw", "clip+adamw")
"""The optimizers of all measures."""
QUICK = [
    ("step", "mlp", "adamw"),
    ("step", "mlp", "clip+adamw"),
    ("train", "mlp", "adamw"),
    ("eager", "mlp", "clip+adamw"),
    ("memory", "mlp", "clip+adamw"),
    ("trace", "resnet50", "clip+adamw"),
]
"""Only programs that compile quickly."""
QUICK_SECONDS = 90.0
"""The quick run starts no table after this many seconds."""
QUICK_PLAN = Plan(rounds=7, seconds=5.0, visit=0.02)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    descriptions = "; ".join(f"{n}: {(f.__doc__ or '').strip()}" for n, f in MEASURES.items())
    plan = Plan()
    for name, choices, about in (
        ("trees", TREES, ", ".join(f"{t.name}: {len(t.flat)} leaves, {t.size:,} parameters" for t in TREES.values())),
        (
            "optimizers",
            OPTIMIZERS,
            f"{', '.join(OPTIMIZERS)} (other than {' and '.join(USUAL)}: step, and memory on resnet50)",
        ),
        ("measures", MEASURES, descriptions),
        ("libraries", ADAPTERS, ", ".join(ADAPTERS)),
    ):
        parser.add_argument(f"--{name}", nargs="+", choices=list(choices), metavar=name[:-1].upper(), help=about)
    parser.add_argument(
        "--rounds", type=int, default=plan.rounds, help="maximal number of rounds (default %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=plan.seconds,
        help="time for the rounds of one table, of which there are at least 3 (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the order within the rounds")
    parser.add_argument("--quick", action="store_true", help="run a fixed selection and ignore other choices")
    resume = "continue the run whose results are in the folder, without repeating its measurements"
    parser.add_argument("--resume", action="store_true", help=resume)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder (default %(default)s)")
    parser.add_argument(
        "--record", action="store_true", help="also write benchmarks/RESULTS.md, its chart, and the README's table"
    )
    return parser.parse_args(argv)


def selection(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(measure, tree, optimizer) of every table; the tables that the bars use come first."""
    if options.quick:
        return QUICK
    named = options.optimizers or []
    cells = []
    for measure in options.measures or MEASURES:
        for tree in options.trees or TREES:
            if measure != "train" or TREES[tree].forward:
                cells += [(measure, tree, o) for o in named or OPTIMIZERS if o in named or is_default(measure, tree, o)]
    return sorted(cells, key=lambda cell: cell[2] not in USUAL)


def is_default(measure: str, tree: str, optimizer: str) -> bool:
    """Whether a table is included when no optimizers are named: every step, and memory on one tree."""
    if (tree, optimizer) == ("gpt2", "muon"):
        return False  # a minute per step for every library, spent in the same matrix products
    if measure == "floor":
        return (tree, optimizer) == ("gpt2", "adamw")
    return optimizer in USUAL or measure == "step" or (measure, tree) == ("memory", "resnet50")


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    # Keras reads the first on import. JAX reads the second at start-up, and leaves device memory to other libraries.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    cells, libraries = selection(options), options.libraries or list(ADAPTERS)
    plan = QUICK_PLAN if options.quick else Plan(options.rounds, options.seconds, seed=options.seed)
    skipped: list[str] = []

    def skip(text: str) -> None:
        if text not in skipped:
            skipped.append(text)
            print(text, flush=True)

    start, facts = time.perf_counter(), report.about()
    print("; ".join(f"{k}: {v}" for k, v in facts.items()), flush=True)
    distances = {o: measures.distances(OPTIMIZERS[o], libraries, skip) for o in dict.fromkeys(c[2] for c in cells)}
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    results = report.from_json(json.loads(path.read_text())) if options.resume and path.exists() else []
    done = {(ABOUT[r.measure].__name__, r.tree, r.optimizer) for r in results}
    for i, (measure, tree, optimizer) in enumerate(cells, 1):
        if (measure, tree, optimizer) in done:
            continue
        if options.quick and time.perf_counter() - start > QUICK_SECONDS:
            skip(f"{optimizer}: no {measure} on {tree}: the limit of {QUICK_SECONDS:.0f} s is reached")
            continue
        progress = f"[{i}/{len(cells)}, {time.perf_counter() - start:.0f} s] {measure} {tree} {optimizer}"
        print(progress, file=sys.stderr, flush=True)
        results += MEASURES[measure](OPTIMIZERS[optimizer], TREES[tree], libraries, plan, skip)
        path.write_text(json.dumps(report.as_json(report.Table(results), facts, distances, skipped), indent=1))

    table = report.Table(results)
    report.show(table, facts)
    page = report.markdown(table, facts, skipped)
    path.write_text(json.dumps(report.as_json(table, facts, distances, skipped), indent=1))
    (options.out / "RESULTS.md").write_text(page)
    if options.record:
        (HERE / "RESULTS.md").write_text(page)
        report.chart(table, HERE / "results.png", ("adamw",))
        readme = HERE.parent / "README.md"
        readme.write_text(report.into_readme(readme.read_text(), table, facts))
    report.chart(table, options.out / "results.png")
    print(f"{time.perf_counter() - start:.0f} s; results.json, results.png and RESULTS.md are in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

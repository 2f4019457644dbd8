"""This library beside Optax, Keras on JAX and PyTorch, side by side in one run, as ratios.

    python -m benchmarks                                     # everything: an hour or two
    python -m benchmarks --quick                             # a part of it, in under two minutes
    python -m benchmarks --trees gpt2 --optimizers adamw --measures step --rounds 50

Every library is visited once in every round, each round in another order, so that what disturbs one disturbs all; a
ratio is taken within a round, and shown as its median over the rounds with quartiles. Before anything is timed the
libraries must have computed the same steps to 1e-5, and each compiled step must have overwritten the buffers it was
given and compiled nothing more. A library that is not installed, or has no such optimizer, is left out with the reason.
On a machine that others use as well, PyTorch's threads wait for each other actively: let it be quiet (see `load`).
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
"""What all measures are taken of."""
QUICK = [
    ("step", "mlp", "adamw"),
    ("step", "mlp", "clip+adamw"),
    ("train", "mlp", "adamw"),
    ("eager", "mlp", "clip+adamw"),
    ("memory", "mlp", "clip+adamw"),
    ("trace", "resnet50", "clip+adamw"),
]
"""Nothing that compiles for long."""
QUICK_SECONDS = 90.0
"""No table of the quick run begins later than this."""
QUICK_PLAN = Plan(rounds=7, seconds=5.0, visit=0.02)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    described = "; ".join(f"{n}: {(f.__doc__ or '').strip()}" for n, f in MEASURES.items())
    plan = Plan()
    for name, known, about in (
        ("trees", TREES, ", ".join(f"{t.name}: {len(t.flat)} leaves, {t.size:,} parameters" for t in TREES.values())),
        (
            "optimizers",
            OPTIMIZERS,
            f"{', '.join(OPTIMIZERS)} (other than {' and '.join(USUAL)}: step, and memory on resnet50)",
        ),
        ("measures", MEASURES, described),
        ("libraries", ADAPTERS, ", ".join(ADAPTERS)),
    ):
        parser.add_argument(f"--{name}", nargs="+", choices=list(known), metavar=name[:-1].upper(), help=about)
    parser.add_argument("--rounds", type=int, default=plan.rounds, help="at most (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=plan.seconds, help="for one table's rounds, 3 at least (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order within the rounds")
    parser.add_argument("--quick", action="store_true", help="a choice made for you; other choices are ignored")
    resumed = "go on with the run whose results are in the folder: what it has measured is not measured again"
    parser.add_argument("--resume", action="store_true", help=resumed)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder (default %(default)s)")
    parser.add_argument(
        "--record", action="store_true", help="write benchmarks/RESULTS.md, its picture, and the README's table as well"
    )
    return parser.parse_args(argv)


def chosen(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(measure, tree, optimizer) of every table there will be, those that the bars are of first."""
    if options.quick:
        return QUICK
    named = options.optimizers or []
    found = []
    for measure in options.measures or MEASURES:
        for tree in options.trees or TREES:
            if measure != "train" or TREES[tree].forward:
                found += [(measure, tree, o) for o in named or OPTIMIZERS if o in named or usual(measure, tree, o)]
    return sorted(found, key=lambda cell: cell[2] not in USUAL)


def usual(measure: str, tree: str, optimizer: str) -> bool:
    """What is measured unless optimizers are named: of all of them the step, and on one tree its memory."""
    if (tree, optimizer) == ("gpt2", "muon"):
        return False  # a minute a step, for every library, in the same matrix products
    if measure == "floor":
        return (tree, optimizer) == ("gpt2", "adamw")
    return optimizer in USUAL or measure == "step" or (measure, tree) == ("memory", "resnet50")


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    # Read where Keras is imported, and where JAX starts its backend: it shall leave others their device memory.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    cells, libraries = chosen(options), options.libraries or list(ADAPTERS)
    plan = QUICK_PLAN if options.quick else Plan(options.rounds, options.seconds, seed=options.seed)
    skipped: list[str] = []

    def say(text: str) -> None:
        if text not in skipped:
            skipped.append(text)
            print(text, flush=True)

    start, facts = time.perf_counter(), report.about()
    print("; ".join(f"{k}: {v}" for k, v in facts.items()), flush=True)
    apart = {o: measures.distances(OPTIMIZERS[o], libraries, say) for o in dict.fromkeys(c[2] for c in cells)}
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "results.json"
    results = report.from_json(json.loads(kept.read_text())) if options.resume and kept.exists() else []
    done = {(ABOUT[r.measure].__name__, r.tree, r.optimizer) for r in results}
    for i, (measure, tree, optimizer) in enumerate(cells, 1):
        if (measure, tree, optimizer) in done:
            continue
        if options.quick and time.perf_counter() - start > QUICK_SECONDS:
            say(f"{optimizer}: no {measure} on {tree}: {QUICK_SECONDS:.0f} s are over")
            continue
        told = f"[{i}/{len(cells)}, {time.perf_counter() - start:.0f} s] {measure} {tree} {optimizer}"
        print(told, file=sys.stderr, flush=True)
        results += MEASURES[measure](OPTIMIZERS[optimizer], TREES[tree], libraries, plan, say)
        kept.write_text(json.dumps(report.as_json(report.Table(results), facts, apart, skipped), indent=1))

    table = report.Table(results)
    report.show(table, facts)
    page = report.markdown(table, facts, skipped)
    kept.write_text(json.dumps(report.as_json(table, facts, apart, skipped), indent=1))
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

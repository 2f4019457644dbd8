"""Run the tests of Optax on this library.

python -m tests.reference.suite [--file WORD] [-k EXPRESSION] [--failures PATH]

The tests come with the installed Optax; stand_in.py puts `optim` in its place. Every failure needs a reason in
suite_reasons.py. The exit status is 1 if one has none, or if fewer than 95 % of the tests pass. CI does not run them:
all of them take NNN minutes on two cores.
"""

import argparse
import importlib
import inspect
import json
import os
import pkgutil
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..flags import FAST
from . import stand_in
from .suite_reasons import PRIVATE, REASONS, Reason

HOUSE = Path(__file__).parents[2]
SHARE = 0.95
Outcome = dict[str, str]  # test, outcome, message, text


def copy_tests(folder: Path, word: str) -> None:
    """Copy the test files into one folder, where pytest does not import the package around them."""
    for path in sorted(stand_in.ROOT.rglob("*_test.py")):
        name = ".".join(path.relative_to(stand_in.ROOT).with_suffix("").parts)
        if word in name:
            (folder / f"{name.replace('.', '__')}.py").write_text(path.read_text())
    (folder / "pytest.ini").write_text("[pytest]\n")  # Optax's tests know nothing of this library's settings


def outcomes(word: str, expression: str, *, real: bool) -> list[Outcome]:
    """Run the tests in new processes; `real` leaves Optax where it is."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, file = Path(scratch, "tests"), Path(scratch, "outcomes")
        folder.mkdir()
        copy_tests(folder, word)
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider"]
        command += ["-p", "tests.reference.suite_plugin", "--no-summary", "-k", expression, str(folder)]
        settings = {"XLA_FLAGS": FAST, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HOUSE)}
        settings |= {"OUTCOMES": str(file), "STAND_IN": "" if real else "optim"}
        done = subprocess.run(command, cwd=folder, env={**os.environ, **settings}, check=False)
        if done.returncode > 1 or not file.exists():
            sys.exit(f"pytest ended with {done.returncode}")
        return [json.loads(line) for line in file.read_text().splitlines()]


def public_names() -> set[str]:
    """The names in the public modules of the real Optax."""
    package = importlib.import_module("optax")
    names = [m.name for m in pkgutil.walk_packages(package.__path__, "optax.")]
    modules = [package, *(importlib.import_module(n) for n in names if "._" not in n and not n.endswith("_test"))]
    return {n for m in modules for n, x in vars(m).items() if not n.startswith("_") and not inspect.ismodule(x)}


def reason_of(failure: Outcome, public: set[str]) -> Reason | None:
    """The first reason whose pattern is in `test: message`. A private name must not be public in Optax."""
    title = f"{failure['test']}: {failure['message']}"
    for reason in REASONS:
        found = re.search(reason.pattern, title)
        if found and not (reason.kind == PRIVATE and public & set(found.groups())):
            return reason
    return None


def first_line(failure: Outcome) -> str:
    lines = [line for line in failure["message"].splitlines() if line.strip()]
    return re.sub(r" at 0x\w+", "", lines[0])[:150] if lines else failure["outcome"]


def print_table(title: str, rows: Iterable[tuple[Any, ...]]) -> None:
    print(f"\n{title}")
    for number, *words in rows:
        print(f"{number:>6}  {'  '.join(map(str, words))}")


def main(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    ran = [o for o in outcomes(args.file, args.k, real=args.real) if o["outcome"] != "skipped"]
    failures = [o for o in ran if o["outcome"] != "passed"]
    public = public_names() if failures else set()
    reasons = [reason_of(failure, public) for failure in failures]

    by_file = Counter((o["test"].partition(".py")[0], o["outcome"] == "passed") for o in ran)
    files = sorted({file for file, _ in by_file})
    print_table(
        "passed, failed", [(by_file[f, True], f"{by_file[f, False]:>6}", f.replace("__", ".", 1)) for f in files]
    )
    messages = Counter(
        (str(reason and reason.kind), first_line(o)) for o, reason in zip(failures, reasons, strict=True)
    )
    print_table("failures by message", [(n, kind, text) for (kind, text), n in messages.most_common()])
    kinds = Counter(reason.kind if reason else "without a reason" for reason in reasons)
    print_table("failures by kind", [(n, kind) for kind, n in kinds.most_common()])
    for failure, reason in zip(failures, reasons, strict=True):
        if reason is None:
            print(f"without a reason: {failure['test']}: {first_line(failure)}")
    if args.failures:
        rule = "=" * 100
        args.failures.write_text("".join(f"{rule}\n{o['test']}\n{o['text']}\n" for o in failures))
    share = 1 - len(failures) / max(len(ran), 1)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{len(ran) - len(failures)} of {len(ran)} pass: {100 * share:.1f} %")
    print(f"{time.perf_counter() - start:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processors")
    return int(None in reasons or share < SHARE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", default="", help="only the files whose names contain it, such as transforms")
    parser.add_argument("-k", default="", help="only the tests that match it, as pytest's -k")
    parser.add_argument("--failures", type=Path, help="write the failures with their tracebacks into this file")
    parser.add_argument("--real", action="store_true", help="run Optax itself, to see which tests fail there")
    sys.exit(main(parser.parse_args()))

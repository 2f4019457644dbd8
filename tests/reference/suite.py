"""Run the tests of Optax on this library.

python -m tests.reference.suite [--file alias] [-k EXPRESSION] [--failures PATH]

They come from the installed Optax, and `optim` is in its place (stand_in.py). Every failure has a reason in
suite_reasons.py: the exit status is 1 if one has none, or if fewer than 95 % pass.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ..flags import FAST
from . import stand_in

HOUSE = Path(__file__).parents[2]
SHARE = 0.95


def copies(folder: Path, word: str) -> None:
    """The test files as one flat folder, `_src.alias_test.py`, where pytest imports them without their package."""
    for path in stand_in.ROOT.rglob("*_test.py"):
        name = "__".join(path.relative_to(stand_in.ROOT).parts)
        if word in name:
            (folder / name).write_text(path.read_text())


def outcomes(word: str, chosen: list[str], real: bool) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder, file = Path(scratch, "tests"), Path(scratch, "outcomes")
        folder.mkdir()
        copies(folder, word)
        (folder / "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider"]
        command += ["-p", "tests.reference.suite_plugin", "--no-summary", *chosen, str(folder)]
        flags = {"XLA_FLAGS": FAST, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HOUSE), "OUTCOMES": str(file)}
        environment = {**os.environ, **flags, "STAND_IN": "" if real else "yes"}
        done = subprocess.run(command, cwd=folder, env=environment, check=False)
        if done.returncode > 1 or not file.exists():
            sys.exit(f"pytest ended with {done.returncode}")
        return [json.loads(line) for line in file.read_text().splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", default="", help="only the files whose names contain it")
    parser.add_argument("-k", default="", help="only the tests that match it, as pytest's -k")
    parser.add_argument("--failures", type=Path, help="write the failures with their tracebacks into this file")
    parser.add_argument("--real", action="store_true", help="run Optax itself")
    args = parser.parse_args()
    start = time.perf_counter()
    res = outcomes(args.file, ["-k", args.k] if args.k else [], args.real)
    print(Counter(r["outcome"] for r in res), time.perf_counter() - start)
    if args.failures:
        args.failures.write_text(json.dumps([r for r in res if r["outcome"] not in ("passed", "skipped")]))

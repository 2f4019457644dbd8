"""Two programs of a user's as type checkers see them, mypy and pyright: one that is right, and one that is not."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def mypy(program, folder):
    """The lines with an error, each with what is said about it."""
    options = ["--strict", "--output=json", "--config-file=", f"--cache-dir={folder}", "--python-version=3.11"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(program)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return [
        (e["line"], e["message"]) for e in found if e["severity"] == "error" and Path(e["file"]).name == program.name
    ]


def basedpyright(program, folder):
    config = folder / "pyrightconfig.json"
    settings = {
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        "include": [str(program)],
        "extraPaths": [str(ROOT)],
    }
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(config)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = json.loads(run.stdout)["generalDiagnostics"]
    return [(e["range"]["start"]["line"] + 1, e["message"]) for e in found if e["severity"] == "error"]


@pytest.fixture(params=[mypy, basedpyright], ids=lambda checker: checker.__name__, scope="module")
def check(request, tmp_path_factory):
    name = request.param.__name__
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not here: pip install 'optim[lint]'")
    folder = tmp_path_factory.mktemp(name)
    return lambda program: request.param(HERE / program, folder)


@pytest.mark.slow
def test_a_right_program_has_no_error(check):
    assert check("program.py") == []


@pytest.mark.slow
def test_every_wrong_line_is_found(check):
    lines = (HERE / "mistakes.py").read_text().splitlines()
    wrong = {i for i, line in enumerate(lines, 1) if line.endswith("# wrong")}
    found = check("mistakes.py")
    assert {line for line, _ in found} == wrong, found

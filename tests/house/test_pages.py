"""The pages for readers: their code runs, their paths exist, and they agree with the metadata and with each other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest

import optim

from .parts import PACKAGE, ROOT, fenced, prose
from .test_names import parameters, written
from .test_rooms import ROOMS

META = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = ["README.md", "CONTRIBUTING.md"]
BLOCKS = fenced("README.md", "python")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_readme_code_runs(block):
    """Each block by itself; what it registers is forgotten again."""
    known = dict(optim.core.registry._entries)
    try:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    finally:
        optim.core.registry._entries.clear()
        optim.core.registry._entries.update(known)


def test_first_program():
    program = BLOCKS[0]
    assert len([line for line in program.splitlines() if line]) == 10
    found = {}
    exec(compile(program, "README.md", "exec"), found)
    (promised,) = re.findall(r"# ends at \[(.*)\]", program)
    np.testing.assert_allclose(found["w"], [float(x) for x in promised.split(",")], atol=0.01)


def commands(page):
    return [line for block in fenced(page, "sh") for line in block.splitlines() if line]


def test_readme_commands():
    """Two lines, each complete: the example and the tests. .ci/run takes the second from the page."""
    example, test = commands("README.md")
    venv = r"python3 -m venv \.venv && \.venv/bin/pip install -e '\.\[(\w+)\]' && \.venv/bin/python (\S+)"
    for command, extra, script in ((example, "examples", "examples/digits.py"), (test, "test", "-m")):
        match = re.match(venv, command)
        assert match
        assert match.groups() == (extra, script)
        assert extra in META["project"]["optional-dependencies"]
    assert test.endswith("-m pytest -n auto")
    (pattern,) = re.findall(r"grep -E '(\^\S.*)' README\.md", (ROOT / ".ci/run").read_text())
    assert [line for line in (ROOT / "README.md").read_text().splitlines() if re.search(pattern, line)] == [test]


def test_ci_is_executable():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=False).returncode == 0


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    """Every link, and everything in backticks that looks like a path, on the page and in its commands."""
    text = prose(page)
    named = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    named += [n for n in re.findall(r"`([^`\s]+)`", text) if "/" in n or n.endswith((".py", ".md", ".toml"))]
    named += re.findall(r"(?<![\w/.])(?:examples|tests|\.ci)/[\w./]+", "\n".join(commands(page)))
    assert len(named) > 5
    assert [n for n in named if not (ROOT / n).exists()] == []


def test_lay_out_is_the_rooms():
    """CONTRIBUTING.md lists the rooms from the top, each above all that it imports."""
    listed = re.findall(r"^\| `optim/(\w+)(?:\.py|/)` \|", prose("CONTRIBUTING.md"), re.M)
    assert ["optim" if n == "__init__" else n for n in listed] == ROOMS[::-1]


def test_keras_table():
    rows = re.findall(r"^\| `(\w+)(\(.*\))` \| (.*) \|$", prose("README.md"), re.M)
    registered = {e.name.removeprefix("keras.") for e in optim.entries() if e.name.startswith("keras.")}
    registered -= {"TFOptimizer"}  # which is made of what it is given
    assert {name for name, _, _ in rows} == registered
    assert len(rows) == len(registered)
    for name, arguments, members in rows:
        signature = written(optim.lookup(f"keras.{name}").signature)
        assert signature == parameters(name + arguments[:-1] + ", *, clipnorm=None, clipvalue=None)")
        (made_of,) = getattr(optim.keras, name)().members
        assert made_of.call.name == "chain"
        assert [m.call.name for m in made_of.members] == re.findall(r"`(\w+)`", members)


def test_changelog_begins_with_this_version():
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert first
    assert first[1] == META["project"]["version"]


def test_licence():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert META["project"]["license"] == "Apache-2.0"
    assert META["project"]["license-files"] == ["LICENSE"]


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").exists()
    assert META["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["optim"]}


def sample():
    """The files of CONTRIBUTING.md's samples: path -> text."""
    blocks = dict(block.removeprefix("# ").split("\n", 1) for block in fenced("CONTRIBUTING.md", "python"))
    assert {path.split("/")[1] for path in blocks} == {
        *("__init__.py", "optimizers", "golden", "reference", "wrappers", "schedules", "interop")
    }
    return blocks


@pytest.mark.slow
def test_the_samples_pass_every_sweep(tmp_path):
    """In a copy of the repository the samples of CONTRIBUTING.md pass every test that runs over them."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv*", ".git")
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=ignored)
    for path, text in sample().items():
        if path.endswith("__init__.py"):
            old = (copy / path).read_text()
            text = re.sub(r"^(?=from \.)", lambda _, new=text: new, old, count=1, flags=re.M)
        (copy / path).write_text(text)
    # The last is a sketch: it has no extra and no test.
    (copy / "optim/interop/safetensors.py").unlink()

    def pytest_in_copy(*arguments):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        environment.pop("PYTEST_XDIST_WORKER", None)
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=540)

    chosen = [word for name in ("scale_by_qhm", "qhm", "steadied", "halving_schedule") for word in ("--factory", name)]
    alone = pytest_in_copy(*chosen)
    assert alone.returncode == 0, alone.stdout[-5000:]
    assert int(re.search(r"(\d+) passed", alone.stdout)[1]) > 70
    house = pytest_in_copy("tests/house", "-m", "not slow")
    assert house.returncode == 0, house.stdout[-5000:]

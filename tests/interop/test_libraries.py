"""Whole libraries that import Optax, with this library in its place: their numbers are those with Optax."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ..flags import FAST
from .libraries import PROGRAMS

pytest.importorskip("optax", reason="Optax is not installed")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results():
    """What tests/interop/libraries.py prints with each, in two new processes at once."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.interop.libraries"]
    environment = {**os.environ, "XLA_FLAGS": FAST, "JAX_PLATFORMS": "cpu"}
    running = {
        which: subprocess.Popen([*command, which], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for which in ("optax", "optim")
    }
    output = {which: process.communicate()[0].splitlines() for which, process in running.items()}
    assert not any(process.returncode for process in running.values())
    return {which: json.loads(lines[-1]) for which, lines in output.items()}


def close(ours, theirs):
    """To the rounding of float32 over a run, in units of the largest element."""
    x, y = ([np.asarray(v, float) for v in jax.tree.leaves(values)] for values in (ours, theirs))
    size = max(np.abs(v).max() for v in y)
    for a, b in zip(x, y, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_numbers_are_those_with_optax(name, results):
    ours, theirs = results["optim"][name], results["optax"][name]
    for found in (theirs, ours):
        if "missing" in found:
            pytest.skip(found["missing"])
        assert "error" not in found, found["error"]
    assert ours.keys() == theirs.keys()
    for key in theirs:
        close(ours[key], theirs[key])


def test_numpyro_takes_this_library_where_it_has_imported_optax(results):
    found = results["optax"]["svi"]
    if "missing" in found:
        pytest.skip(found["missing"])
    close(found["as_optax"], found["direct"])

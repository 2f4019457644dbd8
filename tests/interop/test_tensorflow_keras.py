"""`TFOptimizer` with Keras optimizers, in one process per backend because Keras sets the backend on import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="tensorflow is not installed")
pytest.importorskip("keras", reason="keras is not installed")


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras_optimizers(backend):
    script = Path(__file__).parent / f"keras_on_{backend}.py"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("passed\n")

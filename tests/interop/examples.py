"""Run the examples with other libraries, and compare them with the example with plain dicts."""

import importlib.util
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, steps=30):
    """Run an example, compare it with a run with plain dicts from the same parameters, and return its last result."""
    first, last, losses, rest = load(name).main(["--steps", str(steps)])
    plain = load("plain_trees")
    expected = plain.train(plain.as_dict(first), plain.with_dict, steps)
    assert losses[0] > 3 * losses[-1]
    np.testing.assert_allclose(losses, expected.losses, rtol=1e-4)
    for x, start, y in zip(last, first, expected.last, strict=True):
        assert np.abs(x - start).max() > 0.01
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)
    return rest

"""Every optimizer beside an implementation that is neither Optax's nor this library's: the same steps in float64.

The packages are in the extra `reference`. A factory with a formula and without a case says why where it is registered:
`register(..., exceptions={"independent": reason})`.
"""

import os
from collections import Counter

import pytest

from .independent import CASES, names_in

os.environ.setdefault("KERAS_BACKEND", "jax")


def params():
    seen = Counter()
    for c in CASES:
        missing = [] if c.is_installed() else [pytest.mark.skip(reason=f"{c.library} is not installed")]
        yield pytest.param(c, id=f"{c.theirs}-{seen[c.theirs]}", marks=missing)
        seen[c.theirs] += 1


@pytest.fixture
def float64(x64, standard_promotion):
    """PyTorch too makes its scalars in float64."""
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", list(params()))
def test_same_steps_elsewhere(case, float64):
    assert case.error() <= case.rtol


def test_every_factory_has_a_case_or_a_reason(entries):
    """Each with a formula: `golden` is the column of formulas."""
    compared = set().union(*(names_in(c.ours) for c in CASES))
    with_formula = {e.name: e for e in entries if e.kind == "transformation" and "golden" not in e.exceptions}
    alone = {name for name, e in with_formula.items() if "independent" in e.exceptions}
    assert with_formula.keys() - compared == alone


def test_every_case_is_run_where_all_packages_are():
    """A misspelt name is not a missing package."""
    libraries = {c.library for c in CASES}
    assert len(libraries) > 12
    for c in CASES:
        if c.is_installed() and c.library != "keras":
            assert callable(c.their_object())

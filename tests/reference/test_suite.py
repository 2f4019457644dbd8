"""The table of reasons for the tests of Optax that fail here (suite.py runs them, outside CI)."""

import re

import pytest

pytest.importorskip("optax", reason="Optax is a test dependency")
from . import page, stand_in, suite
from .suite_reasons import DIFFERENT, FAULT, PRIVATE, REASONS


def test_every_difference_is_on_the_page():
    rows = page.page()
    for reason in REASONS:
        assert reason.kind in (PRIVATE, DIFFERENT, FAULT)
        assert reason.kind != DIFFERENT or f"\n| {reason.text}" in rows, reason
    assert len({reason.pattern for reason in REASONS}) == len(REASONS)


def test_a_public_name_is_never_private():
    failure = {"test": "_src__utils_test.py::A::test_b", "message": "AttributeError: optax has no public name 'f' here"}
    assert suite.reason_of(failure, {"g"}).kind == PRIVATE
    assert suite.reason_of(failure, {"f"}) is None
    assert suite.reason_of({"test": "a::b", "message": "AssertionError: 1 != 2"}, set()) is None


def test_private_modules_have_the_public_names():
    module = stand_in.Private("optax._src.alias", [suite, re])
    assert module.SHARE == suite.SHARE
    assert module.compile is re.compile
    for name in ("_compiler", "stand_in", "nothing"):  # private, a module, missing
        with pytest.raises(AttributeError, match=f"optax._src.alias has no public name '{name}' here"):
            getattr(module, name)
    assert {"optax", "optax._src", "optax._src.alias", "optax.tree_utils"} <= {*stand_in.modules()}

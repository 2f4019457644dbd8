"""Settings for every test: eight CPU devices, fast compilation, strict dtype promotion. pyproject.toml turns warnings
into errors. `--factory NAME` and `--smoke` choose a part of the suite.
"""

import os

from .flags import DEVICES, FAST

chosen = os.environ.get("XLA_FLAGS", "")
added = [flag for flag in (DEVICES, *FAST.split()) if flag.partition("=")[0] not in chosen]
os.environ["XLA_FLAGS"] = " ".join([*chosen.split(), *added])
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402  JAX reads the environment when it is imported
import pytest  # noqa: E402

import optim  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")

# One factory of each kind: alias, member of a chain, whole-leaf rule, combination, wrapper, line search.
SMOKE = {
    *("adafactor", "adamw", "chain", "clip_by_global_norm", "keras.Nadam", "lbfgs", "MultiSteps"),
    *("scale_by_adam", "scale_by_muon", "schedule_free"),
}
SWEEPS = {"every", "golden", "reference"}


def pytest_addoption(parser):
    group = parser.getgroup("optim")
    group.addoption("--factory", action="append", metavar="NAME", help="only the sweeps' tests of this factory")
    group.addoption("--smoke", action="store_true", help="only tests/units and the sweeps' tests of ten factories")


def names_of(config):
    """The factories whose tests are wanted, or None for all."""
    if config.option.factory:
        return {optim.lookup(name).name for name in config.option.factory}
    return SMOKE if config.option.smoke else None


def pytest_ignore_collect(collection_path, config):
    if names_of(config) is None or collection_path.parent != config.rootpath / "tests":
        return None
    wanted = SWEEPS | ({"units"} if config.option.smoke else set())
    return True if collection_path.is_dir() and collection_path.name not in wanted else None


def pytest_generate_tests(metafunc):
    """Tests of a `column` get the rows as their argument `row`; see tests/every/rows.py."""
    for mark in metafunc.definition.iter_markers("column"):
        metafunc.parametrize("row", mark.args[0](names_of(metafunc.config)))


def has_row(item):
    """Not so for a column that none of the chosen rows is in."""
    return not item.get_closest_marker("column") or hasattr(item.callspec.params["row"], "entry")


def pytest_collection_modifyitems(config, items):
    """With --factory, only tests that take a row, or a fixture with the chosen entries."""
    if config.option.factory:
        kept = [item for item in items if {"row", "entries", "names"} & set(item.fixturenames) and has_row(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(scope="session")
def names(request):
    """The names of all registered factories, or of the chosen ones."""
    return sorted(names_of(request.config) or {e.name for e in optim.entries()})


@pytest.fixture(scope="session")
def entries(names):
    """The entries of these names."""
    return [optim.lookup(name) for name in names]


@pytest.fixture
def standard_promotion():
    """JAX's default promotion of dtypes, for other libraries that count on it."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def x64():
    """Arrays of Python numbers are float64 and int64."""
    with jax.enable_x64(True):
        yield

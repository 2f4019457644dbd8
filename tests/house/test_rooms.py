"""Who may import whom, and what an import of the library brings with it."""

import graphlib
import os
import subprocess
import sys
import tomllib

from ..every.rows import check_all
from .parts import MODULES, ROOT, imports, room

ROOMS = [  # from the bottom up: a room imports only from rooms before it
    "types",
    "checks",
    "hints",
    "numerics",
    "distributions",
    "tree",
    "tree_utils",
    "matrix",
    "projections",
    "assignment",
    "second_order",
    "perturbations",
    "microbatching",
    "core",
    "lift",
    "combine",
    "portable",
    "schedules",
    "losses",
    "transforms",
    "optimizers",
    "wrappers",
    "linesearch",
    "contrib",
    "experimental",
    "sharding",
    "step",
    "keras",
    "interop",
    "optim",
]
THIRD_PARTY = {"jax", "jaxlib", "chex", "numpy"}  # numpy comes with jax
LAZY = {
    "keras": {"keras", "h5py"},
    "_keras_optimizer": {"keras"},
    "optax": {"optax"},
    "tensorflow": {"tensorflow", "keras"},
    "torch": {"torch"},
}
"""What a module may import of other libraries, by the last part of its name."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_room_is_known():
    assert {room(m) for m in MODULES} == set(ROOMS)


def test_imports_go_strictly_down():
    def check(module):
        mine = room(module)
        for imported in imports(module):
            if imported.split(".")[0] == "optim":
                other = room(imported)
                below = other == mine or ROOMS.index(other) < ROOMS.index(mine)
                assert below, f"{module} imports {imported}, which is above"

    check_all(MODULES, check)


def test_a_room_has_no_cycle():
    def check(name):
        inside = {m: {i for i in imports(m) if i in MODULES and room(i) == name} for m in MODULES if room(m) == name}
        for module, imported in inside.items():
            assert module not in imported
        graphlib.TopologicalSorter(inside).prepare()  # raises CycleError with the cycle

    check_all(ROOMS, check)


def test_third_parties():
    def check(module):
        others = {i.split(".")[0] for i in imports(module)} - sys.stdlib_module_names - {"optim"}
        lazy = LAZY.get(module.rpartition(".")[2], set()) if room(module) in ("keras", "interop") else set()
        assert others <= THIRD_PARTY | lazy

    check_all(MODULES, check)


def test_dependencies_are_the_third_parties():
    declared = {d.split(">=")[0] for d in PROJECT["dependencies"]}
    assert declared == THIRD_PARTY - {"numpy"}
    assert all(">=" in d for d in PROJECT["dependencies"])


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The code in an interpreter of its own, in the repository."""
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def test_import_brings_nothing_else():
    """Everything that importing optim loads, importing its dependencies alone loads as well."""
    loaded = "; import sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    with_optim, without = (
        set(python(f"import {what}{loaded}").stdout.split())
        for what in ("optim", "jax, jax.numpy, jax.extend.core.primitives, chex")
    )
    assert "optim" in with_optim
    assert with_optim - without - {"optim"} <= sys.stdlib_module_names
    assert not with_optim & {"sklearn", "matplotlib", "optax", "rich", "flax", "keras", "tensorflow", "torch", "pytest"}


def test_import_starts_no_backend():
    """On a platform that does not exist JAX fails as soon as it is asked for a device."""
    nowhere = {"JAX_PLATFORMS": "nowhere", "XLA_FLAGS": ""}
    asked = python("import jax.numpy as jnp; jnp.zeros(())", **nowhere)
    assert asked.returncode != 0
    assert "nowhere" in asked.stderr
    imported = python("import optim; optim.chain(optim.clip(1.0), optim.adam(0.1))", **nowhere)
    assert imported.returncode == 0, imported.stderr

"""The benchmarks measure what they say: the real trees, the same steps, reused buffers, one compilation."""

import json
import math

import jax
import numpy as np
import pytest

from benchmarks import __main__ as command, calls, ceiling, floor, libraries, machine, measures, report, tables
from benchmarks.adapters import ADAPTERS
from benchmarks.cells import Cell
from benchmarks.optimizers import OPTIMIZERS, warm_up_cosine
from benchmarks.processes import Pool
from benchmarks.rounds import Plan
from benchmarks.trees import TINY, TREES

from .workers import Local

pytestmark = pytest.mark.usefixtures("standard_promotion")
MINE_AND_OPTAX = ["optim", "optax"]
FACTS = {"date": "1970-01-01", "CPU": "abacus", "cores": "1", "jax": "0", "optax": "0", "torch": "0"}
FACTS[machine.PLATFORM] = "cpu, cpu"
STEP = Cell("step", "tiny", "adamw")
ONE_VISIT = Plan(rounds=1, visit=0.0, alone=1)


@pytest.mark.parametrize(
    ("name", "leaves", "parameters"),
    [("resnet50", 161, 25_557_032), ("gpt2", 148, 124_439_808), ("thousand", 1_000, 1_000_000), ("narrow", 900, None)],
)
def test_trees_are_the_real_ones(name, leaves, parameters):
    tree = TREES[name]
    assert len(tree.flat) == leaves
    assert parameters in (tree.size, None)


@pytest.mark.parametrize("name", list(TREES))
def test_leaves_are_in_the_order_of_jax(name):
    tree = TREES[name]
    assert jax.tree.leaves(tree.unflatten(list(range(len(tree.flat))))) == list(range(len(tree.flat)))
    assert tree.flat == jax.tree.leaves(tree.shapes, is_leaf=lambda x: isinstance(x, tuple))


def test_large_trees_are_shared_in_a_file(tmp_path, monkeypatch):
    from benchmarks import trees

    expected = [np.array(x) for x in (*TINY.params(), *TINY.grads())]
    monkeypatch.setattr(trees, "LARGE", 1)
    monkeypatch.setenv(trees.FOLDER, str(tmp_path))
    for _ in range(2):  # the second time from the file
        for got, x in zip((*TINY.params(), *TINY.grads()), expected, strict=True):
            np.testing.assert_array_equal(got, x)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny-grads.npy", "tiny-params.npy"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The output of a run on a tiny tree, with one measure of each kind, and without the checks of its times."""
    patch = pytest.MonkeyPatch()
    patch.setattr(machine, "about", lambda device, imports: FACTS)
    patch.setattr(report, "reason", lambda rows, busy: "")
    out = tmp_path_factory.mktemp("out")
    plan = ["--rounds", "1", "--visit", "0", "--listen", "0.1", "--out", str(out)]
    selection = ["--trees", "tiny", "--optimizers", "adamw", "--measures", "step", "trace", "memory"]
    try:
        with jax.numpy_dtype_promotion("standard"):
            assert command.main([*selection, *plan, "--libraries", *MINE_AND_OPTAX], Local) == 0
    finally:
        patch.undo()
    return out


def test_json(written):
    data = json.loads((written / "results.json").read_text())
    assert set(data) == {"about", "distances", "skipped", "not measured", "bars", "results"}
    assert 0 < data["distances"]["adamw"]["optim"] < 1e-5
    assert 0 < data["distances"]["adamw"]["ceiling"] < 1e-5
    by = {(r["measure"], r["library"]): r for r in data["results"]}
    kinds = ("step", "trace", "temporary", "accessed", "kernels")
    assert by.keys() == {(m, n) for m in kinds for n in MINE_AND_OPTAX}
    for (measure, _), r in by.items():
        assert (r["tree"], r["optimizer"], r["parameters"]) == ("tiny", "adamw", TINY.size)
        assert len(r["values"]) == 1
        assert r["values"][0] > 0 or measure == "temporary"
        assert len(r["alone"]) in ((3, 4, 5) if r["unit"] == "s" else (0,))


def test_page_and_chart(written):
    page = (written / "RESULTS.md").read_text()
    assert "| tiny | adamw |" in page
    assert "- tiny, 4 leaves: optim" in (written / "FLOOR.md").read_text()
    assert (written / "results.png").read_bytes().startswith(b"\x89PNG")


def test_the_versions_are_those_installed():
    facts = machine.about(("cpu", "cpu"), imports=False)
    assert facts["jax"] == jax.__version__
    assert facts.keys() >= {"date", "CPU", "cores", "optax", machine.PLATFORM}


# The steps


def distances(names):
    skipped = tables.Skipped()
    return tables.distances("adamw", names, Pool(Local), skipped), skipped


def test_a_wrong_step_stops_the_run(monkeypatch):
    class Wrong(type(ADAPTERS["optim"])):
        def step(self, rule, params, state, grads):
            params, state = super().step(rule, params, state, grads)
            return jax.tree.map(lambda p: p * 1.0001, params), state

    monkeypatch.setitem(ADAPTERS, "optim", Wrong("optim", "optim"))
    with pytest.raises(AssertionError, match=r"adamw: optim is .* from optax"):
        distances(["optim"])


def measured(cell, names, skip=None):
    return list(tables.measured(cell, names, Pool(Local), ONE_VISIT, tables.Skipped() if skip is None else skip))


def test_a_step_that_keeps_its_buffers_stops_the_run(monkeypatch):
    class WithoutDonation(type(ADAPTERS["optim"])):
        def program(self, rule, step, loss):
            return jax.jit(step)

    monkeypatch.setitem(ADAPTERS, "optim", WithoutDonation("optim", "optim"))
    with pytest.raises(AssertionError, match="did not reuse its buffers"):
        measured(STEP, ["optim"])


def test_a_retraced_step_stops_the_run(monkeypatch):
    class Retracing(type(ADAPTERS["optim"])):
        def program(self, rule, step, loss):
            return lambda *args: jax.jit(lambda *x: step(*x), donate_argnums=(0, 1))(*args)

    monkeypatch.setitem(ADAPTERS, "optim", Retracing("optim", "optim"))
    with pytest.raises(AssertionError, match="step, tiny, adamw: optim: the second step was retraced"):
        measured(STEP, ["optim"])


def test_missing_optimizers_are_reported():
    skipped = tables.Skipped()
    assert measured(STEP._replace(optimizer="lamb"), ["optim pack"], skipped) == []
    assert [s for s in skipped if s.startswith("lamb: no optim pack: ")] == skipped
    assert skipped


def test_arrays_that_are_not_resident_are_loaded_for_each_visit(monkeypatch):
    monkeypatch.setattr(tables, "available", lambda: 0.0)
    loads = []
    original = libraries.adapters("optax")["optax"].start
    monkeypatch.setattr(type(ADAPTERS["optax"]), "start", lambda *args: loads.append(1) or original(*args[1:]))
    (result,) = tables.measured(STEP, ["optax"], Pool(Local), Plan(rounds=2, visit=0.0, alone=1), tables.Skipped())
    assert len(result.values) == 2
    assert len(loads) == 1 + 1 + 2  # alone, to check the steps, and for each round


def test_torch_schedule_is_that_of_optax():
    import optax

    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 100, 10_000)
    for count in (0, 1, 99, 100, 5_000, 10_000, 20_000):
        assert math.isclose(warm_up_cosine(count), float(schedule(count)), rel_tol=1e-5, abs_tol=1e-6)


# What cannot be had


def test_ceilings_in_c_and_numpy_agree():
    runs = [r for r in (ceiling.compiled(), ceiling.chunked) if r]
    results = []
    for run in runs:
        arrays = [np.linspace(0.1, 1, 100, dtype=np.float32) * k for k in (1, 2, 0, 0)]
        run(*arrays, 0, 100, 0.1, 10.0, 1000.0, 1e-8, 0.01)
        results.append(arrays)
    for arrays in results:
        np.testing.assert_allclose(arrays[0], np.linspace(0.1, 1, 100) * 0.999 - 0.1, atol=3e-7)
        np.testing.assert_allclose(arrays[2], np.linspace(0.02, 0.2, 100), rtol=1e-6)


def test_the_floor_computes_one_step():
    """The loop over chunks gives the result of the three kernels."""
    results = {}
    for name, way in floor.ADAPTERS.items():
        session = way.on(TINY, piece=16)
        session.load()
        before = session.buffers()
        session.step()
        assert session.reused(before)
        results[name] = dict(zip(session.returned, session.parameters(), strict=True))
    for n in "pmv":
        assert results["three kernels"][n].size == 64
        np.testing.assert_array_equal(results["loop of pieces"][n], results["three kernels"][n])
    np.testing.assert_allclose(results["three kernels"]["m"].mean(), 0.5, atol=0.1)


def test_calls_have_the_arguments_of_a_step():
    """Other ways to call the step compute it; the others take and return as many arrays, or one."""
    sessions = {n: libraries.session(n, OPTIMIZERS["adamw"], TINY) for n in ("optim", *calls.ADAPTERS)}
    before, after, arrays = TINY.params(), {}, {}
    for name, session in sessions.items():
        session.load()
        assert measures.check(session), f"{name} does not reuse its buffers"
        after[name], arrays[name] = session.parameters(), len(session.buffers())
    for name, change in (("identity", 0), ("add one", 2)):
        for got, p in zip(after[name], before, strict=True):
            np.testing.assert_allclose(got, p + change, rtol=1e-6)
    for name in ("ahead of time", "flat tuples"):
        for got, expected, p in zip(after[name], after["optim"], before, strict=True):
            np.testing.assert_array_equal(got, expected)
            assert (got != p).any()
    assert arrays.pop("one array") == 1
    assert set(arrays.values()) == {3 * len(TINY.flat) + 1}


def test_kernels_of_a_program():
    program = """HloModule m
%inner (a: f32[2]) -> f32[2] {
  ROOT %x = f32[2]{0} add(%a, %a)
}
ENTRY %main (a: f32[2]) -> (f32[2], f32[]) {
  %a = f32[2]{0} parameter(0)
  %f = f32[2]{0} fusion(%a), kind=kLoop, calls=%inner
  %g = (f32[2]{0}, f32[]) custom-call(%f), custom_call_target="x"
  %h = f32[2]{0} get-tuple-element(%g), index=0
  ROOT %t = (f32[2]{0}, f32[]) tuple(%f, %h)
}"""
    assert measures.kernels(program) == 2

"""The comparison with other libraries: that it runs, and that its arithmetic is right. Nothing here is timed."""

import json
import math

import jax
import numpy as np
import pytest

from benchmarks import __main__ as command, ceiling, floor, measures, report
from benchmarks.adapters import ADAPTERS
from benchmarks.optimizers import OPTIMIZERS, warm_up_cosine
from benchmarks.report import Spread, Table
from benchmarks.rounds import Plan, Result, interleave
from benchmarks.trees import TINY, TREES

pytestmark = pytest.mark.usefixtures("standard_promotion")
MINE_AND_OPTAX = ["optim", "optax"]


@pytest.mark.parametrize(
    ("name", "leaves", "parameters"),
    [("resnet50", 161, 25_557_032), ("gpt2", 148, 124_439_808), ("thousand", 1_000, 1_000_000), ("narrow", 900, None)],
)
def test_trees_are_the_real_ones(name, leaves, parameters):
    tree = TREES[name]
    assert len(tree.flat) == leaves
    assert parameters in (tree.size, None)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What a run over a tiny tree writes, of one measure of each kind."""
    patch = pytest.MonkeyPatch()
    patch.setitem(command.TREES, "tiny", TINY)
    out = tmp_path_factory.mktemp("out")
    plan = ["--rounds", "1", "--seconds", "0", "--out", str(out)]
    chosen = ["--trees", "tiny", "--optimizers", "adamw", "--measures", "step", "trace", "memory"]
    try:
        with jax.numpy_dtype_promotion("standard"):
            assert command.main([*chosen, *plan, "--libraries", *MINE_AND_OPTAX]) == 0
    finally:
        patch.undo()
    return out


def test_a_run_is_resumed(written, monkeypatch, capsys):
    """What has been measured is not measured again, and is in what is written."""
    before = json.loads((written / "results.json").read_text())["results"]
    monkeypatch.setitem(command.TREES, "tiny", TINY)
    monkeypatch.setattr(measures, "interleave", None)
    chosen = ["--trees", "tiny", "--optimizers", "adamw", "--measures", "step", "trace", "memory"]
    assert command.main([*chosen, "--libraries", *MINE_AND_OPTAX, "--out", str(written), "--resume"]) == 0
    assert json.loads((written / "results.json").read_text())["results"] == before
    assert "step tiny" not in capsys.readouterr().err


def test_json(written):
    found = json.loads((written / "results.json").read_text())
    assert set(found) == {"about", "distances", "skipped", "bars", "results"}
    assert found["about"].keys() >= {"date", "CPU", "cores", "jax", "optax"}
    assert 0 < found["distances"]["adamw"]["optim"] < 1e-5
    assert 0 < found["distances"]["adamw"]["ceiling"] < 1e-5
    by = {(r["measure"], r["library"]): r for r in found["results"]}
    kinds = ("step", "trace", "temporary", "accessed", "kernels")
    assert by.keys() == {(m, n) for m in kinds for n in MINE_AND_OPTAX} | {("step", "ceiling")}
    for (measure, _), r in by.items():
        assert (r["tree"], r["optimizer"], r["parameters"]) == ("tiny", "adamw", TINY.size)
        assert len(r["values"]) == 1
        assert r["values"][0] > 0 or measure == "temporary"
    for kind in ("step", "trace"):
        mine, other = by[kind, "optim"], by[kind, "optax"]
        assert mine["ratio"]["median"] == mine["values"][0] / other["values"][0]
    top, mine = by["step", "ceiling"], by["step", "optim"]
    assert top["moved"] == 28 * TINY.size
    assert mine["share_of_ceiling"]["median"] == top["values"][0] / mine["values"][0]


def test_page_and_chart(written):
    page = (written / "RESULTS.md").read_text()
    assert "| tiny | adamw | optim |" in page
    assert (written / "results.png").read_bytes().startswith(b"\x89PNG")


def known(library, values, *, measure="step", tree="gpt2", optimizer="adamw", moved=None):
    return Result(measure, tree, optimizer, library, "s", values, parameters=100, moved=moved)


def test_ratio_is_taken_within_the_round():
    mine, other = known("optim", [1.0, 20.0, 3.0, 8.0, 5.0]), known("optax", [2.0, 10.0, 12.0, 8.0, 10.0])
    assert report.ratio(mine, other) == Spread(0.5, 0.5, 1.0)
    assert Table([mine, other]).ratio(("step", "gpt2", "adamw"), "optim", "optax") == Spread(0.5, 0.5, 1.0)


def test_share_of_the_ceiling_counts_bytes():
    """clip+adamw must move 32 bytes where the ceiling moves 28."""
    mine = known("optim", [2.0, 4.0], optimizer="clip+adamw")
    top = known("ceiling", [1.0, 2.0], optimizer="clip+adamw", moved=2800)
    assert Table([mine, top]).share(("step", "gpt2", "clip+adamw"), "optim").median == pytest.approx(0.5 * 32 / 28)


def bar_of(results, measure, bar):
    (found,) = [b for b in report.bars(Table(results), "cpu") if (b.measure, b.bar) == (measure, bar)]
    return found


def test_bar_takes_the_best_form_on_the_worst_tree():
    results = [
        *(known(n, [x], tree="gpt2") for n, x in (("optim", 3.0), ("optim packed", 1.0), ("torch fused", 2.0))),
        *(known(n, [x], tree="mlp") for n, x in (("optim", 3.0), ("optim packed", 5.0), ("torch fused", 2.0))),
    ]
    found = bar_of(results, "adamw step, every tree", "<= 1.00 of torch fused")
    assert (found.library, found.met) == ("optim", False)
    assert found.measured == "1.50 [1.50, 1.50] (mlp, adamw)"
    assert bar_of(results[:3], found.measure, found.bar).met is True


def test_bar_on_any_step_is_the_plain_forms():
    results = [known(n, [x]) for n, x in (("optim", 1.1), ("optim packed", 0.5), ("optax", 1.0))]
    found = bar_of(results, "any step, plain form", "<= 1.05 of optax")
    assert (found.library, found.met) == ("optim", False)


def test_bar_without_a_measurement_is_neither():
    found = bar_of([], "adamw step, gpt2", "<= 0.80 of optax")
    assert (found.measured, found.met) == ("not measured", None)


def test_every_round_visits_everyone():
    visited = []
    visits = {name: lambda name=name: float(visited.append(name) or len(visited)) for name in "abc"}
    found = interleave(visits, Plan(rounds=4))
    assert [sorted(visited[i : i + 3]) for i in range(0, 12, 3)] == [list("abc")] * 4
    assert len({tuple(visited[i : i + 3]) for i in range(0, 12, 3)}) > 1
    assert sorted(x for values in found.values() for x in values) == list(range(1, 13))


def test_a_wrong_step_stops_the_run(monkeypatch):
    class Late(type(ADAPTERS["optim"])):
        def step(self, rule, params, state, grads):
            params, state = super().step(rule, params, state, grads)
            return jax.tree.map(lambda p: p * 1.0001, params), state

    monkeypatch.setitem(ADAPTERS, "optim", Late("optim", "optim"))
    with pytest.raises(AssertionError, match=r"adamw: optim is .* from optax"):
        measures.distances(OPTIMIZERS["adamw"], ["optim"], print)


def test_a_step_that_keeps_its_buffers_stops_the_run(monkeypatch):
    class Keeping(type(ADAPTERS["optim"])):
        def program(self, rule, step, loss):
            return jax.jit(step)

    monkeypatch.setitem(ADAPTERS, "optim", Keeping("optim", "optim"))
    with pytest.raises(AssertionError, match="has not reused its buffers"):
        list(measures.step(OPTIMIZERS["adamw"], TINY, ["optim"], Plan(1, 0), print))


def test_what_is_missing_is_said():
    said = []
    list(measures.step(OPTIMIZERS["lion"], TINY, ["torch fused"], Plan(1, 0), said.append))
    assert [s for s in said if s.startswith("lion: no torch fused: ")] == said
    assert said


def test_ceilings_in_c_and_numpy_agree():
    runs = [r for r in (ceiling.compiled(), ceiling.chunked) if r]
    found = []
    for run in runs:
        arrays = [np.linspace(0.1, 1, 100, dtype=np.float32) * k for k in (1, 2, 0, 0)]
        run(*arrays, 0, 100, 0.1, 10.0, 1000.0, 1e-8, 0.01)
        found.append(arrays)
    for arrays in found:
        np.testing.assert_allclose(arrays[0], np.linspace(0.1, 1, 100) * 0.999 - 0.1, atol=3e-7)
        np.testing.assert_allclose(arrays[2], np.linspace(0.02, 0.2, 100), rtol=1e-6)


def test_the_ways_to_the_floor_are_one_step():
    """The loop is the three kernels, and each of them alone is its part of these."""
    found = {}
    for name, session in floor.sessions(TINY, piece=16).items():
        session.load()
        before = session.buffers()
        session.step()
        assert session.reused(before)
        found[name] = dict(zip(session.returned, session.parameters(), strict=True))
    for n in "pmv":
        assert found["three kernels"][n].size == 64
        np.testing.assert_array_equal(found["loop of pieces"][n], found["three kernels"][n])
    np.testing.assert_allclose(found["three kernels"]["m"].mean(), 0.5, atol=0.1)


def test_the_floor_is_told_by_bytes():
    alone, top = known("first moment", [3.0], measure="floor", moved=1200), known("ceiling", [7.0], moved=2800)
    top.measure = "floor"
    assert Table([alone, top]).share(("floor", "gpt2", "adamw"), "first moment").median == 1.0


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


def test_torch_schedule_is_the_others():
    import optax

    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 100, 10_000)
    for count in (0, 1, 99, 100, 5_000, 10_000, 20_000):
        assert math.isclose(warm_up_cosine(count), float(schedule(count)), rel_tol=1e-5, abs_tol=1e-6)


def test_a_step_that_is_traced_again_stops_the_run(monkeypatch):
    class Fickle(type(ADAPTERS["optim"])):
        def program(self, rule, step, loss):
            return lambda *given: jax.jit(lambda *x: step(*x), donate_argnums=(0, 1))(*given)

    monkeypatch.setitem(ADAPTERS, "optim", Fickle("optim", "optim"))
    with pytest.raises(AssertionError, match="the second step of optim was traced again"):
        list(measures.step(OPTIMIZERS["adamw"], TINY, ["optim"], Plan(1, 0), print))


def test_the_readme_has_the_bars_of_the_results():
    """Recording writes both, so neither is older than the other."""
    page, results = ((report.Path(__file__).parents[2] / f).read_text() for f in ("README.md", "benchmarks/RESULTS.md"))
    block = page.partition(report.START)[2].partition(report.END)[0]
    rows = [line for line in block.splitlines() if line.startswith("| ")]
    assert len(rows) > 5
    assert "\n".join(rows[1:]) in results


def test_a_record_changes_the_readme_between_its_marks_only():
    facts = {"date": "1970-01-01", "CPU": "abacus", "cores": "1", "jax": "0", "optax": "0", report.PLATFORM: "cpu, cpu"}
    page = f"before\n{report.START}\nold\n{report.END}\nafter\n"
    new = report.into_readme(page, Table([]), facts)
    assert new.startswith(f"before\n{report.START}\nMeasured on 1970-01-01: abacus")
    assert new.endswith(f"{report.END}\nafter\n")
    assert "old" not in new
    assert report.into_readme(new, Table([]), facts) == new

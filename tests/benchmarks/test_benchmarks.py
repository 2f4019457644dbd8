"""The benchmarks run, and their arithmetic is right. Nothing is timed here."""

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
    """The output of a run on a tiny tree, with one measure of each kind."""
    patch = pytest.MonkeyPatch()
    patch.setitem(command.TREES, "tiny", TINY)
    out = tmp_path_factory.mktemp("out")
    plan = ["--rounds", "1", "--seconds", "0", "--out", str(out)]
    selection = ["--trees", "tiny", "--optimizers", "adamw", "--measures", "step", "trace", "memory"]
    try:
        with jax.numpy_dtype_promotion("standard"):
            assert command.main([*selection, *plan, "--libraries", *MINE_AND_OPTAX]) == 0
    finally:
        patch.undo()
    return out


def test_a_run_is_resumed(written, monkeypatch, capsys):
    """A resumed run repeats no measurement, and writes the earlier ones."""
    before = json.loads((written / "results.json").read_text())["results"]
    monkeypatch.setitem(command.TREES, "tiny", TINY)
    monkeypatch.setattr(measures, "interleave", None)
    selection = ["--trees", "tiny", "--optimizers", "adamw", "--measures", "step", "trace", "memory"]
    assert command.main([*selection, "--libraries", *MINE_AND_OPTAX, "--out", str(written), "--resume"]) == 0
    assert json.loads((written / "results.json").read_text())["results"] == before
    assert "step tiny" not in capsys.readouterr().err


def test_json(written):
    data = json.loads((written / "results.json").read_text())
    assert set(data) == {"about", "distances", "skipped", "bars", "results"}
    assert data["about"].keys() >= {"date", "CPU", "cores", "jax", "optax"}
    assert 0 < data["distances"]["adamw"]["optim"] < 1e-5
    assert 0 < data["distances"]["adamw"]["ceiling"] < 1e-5
    by = {(r["measure"], r["library"]): r for r in data["results"]}
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


def result(library, values, *, measure="step", tree="gpt2", optimizer="adamw", moved=None):
    return Result(measure, tree, optimizer, library, "s", values, parameters=100, moved=moved)


def test_ratio_is_taken_within_the_round():
    mine, other = result("optim", [1.0, 20.0, 3.0, 8.0, 5.0]), result("optax", [2.0, 10.0, 12.0, 8.0, 10.0])
    assert report.ratio(mine, other) == Spread(0.5, 0.5, 1.0)
    assert Table([mine, other]).ratio(("step", "gpt2", "adamw"), "optim", "optax") == Spread(0.5, 0.5, 1.0)


def test_share_of_the_ceiling_counts_bytes():
    """clip+adamw must move 32 bytes per parameter, the ceiling 28."""
    mine = result("optim", [2.0, 4.0], optimizer="clip+adamw")
    top = result("ceiling", [1.0, 2.0], optimizer="clip+adamw", moved=2800)
    assert Table([mine, top]).share(("step", "gpt2", "clip+adamw"), "optim").median == pytest.approx(0.5 * 32 / 28)


def bar_of(results, measure, bar):
    (match,) = [b for b in report.bars(Table(results), "cpu") if (b.measure, b.bar) == (measure, bar)]
    return match


def test_bar_takes_the_best_form_on_the_worst_tree():
    results = [
        *(result(n, [x], tree="gpt2") for n, x in (("optim", 3.0), ("optim packed", 1.0), ("torch fused", 2.0))),
        *(result(n, [x], tree="mlp") for n, x in (("optim", 3.0), ("optim packed", 5.0), ("torch fused", 2.0))),
    ]
    bar = bar_of(results, "adamw step, every tree", "<= 1.00 of torch fused")
    assert (bar.library, bar.met) == ("optim", False)
    assert bar.measured == "1.50 [1.50, 1.50] (mlp, adamw)"
    assert bar_of(results[:3], bar.measure, bar.bar).met is True


def test_bar_on_any_step_is_the_plain_forms():
    results = [result(n, [x]) for n, x in (("optim", 1.1), ("optim packed", 0.5), ("optax", 1.0))]
    bar = bar_of(results, "any step, plain form", "<= 1.05 of optax")
    assert (bar.library, bar.met) == ("optim", False)


def test_bar_without_a_measurement():
    bar = bar_of([], "adamw step, gpt2", "<= 0.80 of optax")
    assert (bar.measured, bar.met) == ("not measured", None)


def test_every_round_has_every_visit():
    visited = []
    visits = {name: lambda name=name: float(visited.append(name) or len(visited)) for name in "abc"}
    results = interleave(visits, Plan(rounds=4))
    assert [sorted(visited[i : i + 3]) for i in range(0, 12, 3)] == [list("abc")] * 4
    assert len({tuple(visited[i : i + 3]) for i in range(0, 12, 3)}) > 1
    assert sorted(x for values in results.values() for x in values) == list(range(1, 13))


def test_a_wrong_step_stops_the_run(monkeypatch):
    class Wrong(type(ADAPTERS["optim"])):
        def step(self, rule, params, state, grads):
            params, state = super().step(rule, params, state, grads)
            return jax.tree.map(lambda p: p * 1.0001, params), state

    monkeypatch.setitem(ADAPTERS, "optim", Wrong("optim", "optim"))
    with pytest.raises(AssertionError, match=r"adamw: optim is .* from optax"):
        measures.distances(OPTIMIZERS["adamw"], ["optim"], print)


def test_a_step_that_keeps_its_buffers_stops_the_run(monkeypatch):
    class WithoutDonation(type(ADAPTERS["optim"])):
        def program(self, rule, step, loss):
            return jax.jit(step)

    monkeypatch.setitem(ADAPTERS, "optim", WithoutDonation("optim", "optim"))
    with pytest.raises(AssertionError, match="did not reuse its buffers"):
        list(measures.step(OPTIMIZERS["adamw"], TINY, ["optim"], Plan(1, 0), print))


def test_missing_optimizers_are_reported():
    skipped = []
    list(measures.step(OPTIMIZERS["lion"], TINY, ["torch fused"], Plan(1, 0), skipped.append))
    assert [s for s in skipped if s.startswith("lion: no torch fused: ")] == skipped
    assert skipped


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
    for name, session in floor.sessions(TINY, piece=16).items():
        session.load()
        before = session.buffers()
        session.step()
        assert session.reused(before)
        results[name] = dict(zip(session.returned, session.parameters(), strict=True))
    for n in "pmv":
        assert results["three kernels"][n].size == 64
        np.testing.assert_array_equal(results["loop of pieces"][n], results["three kernels"][n])
    np.testing.assert_allclose(results["three kernels"]["m"].mean(), 0.5, atol=0.1)


def test_the_floor_counts_bytes():
    alone, top = result("first moment", [3.0], measure="floor", moved=1200), result("ceiling", [7.0], moved=2800)
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


def test_torch_schedule_is_that_of_optax():
    import optax

    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 100, 10_000)
    for count in (0, 1, 99, 100, 5_000, 10_000, 20_000):
        assert math.isclose(warm_up_cosine(count), float(schedule(count)), rel_tol=1e-5, abs_tol=1e-6)


def test_a_retraced_step_stops_the_run(monkeypatch):
    class Retracing(type(ADAPTERS["optim"])):
        def program(self, rule, step, loss):
            return lambda *args: jax.jit(lambda *x: step(*x), donate_argnums=(0, 1))(*args)

    monkeypatch.setitem(ADAPTERS, "optim", Retracing("optim", "optim"))
    with pytest.raises(AssertionError, match="the second step of optim was retraced"):
        list(measures.step(OPTIMIZERS["adamw"], TINY, ["optim"], Plan(1, 0), print))


def test_the_readme_has_the_bars_of_the_results():
    """`--record` writes both, so they agree."""
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

"""The report: when a table is published, the ratios, the summary, the bars and the files. Nothing is timed here."""

import pytest

from benchmarks import __main__ as command, machine, page, report, trust
from benchmarks.cells import MEASURES, Cell, selection
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.report import Table
from benchmarks.rounds import Plan, Result, interleave
from benchmarks.trees import TREES
from benchmarks.trust import Spread

from .test_benchmarks import FACTS
from .workers import Fake

ROUNDS = [1.0] * 10


def result(library, values, *, measure="step", tree="gpt2", optimizer="adamw", moved=None, alone=None, others=0.0):
    values = list(values) * (10 // len(values))
    alone = [trust.spread(values).median] if alone is None else alone
    return Result(measure, tree, optimizer, library, "s", values, 100, moved, alone, others)


# When a table is published


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"values": ROUNDS}, ""),
        ({"values": [1.0] * 5 + [1.5] * 5}, ""),
        ({"values": [1.0] * 5 + [1.51] * 5, "alone": [1.2]}, "optim: quartiles 1 s and 1.51 s, a factor 1.51"),
        ({"values": ROUNDS, "alone": [1.2]}, ""),
        ({"values": ROUNDS, "alone": [1.21]}, "optim: alone 1.21 s, in rounds 1 s"),
        ({"values": ROUNDS, "alone": [0.5, 0.8, 1.0]}, "optim: alone 800 ms, in rounds 1 s"),
        ({"values": ROUNDS, "alone": []}, "optim: no time alone"),
        ({"values": ROUNDS, "others": 0.1}, ""),
        ({"values": ROUNDS, "others": 0.11}, "other programs used 0.11 processors"),
    ],
)
def test_reasons(given, why):
    mine, other = result("optim", **given), result("optax", ROUNDS)
    assert trust.reason([mine, other]) == why
    assert trust.reason([mine, other], busy=True) == ("" if why.startswith("other") else why)
    table = Table([mine, other])
    assert table.refused == ({report.cell_of(mine): why} if why else {})
    assert (table.get("step", "gpt2", "adamw", "optax") is None) == bool(why), "the whole table is refused"


def test_nine_rounds_are_too_few():
    short = result("optim", ROUNDS)
    del short.values[9:]
    assert trust.reason([short]) == "optim: 9 rounds, at least 10 are needed"


def run(tmp_path, start, monkeypatch, *options):
    monkeypatch.setattr(machine, "about", lambda device, imports: FACTS)
    selected = ["--trees", "mlp", "--optimizers", "adamw", "--measures", "step", "--libraries", "optim", "optax"]
    assert command.main([*selected, "--out", str(tmp_path), "--busy", "--listen", "0.1", *options], start) == 0
    return (tmp_path / "RESULTS.md").read_text()


def test_alone_in_a_fresh_worker_then_in_rounds(tmp_path, monkeypatch):
    start = Fake()
    text = run(tmp_path, start, monkeypatch)
    assert "| mlp | adamw | 1 s | 1 s |" in text
    visits = [(library, peer) for library, peer, method in start.log if method == "visit"]
    by = {library: [p for n, p in visits if n == library] for library in ("optim", "optax")}
    for peers in by.values():
        assert [len([p for p in peers if p is peer]) for peer in dict.fromkeys(peers)] == [5, Plan().rounds]
    assert [n for n, _ in visits[:10]] == ["optim"] * 5 + ["optax"] * 5
    assert (tmp_path / "results.csv").read_text().splitlines()[1] == "step,mlp,adamw,optim,s,1" + ",1" * Plan().rounds


def test_a_table_apart_from_the_times_alone_is_measured_again_and_not_published(tmp_path, monkeypatch):
    start = Fake(lambda library, visit: 2.0 if library == "optax" else 1.0)
    text = run(tmp_path, start, monkeypatch)
    assert "- step, mlp, adamw: optax: alone 1 s, in rounds 2 s" in text
    assert "| mlp | adamw | not measured |" in text
    assert "1 s |" not in text
    assert (tmp_path / "results.csv").read_text().count("\n") == 1
    assert sum(method == "load" for _, _, method in start.log) == 2 * 2 * 2


def test_a_table_that_is_quiet_the_second_time_is_published(tmp_path, monkeypatch):
    start = Fake(lambda library, visit: 2.0 if visit <= Plan().rounds else 1.0)
    assert "| mlp | adamw | 1 s | 1 s |" in run(tmp_path, start, monkeypatch)


def test_a_resumed_run_repeats_only_what_was_not_published(tmp_path, monkeypatch):
    run(tmp_path, Fake(lambda library, visit: 2.0), monkeypatch)
    again = Fake()
    text = run(tmp_path, again, monkeypatch, "--resume")
    assert any(method == "visit" for _, _, method in again.log)
    once_more = Fake()
    assert run(tmp_path, once_more, monkeypatch, "--resume") == text
    assert not any(method in ("load", "visit", "steps") for _, _, method in once_more.log)


def test_a_worker_that_fails_costs_its_table_only(tmp_path, monkeypatch):
    def fail(library, visit):
        raise command.WorkerError(f"{library} failed:\nTraceback\nOSError: out of memory")

    assert "- step, mlp, adamw: OSError: out of memory" in run(tmp_path, Fake(alone=fail), monkeypatch)
    assert "| mlp | adamw | 1 s | 1 s |" in run(tmp_path, Fake(fail), monkeypatch), "a new worker measures it again"


def test_only_a_whole_quiet_run_is_recorded(capsys):
    for other in (["--busy"], ["--quick"], ["--trees", "mlp"]):
        with pytest.raises(SystemExit):
            command.parsed(["--record", *other])
        assert "--record needs the whole run" in capsys.readouterr().err


def test_nothing_is_recorded_on_a_busy_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "about", lambda device, imports: FACTS)
    monkeypatch.setattr(machine.Load, "others", lambda self: 0.2)
    with pytest.raises(SystemExit, match=r"other programs use 0.20 processors, at most 0.1 may be used"):
        command.main(["--record", "--listen", "0.1", "--out", str(tmp_path)], Fake())


def test_every_round_has_every_visit():
    visited = []
    visits = {name: lambda name=name: float(visited.append(name) or len(visited)) for name in "abc"}
    results = interleave(visits, Plan(rounds=4))
    assert [sorted(visited[i : i + 3]) for i in range(0, 12, 3)] == [list("abc")] * 4
    assert len({tuple(visited[i : i + 3]) for i in range(0, 12, 3)}) > 1
    assert sorted(x for values in results.values() for x in values) == list(range(1, 13))


def test_the_selection():
    cells = selection([], [], [])
    assert {c.measure for c in cells} == set(MEASURES)
    assert {c.optimizer for c in cells} == set(OPTIMIZERS)
    assert {c.tree for c in cells} == set(TREES) - {"tiny"}
    assert {c for c in cells if c.optimizer == "lion"} == {Cell("step", t, "lion") for t in ("mlp", "resnet50")}
    assert selection(["step"], ["gpt2"], ["lion"]) == [Cell("step", "gpt2", "lion")]
    assert selection(["train"], ["gpt2"], ["adamw"]) == [], "it has no model"


# Ratios


def test_ratio_is_taken_within_the_round():
    mine, other = result("optim", [1.0, 2.0, 3.0, 8.0, 5.0]), result("optax", [2.0, 10.0, 12.0, 8.0, 10.0])
    assert report.ratio(mine, other) == Spread(0.25, 0.5, 0.5)


def test_share_of_the_ceiling_counts_bytes():
    """clip+adamw must move 32 bytes per parameter, the ceiling 28."""
    mine = result("optim", [2.0], optimizer="clip+adamw")
    top = result("ceiling", [1.0], optimizer="clip+adamw", moved=2800)
    assert Table([mine, top]).share(("step", "gpt2", "clip+adamw"), "optim").median == pytest.approx(0.5 * 32 / 28)


def test_the_floor_counts_bytes():
    alone, top = result("first moment", [3.0], measure="floor", moved=1200), result("ceiling", [7.0], moved=2800)
    top.measure = "floor"
    assert Table([alone, top]).share(("floor", "gpt2", "adamw"), "first moment").median == 1.0


def test_losses_come_first():
    """In the order of the largest ratio to any peer; the last columns are the fastest form and the fastest peer."""
    times = {
        "mlp": {"optim": 2.0, "optim pack": 1.5, "optax": 2.5, "torch fused": 1.0},
        "gpt2": {"optim": 1.0, "optax": 2.0, "torch fused": 4.0},
        "narrow": {"optim": 3.0, "optax": 1.0, "torch fused": 9.0},
    }
    table = Table([result(n, [x], tree=tree) for tree, row in times.items() for n, x in row.items()])
    found = report.comparisons(table)
    assert [(c.cell.tree, c.worst) for c in found] == [("narrow", 3.0), ("mlp", 2.0), ("gpt2", 0.5)]
    assert (found[1].best.median, found[1].form, found[1].peer) == (1.5, "optim pack", "torch fused")
    lines = page.summary(table)
    assert "A peer is faster than the plain form in 2 of 3 tables." in " ".join(lines)
    assert [line.split(" | ")[1] for line in lines[-3:]] == ["narrow", "mlp", "gpt2"]
    assert "3.00 [3.00, 3.00]" in lines[-3]


# Bars


def bar_of(results, measure, bar):
    (match,) = [b for b in report.bars(Table(results), FACTS) if (b.measure, b.bar) == (measure, bar)]
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


def test_a_bar_is_not_met_while_a_table_is_missing():
    results = [result(n, [1.0], tree=t) for t in ("gpt2", "mlp") for n in ("optim", "torch fused")]
    results[0].alone = [2.0]
    bar = bar_of(results, "adamw step, every tree", "<= 1.00 of torch fused")
    assert (bar.met, bar.measured) == (None, "1.00 [1.00, 1.00] (mlp, adamw), 1 of 2 not measured")


def test_bar_on_any_step_is_the_plain_forms():
    results = [result(n, [x]) for n, x in (("optim", 1.1), ("optim packed", 0.5), ("optax", 1.0))]
    bar = bar_of(results, "any step, plain form", "<= 1.05 of optax")
    assert (bar.library, bar.met) == ("optim", False)
    assert report.bars(Table(results), FACTS)[0] == bar, "what is not met comes first"


def test_bar_without_a_measurement():
    bar = bar_of([], "adamw step, gpt2", "<= 0.80 of optax")
    assert (bar.measured, bar.met) == ("not measured", None)


# Files


def test_what_a_call_costs():
    names = ("one array", "identity", "add one", "ahead of time", "flat tuples", "optim", "torch fused")
    times = dict(zip(names, (6e-6, 30e-6, 40e-6, 50e-6, 41e-6, 48e-6, 20e-6), strict=True))
    table = Table([result(n, [x], measure="call", tree="small") for n, x in times.items()])
    text = " ".join(page.floor(table, FACTS).split())
    assert "A call with one array takes 6 us." in text
    assert "4 leaves are 12 arrays; each adds 2 us although nothing is computed." in text
    assert "1.50 of the time of PyTorch's whole step, and 0.62 of that of `optim`" in text
    assert "| identity | 30 us | 0.62 [0.62, 0.62] | 1.50 [1.50, 1.50] |" in page.floor(table, FACTS)


def test_the_readme_has_the_bars_of_the_results():
    """`--record` writes both, so they agree."""
    text, results = ((command.HERE.parent / f).read_text() for f in ("README.md", "benchmarks/RESULTS.md"))
    block = text.partition(page.START)[2].partition(page.END)[0]
    rows = [line for line in block.splitlines() if line.startswith("| ")]
    assert len(rows) > 5
    assert "\n".join(rows[1:]) in results


def test_a_record_changes_the_readme_between_its_marks_only():
    text = f"before\n{page.START}\nold\n{page.END}\nafter\n"
    new = page.into_readme(text, Table([]), FACTS)
    assert new.startswith(f"before\n{page.START}\nMeasured on 1970-01-01: abacus")
    assert new.endswith(f"{page.END}\nafter\n")
    assert "old" not in new
    assert page.into_readme(new, Table([]), FACTS) == new

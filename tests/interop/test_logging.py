"""The values of `inspect`, in a CSV file and in a TensorBoard log."""

import csv

import pytest

import optim

from . import examples

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
NAMES = {"loss", "learning_rate", "grad_norm", "update_norm", "notfinite_count", "last_finite", "total_notfinite"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "run"
    return path, examples.load("log_inspect").main([str(path), "--steps", "30", "--every", "7"])


def test_csv(logged):
    path, rows = logged
    with (path / "log.csv").open() as file:
        logged_rows = [{k: float(x) for k, x in row.items()} for row in csv.DictReader(file)]
    assert logged_rows == rows
    assert set(rows[0]) == NAMES | {"step"}
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[0]["loss"] > 2 * rows[-1]["loss"]
    rate = optim.warmup_cosine_decay_schedule(0.0, 0.01, warmup_steps=3, decay_steps=30)
    assert [row["learning_rate"] for row in rows] == pytest.approx([float(rate(n)) for n in range(30)], rel=1e-5)
    assert all(row["grad_norm"] > 0 for row in rows)


# TensorBoard reads with TensorFlow if it is installed, which emits its own warnings.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(logged):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path, rows = logged
    events = EventAccumulator(str(path)).Reload()
    assert set(events.Tags()["scalars"]) == NAMES
    for name in NAMES:
        scalars = events.Scalars(name)
        assert [e.step for e in scalars] == [row["step"] for row in rows]
        assert [e.value for e in scalars] == pytest.approx([row[name] for row in rows], rel=1e-6)


def test_csv_only(tmp_path, monkeypatch):
    module = examples.load("log_inspect")
    monkeypatch.delattr(module, "TensorBoard")
    module.main([str(tmp_path), "--steps", "10", "--csv-only"])
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]

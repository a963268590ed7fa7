"""What a run shows: lines or a bar, train.csv, TensorBoard; over a resume nothing twice and nothing left out."""

from __future__ import annotations

import csv
import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from svtk.errors import ModelError
from svtk.train.log import TrainLog
from svtk.train.state import TrainState


class Stop(Exception):
    pass


def stop():
    raise Stop


def rows(directory):
    with open(directory / "train.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def chatty(monkeypatch):
    """A line after every step."""
    monkeypatch.setattr("svtk.train.log._INTERVAL", 0.0)


def test_lines_within_an_epoch(distil, tmp_path, chatty, caplog):
    with caplog.at_level("INFO"):
        distil(tmp_path / "m")
    lines = [line for line in caplog.messages if ": step " in line]
    pattern = (
        r"epoch ([12])/2: step (\d)/4, loss \d+\.\d{4}(, best EER .* %)?, data wait (\d+) %, \d+ crops/s, \d+ s left"
    )
    found = [re.fullmatch(pattern, line) for line in lines]
    assert [(m[1], m[2]) for m in found] == [(e, s) for e in "12" for s in "1234"]
    assert [bool(m[3]) for m in found] == [False] * 4 + [True] * 4  # none before the first validation
    assert all(0 <= int(m[4]) <= 100 for m in found)
    ends = [line for line in caplog.messages if re.match(r"epoch [12]/2: sv .*hidden_mse .*loss .*, valid EER", line)]
    assert len(ends) == 2 and all(re.search(r", \d+ s, data wait \d+ %, \d+ s left$", line) for line in ends)


def test_a_log_has_a_line_every_so_often_only(distil, tmp_path, caplog):
    with caplog.at_level("INFO"):
        distil(tmp_path / "m", "max_epochs=1")
    assert not [line for line in caplog.messages if ": step " in line]


def test_a_bar_on_a_terminal(distil, tmp_path, chatty, monkeypatch, capsys, caplog):
    monkeypatch.setenv("SVTK_PROGRESS", "bar")
    with caplog.at_level("INFO"):
        distil(tmp_path / "m")
    shown = capsys.readouterr().err
    assert "epoch 1/2:" in shown and re.search(r"epoch 2/2, EER \d+\.\d\d %: .*4/4 \[", shown) and "data wait" in shown
    assert not [line for line in caplog.messages if ": step " in line]


def test_slow_data_is_seen(distil, tmp_path, chatty, caplog, monkeypatch):
    import time

    from svtk.data.crops import CropDataset

    read = CropDataset.__getitems__
    monkeypatch.setattr(CropDataset, "__getitems__", lambda self, indices: time.sleep(1) or read(self, indices))
    with caplog.at_level("INFO"):
        distil(tmp_path / "m", "max_epochs=1", "batch_size=8")
    waits = [int(m[1]) for line in caplog.messages if ": step " in line and (m := re.search(r"data wait (\d+)", line))]
    assert min(waits) >= 50


def test_csv_and_tensorboard_over_a_resume(distil, tmp_path, chatty, stop_at, monkeypatch, history):
    stop_at(3, 3, stop)
    settings = ("max_epochs=3", "valid_every=2")
    with pytest.raises(Stop):
        distil(tmp_path / "m", *settings, checkpoint_steps=2)
    assert [row["epoch"] for row in rows(tmp_path / "m")] == ["1", "2"]
    monkeypatch.undo()
    monkeypatch.setattr("svtk.train.log._INTERVAL", 0.0)
    distil(tmp_path / "m", *settings)
    records = history(tmp_path / "m")
    found = rows(tmp_path / "m")
    assert [row["epoch"] for row in found] == ["1", "2", "3"] and found[0]["eer"] == ""
    for row, record in zip(found, records, strict=True):
        assert {name: float(value) for name, value in row.items() if value} == record
    epochs = EventAccumulator(str(tmp_path / "m/tensorboard")).Reload()
    assert [event.step for event in epochs.Scalars("loss")] == [1, 2, 3]
    steps = EventAccumulator(str(tmp_path / "m/tensorboard/steps")).Reload()
    assert [event.step for event in steps.Scalars("loss")] == list(range(1, 13))
    assert {"loss", "lr", "data_wait", "crops_per_second"} <= set(steps.Tags()["scalars"])


def test_without_tensorboard(distil, tmp_path):
    distil(tmp_path / "m", "max_epochs=1", tensorboard=False)
    assert not (tmp_path / "m/tensorboard").exists() and (tmp_path / "m/train.csv").exists()


def test_the_time_left():
    log = TrainLog("m", max_epochs=10, steps_per_epoch=100, crops_per_step=8, quiet=True)
    assert log.left(TrainState(epoch=2, step=50, seconds=200), 50.0) == "12 min"  # 100 s an epoch, 7.5 to go
    assert log.left(TrainState(epoch=10, seconds=1000), 0.0) == "0 s"


def test_no_room_for_tensorboard(tmp_path):
    class Full:
        def add_scalar(self, *_):
            raise OSError(28, "No space left on device")

    log = TrainLog(tmp_path, max_epochs=1, steps_per_epoch=1, crops_per_step=1)
    with pytest.raises(ModelError, match=r"/tensorboard: cannot write: No space left.*or give --no-tensorboard"):
        log._add(Full(), {"loss": 1.0}, 1)

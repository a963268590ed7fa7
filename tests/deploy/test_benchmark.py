"""Speed and memory of variants: what is asked of whom, and the table and files of given figures."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from types import SimpleNamespace

import pytest

from svtk.deploy import benchmark as module
from svtk.deploy.benchmark import Result, Variant, benchmark, format_results, save_beside, variants
from svtk.errors import ModelError


@pytest.fixture
def turns(monkeypatch):
    """Workers that take 1, 2, 3 ... ms by their place, and note whose turn it was."""
    asked = []

    class Worker:
        def __init__(self, variant, duration):
            self.variant, self.engine, self.precision = variant, variant.engine, "float32"
            self.place = sum(what == "start" for _, what in asked)
            asked.append((variant.model, "start"))

        def answer(self):
            asked.append((self.variant.model, "ready"))

        def ask(self, what):
            asked.append((self.variant.model, what))
            return (self.place + 1) / 1000 if what == "run" else 100.0

        def stop(self):
            asked.append((self.variant.model, "stop"))

    monkeypatch.setattr(module, "_Worker", Worker)
    return asked


def test_variants_take_turns(turns):
    results = benchmark([Variant("a", "eager", 1, 1), Variant("b", "eager", 4, 2)], duration=2.0, rounds=3)
    wanted = [("a", "start"), ("b", "start"), ("a", "ready"), ("b", "ready")]
    wanted += [("a", "run"), ("b", "run")] * 3 + [("a", "memory"), ("b", "memory"), ("a", "stop"), ("b", "stop")]
    assert turns == wanted
    assert results[0] == Result("a", "eager", "float32", 1, 1, 0.0005, 0.001, 0.001, 100.0, 2.0, 3)
    assert results[1].rtf == pytest.approx(0.002 / 8) and results[1].latency_p50_s == 0.002


def test_all_are_stopped_when_one_fails(turns, monkeypatch):
    def fail(self):
        raise ModelError("cannot be measured")

    monkeypatch.setattr(module._Worker, "answer", fail)
    with pytest.raises(ModelError):
        benchmark([Variant("a", "eager", 1, 1), Variant("b", "eager", 1, 1)])
    assert turns == [("a", "start"), ("b", "start"), ("a", "stop"), ("b", "stop")]


@pytest.mark.parametrize(("status", "message"), [(-9, "was killed, as one is that takes"), (3, "ended with status 3")])
def test_a_process_that_died(status, message):
    """Whether it dies before it is asked, or before it has answered."""
    for asked in (False, True):
        worker = object.__new__(module._Worker)
        worker.variant = Variant("a", "bfloat16", 1, 1)
        worker.pipe, theirs = multiprocessing.Pipe()
        theirs.close()
        worker.process = SimpleNamespace(join=lambda: None, exitcode=status)
        with pytest.raises(ModelError, match=f"^a: cannot be measured by engine bfloat16: its process {message}"):
            worker.ask("run") if asked else worker.answer()


def test_every_combination(tmp_path):
    (tmp_path / "export.json").write_text("{}")
    exported = str(tmp_path)
    found = variants(["m", exported], ["eager", "compiled"], [1, 8], [2])
    assert [dataclasses.astuple(v) for v in found] == [
        *(("m", "eager", 1, 2), ("m", "compiled", 1, 2), (exported, "onnx", 1, 2)),
        *(("m", "eager", 8, 2), ("m", "compiled", 8, 2), (exported, "onnx", 8, 2)),
    ]


def results(place):
    first = Result(str(place / "a"), "eager", "float32", 1, 1, 0.02, 0.06, 0.07, 300.4, 3.0, 20)
    return [
        first,
        dataclasses.replace(first, model=str(place / "b"), engine="onnx", precision="int8", rtf=0.005),
        dataclasses.replace(first, batch=8, rtf=0.01),
    ]


def test_as_a_table(tmp_path):
    lines = format_results(results(tmp_path)).splitlines()
    assert lines[0].split()[:3] == ["model", "engine", "precision"] and len({len(line) for line in lines}) == 1
    assert lines[2].split() == [
        *(str(tmp_path / "b"), "onnx", "int8", "1", "1"),
        *("0.00500", "200.0", "60.00", "70.00", "300", "4.00"),
    ]
    assert lines[3].split()[-1] == "1.00"  # the first of its batch size


def test_beside_the_models(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    save_beside(results(tmp_path))
    own = json.loads((tmp_path / "a" / "benchmark.json").read_text())["results"]
    assert [(r["engine"], r["batch"], r["rtf"]) for r in own] == [("eager", 1, 0.02), ("eager", 8, 0.01)]
    assert len(json.loads((tmp_path / "b" / "benchmark.json").read_text())["results"]) == 1


def test_a_plot(tmp_path):
    pytest.importorskip("matplotlib")
    from svtk.deploy.benchmark_plot import plot

    plot(results(tmp_path), tmp_path / "speed.svg")
    text = (tmp_path / "speed.svg").read_text()
    assert text.startswith("<?xml") and "seconds of audio per second" in text
    assert [path.name for path in tmp_path.iterdir()] == ["speed.svg"]

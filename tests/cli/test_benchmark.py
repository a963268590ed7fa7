"""svtk benchmark, as a user runs it, with real processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from svtk.deploy import benchmark, benchmark_plot
from svtk.deploy.export import export


@pytest.fixture(scope="module")
def models(student_dir, tmp_path_factory):
    """A copy of the student, and its export inside."""
    model = tmp_path_factory.mktemp("benchmark") / "student"
    shutil.copytree(student_dir, model)
    export(str(model), str(model / "onnx"))
    return model, model / "onnx"


def test_side_by_side(svtk_main, models):
    words = ["--engine", "eager", "--rounds", 2, "--duration", 0.7, "--json", "--save-beside"]
    done = svtk_main("benchmark", *words, *models)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)["results"]
    assert [(r["model"], r["engine"], r["precision"]) for r in found] == [
        (str(models[0]), "eager", "float32"),
        (str(models[1]), "onnx", "float32"),
    ]
    for result, model in zip(found, models, strict=True):
        assert result["batch"] == result["threads"] == 1 and result["duration"] == 0.7
        assert 0 < result["latency_p50_s"] <= result["latency_p95_s"]
        assert result["rtf"] == pytest.approx(result["latency_p50_s"] / 0.7)
        assert 50 < result["peak_memory_mib"] < 2000
        assert json.loads((Path(model) / "benchmark.json").read_text()) == {"results": [result]}


def test_what_cannot_be_run(svtk_main, models, tmp_path):
    shutil.copytree(models[0], tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    done = svtk_main("benchmark", "--engine", "eager", tmp_path / "damaged")
    assert (done.code, done.stdout) == (1, "")
    assert (
        done.stderr.startswith(f"Error: {tmp_path}/damaged: cannot be measured by engine eager: ")
        and "cannot read w" in done.stderr
    )


def test_what_was_measured_is_told_first(svtk_main, models, monkeypatch, tmp_path):
    """A table is printed even where the files that should follow cannot be written."""
    result = benchmark.Result(str(models[0]), "eager", "float32", 1, 1, 0.02, 0.06, 0.07, 300.4, 3.0, 20)
    monkeypatch.setattr(benchmark, "benchmark", lambda *_: [result])
    done = svtk_main("benchmark", "--plot", tmp_path / "nowhere" / "speed.svg", models[0])
    assert done.code == 1 and f"{tmp_path}/nowhere" in done.stderr
    assert done.stdout == benchmark.format_results([result]) + "\n"


def test_without_matplotlib_nothing_is_measured(svtk_main, models, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "benchmark", None)
    monkeypatch.setattr(benchmark_plot.importlib.util, "find_spec", lambda name: None)
    done = svtk_main("benchmark", "--plot", tmp_path / "speed.svg", models[0])
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == f"Error: {tmp_path}/speed.svg: a plot needs matplotlib. To mend: pip install 'svtk[report]'\n"


def test_wrong_arguments(svtk_main, models):
    for words in (("--plot", "speed.bmp"), ("--duration", "nan"), ("--engine", "tpu"), ("--rounds", 1)):
        assert svtk_main("benchmark", *words, models[0]).code == 2
    assert svtk_main("benchmark").code == 2

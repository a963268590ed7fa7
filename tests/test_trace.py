"""The chain of records behind a file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from svtk.config import save_yaml
from svtk.errors import DataError
from svtk.provenance import Source, recorded, this_run
from svtk.trace import format_trace, trace


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(output: str, *inputs: Source | str, **settings) -> None:
    """Write *output*, which says what it is, and its record."""
    sources = {f"in{i}": s if isinstance(s, Source) else Source(s, s) for i, s in enumerate(inputs)}
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with recorded(sources, [output], settings):
        Path(output).write_text(f"{output} of {settings}")


def model(directory: str, **inputs: str) -> None:
    """A MODEL_DIR as training leaves it."""
    Path(directory).mkdir(parents=True)
    with recorded({}, [directory], {"seed": 1}):
        Path(directory, "model.safetensors").write_text(directory)
        run = {"verb": "distill", "seed": 1, "config": {"lr": 0.1}}
        save_yaml(
            {**run, "inputs": {k: {"path": v, "sha256": "0" * 64} for k, v in inputs.items()}}, f"{directory}/run.yaml"
        )


def test_a_chain_back_to_the_data(place):
    """In the order of the steps; what both sides come from is told once."""
    Path("train").mkdir()
    model("exp/teacher", train="train")
    model("exp/student", train="train", teacher="exp/teacher")
    Path("data").mkdir()
    Path("data/wav.scp").write_text("u /audio/u.wav\n")
    make("exp/e.ark", "exp/student", "data")
    make("exp/scores", "exp/e.ark", "exp/e.ark")
    chain = trace("exp/scores")
    assert chain.to_mapping()["inputs"]["in0"][0]["path"] == "exp/e.ark"
    lines = [
        line.strip() for line in format_trace(chain).splitlines() if ": svtk 0" not in line and "python" not in line
    ]
    lines = [line for line in lines if line.split()[0] != "svtk"]  # the command, here of pytest
    stem = [line.split(" (")[0] for line in lines]
    assert stem == [
        "exp/scores",
        "in0, in1: exp/e.ark",
        "in0: exp/student",
        "settings: seed=1",
        """run.yaml: verb=distill seed=1 config='{"lr": 0.1}'""",
        "train: train",
        "teacher: exp/teacher",
        "settings: seed=1",
        """run.yaml: verb=distill seed=1 config='{"lr": 0.1}'""",
        "train: train",
        "in1: data",
    ]
    assert all("unchanged" in line for line in lines if line.startswith(("in0", "in1")))


def test_files_that_were_moved_together():
    make("exp/a/e", method="first")
    make("exp/scores", "exp/a/e")
    shutil.move("exp", "elsewhere")
    step = trace("elsewhere/scores").inputs["in0"][0]
    assert (step.path, step.state) == ("elsewhere/a/e", "unchanged")
    assert step.record["settings"] == {"method": "first"}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda: Path("a").write_text("another"), "changed since"),
        (lambda: Path("a").unlink(), "not there"),
        (lambda: os.utime("a", (1, 1)), "unchanged"),
    ],
)
def test_an_input_that_is_another_now_leads_no_further(change, state):
    make("a")
    make("b", "a")
    change()
    step = trace("b").inputs["in0"][0]
    assert step.state == state and (step.record is not None) == (state == "unchanged")
    assert f"in0: a (sha256 {step.sha256[:16]}, {state})" in format_trace(trace("b"))


def test_an_unhashed_input_of_another_time():
    Path("a").write_text("x")
    make("b", "a")
    record = json.loads(Path("b.provenance.json").read_text())
    record["inputs"]["in0"]["sha256"] = None
    Path("b.provenance.json").write_text(json.dumps(record))
    assert trace("b").inputs["in0"][0].state == "unchanged"
    os.utime("a", (1, 1))
    assert trace("b").inputs["in0"][0].state == "of another time, and was not hashed"


def test_a_directory_of_which_nothing_is_recorded():
    Path("exp").mkdir()
    make("report", "exp")
    step = trace("report").inputs["in0"][0]
    assert step.state == "which files of it were read is not recorded"


def test_a_merged_table_leads_to_its_parts():
    for job in "12":
        make(f"e.{job}.ark", batch_size=8)
    Path("e.scp").write_text("u1 e.1.ark:3\nu2 e.2.ark:3\n")
    make("scores", Source("scp:e.scp", "e.scp", is_script=True))
    parts = trace("scores").inputs["in0"][0].inputs["archives"]
    assert [(part.path, part.record["settings"]) for part in parts] == [(f"e.{j}.ark", {"batch_size": 8}) for j in "12"]
    assert "archives 2 to 2: made alike, the last e.2.ark" in format_trace(trace("scores"))


def test_metrics_hold_their_own_record():
    make("scores", method="cosine")
    Path("metrics.json").write_text(
        json.dumps({"eer": 0.1, "provenance": this_run({"scores": describe("scores")}, {})})
    )
    assert trace("metrics.json").inputs["scores"][0].record["settings"] == {"method": "cosine"}


def describe(path: str) -> dict:
    from svtk.provenance import describe_inputs

    return describe_inputs({"x": Source(path, path)})["x"]


def test_targets_in_parts(place):
    """The parts that jobs made of a directory have records of their own."""
    for job in "12":
        Path(f"targets/{job}").mkdir(parents=True)
        with recorded({}, [f"targets/{job}"], {"job": job}):
            Path(f"targets/{job}/targets.json").write_text("{}")
    Path("targets/targets.json").write_text("{}")
    model("student", targets="targets")
    parts = trace("student").inputs["targets"][0].inputs["parts"]
    assert [part.record["settings"]["job"] for part in parts] == ["1", "2"]


def test_a_circle_ends():
    Path("a").write_text("x")
    Path("b").write_text("x")
    with recorded({"b": Source("b", "b")}, ["a"], {}):
        Path("a").write_text("x")
    with recorded({"a": Source("a", "a")}, ["b"], {}):
        os.utime("b", (1, 1))
    step = trace("a").inputs["b"][0].inputs["a"][0]
    assert step.path == "a" and step.inputs == {}


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (lambda: Path("f").write_text("x"), "f\n  how it was made is not recorded"),
        (
            lambda: [make("f"), Path("f").write_text("y")],
            "f (the record beside it is of another state of it)\n  how it was",
        ),
    ],
)
def test_what_is_not_recorded_is_said(prepare, text):
    prepare()
    assert format_trace(trace("f")).startswith(text)


def test_no_such_file():
    with pytest.raises(DataError, match="no/such: no such file"):
        trace("no/such")

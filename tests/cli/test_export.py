"""svtk export, as a user runs it, and what takes an exported directory for a MODEL_DIR."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from svtk.errors import ModelError, SvtkError
from svtk.kaldi.tables import read_table
from svtk.models import exported


@pytest.fixture(scope="module")
def out(student_dir, corpus, tmp_path_factory):
    """(OUT_DIR, the finished process)"""
    directory = tmp_path_factory.mktemp("export") / "deep" / "onnx"
    words = [sys.executable, "-m", "svtk", "export", "--eval", corpus.valid, "--trials", corpus.trials]
    return directory, subprocess.run([*words, student_dir, str(directory)], capture_output=True, text=True)


def test_figures(out, student_dir):
    directory, done = out
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"EER ([\d.]+) % of {student_dir}, \1 % of {directory} \(\+0\.000\)\n", done.stdout)
    assert re.search(re.escape(f"{directory}: float32, ") + r"0\.\d\d MiB\n", done.stderr)
    assert re.search(r"largest relative difference from the model's embeddings: \de-0[5-9]|\d\.\de-0[5-9]", done.stderr)


def test_extract_embeddings_takes_it(svtk_main, out, student_dir, corpus, tmp_path):
    rows = {}
    for name, model in (("torch", student_dir), ("onnx", out[0])):
        done = svtk_main(
            "extract-embeddings", model, corpus.valid, f"ark,scp:{tmp_path}/{name}.ark,{tmp_path}/{name}.scp"
        )
        assert done.code == 0, done.stderr
        rows[name] = dict(read_table(f"scp:{tmp_path}/{name}.scp"))
    assert list(rows["onnx"]) == list(rows["torch"]) and len(rows["onnx"]) == 9
    for utt, row in rows["torch"].items():
        np.testing.assert_allclose(rows["onnx"][utt], row, rtol=1e-4, atol=1e-4)


def test_what_it_is_made_of(svtk_main, out, student_dir, corpus, tmp_path):
    """The record of embeddings goes back through the export to its model."""
    table = f"ark:{tmp_path}/e.ark"
    assert svtk_main("extract-embeddings", out[0], corpus.valid, table).code == 0
    done = svtk_main("trace", tmp_path / "e.ark")
    assert done.code == 0, done.stderr
    assert f"model: {out[0]} (unchanged)" in done.stdout
    assert f"model: {student_dir} (unchanged)" in done.stdout.partition("svtk export --eval")[2]


def test_only_embeddings_come_of_it(svtk_main, out, corpus, tmp_path):
    training = ["--valid", corpus.valid, "--valid-trials", corpus.trials, corpus.train, tmp_path / "model"]
    for words in (("describe", out[0]), ("train-backend", "--student", out[0], *training)):
        done = svtk_main(*words)
        assert done.code == 1
        assert f"Error: {out[0]}: an exported model, which can only give embeddings. To mend: give the" in done.stderr


def test_it_runs_on_the_cpu_alone(out):
    with pytest.raises(ModelError, match="runs on the CPU; found --device cuda"):
        exported.open_embedder(out[0], "cuda")
    model = exported.open_embedder(out[0])
    assert model.for_inference() is model
    with pytest.raises(ModelError, match="precision of an exported model cannot be changed"):
        model.for_inference("bfloat16")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("encoder.onnx", "no graph", "encoder.onnx: cannot open the graph"),
        ("export.json", "{", "export.json: damaged"),
        ("export.json", '{"opset": 20}', "export.json: damaged: .*missing key"),
        ("config.yaml", None, "config.yaml: cannot read configuration"),
    ],
)
def test_a_damaged_one(out, tmp_path, file, text, message):
    for path in out[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(SvtkError, match=message):
        exported.open_embedder(tmp_path)


def test_a_graph_that_cannot_be_run(out):
    """As one whose free sizes its exporter took for constants."""
    model = exported.open_embedder(out[0])
    with pytest.raises(ModelError, match=r"encoder\.onnx: cannot run the graph: .*To mend: use the MODEL_DIR"):
        model.encoder(torch.zeros(1, 17))


def test_without_the_extra(out, monkeypatch):
    monkeypatch.setattr(exported.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"this needs onnxruntime. To mend: pip install 'svtk\[onnx\]'"):
        exported.open_embedder(out[0])


def test_wrong_arguments(svtk_main, student_dir, corpus, tmp_path):
    for words in (("--eval", corpus.valid), ("--int8", "static"), ("--calibration-data", corpus.train)):
        done = svtk_main("export", *words, student_dir, tmp_path / "onnx")
        assert done.code == 2 and "go together" in done.stderr
    done = svtk_main("export", corpus.train, tmp_path / "onnx")
    assert done.code == 1 and done.stderr.startswith(f"Error: {corpus.train}: not a model directory")
    assert not list(tmp_path.iterdir())

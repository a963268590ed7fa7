"""svtk pack: a directory that travels, whose card says what is known and nothing else."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard

import svtk
from svtk.cli.main import svtk as cli
from svtk.config import save_yaml
from svtk.deploy.pack import pack
from svtk.errors import DataError, ModelError, SvtkError
from svtk.models.hub import TRAVELS
from svtk.models.speaker_model import ModelConfig, build_model, save_model
from svtk.provenance import read_record, recorded

WAV = (0.1 * np.random.default_rng(2).standard_normal(12_000)).astype(np.float32)


def calibration(path, scores=1):
    systems = [{"name": "s", "weight": 4.0}] * scores
    fields = {"p_target": 0.5, "offset": -2.0, "scores": systems, "quality": [], "trained_on": {}}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(fields))


@pytest.fixture
def trained(student_dir, tmp_path):
    """A student's MODEL_DIR as the recipe leaves it, with much that need not travel."""
    directory = tmp_path / "exp" / "sv_mixer"
    with recorded({}, [directory], {"seed": 0}):
        shutil.copytree(student_dir, directory)
    inputs = {"train": {"path": "data/train", "sha256": "0" * 64}, "teacher": "exp/teacher"}
    save_yaml({"verb": "distill", "seed": 3, "inputs": inputs, "config": {}}, directory / "run.yaml")
    (directory / "train.json").write_text(
        json.dumps({"epochs": 12, "seconds": 70.5, "valid_eer": 0.125, "history": []})
    )
    metrics = {
        **{"eer": 0.13, "min_dcf": {"0.05": 0.7686, "0.01": 0.959}, "num_targets": 40, "num_nontargets": 60},
        **{"interval": {"eer": [0.1, 0.16]}, "confidence": {"level": 0.95}},
        "provenance": {"command": ["svtk", "compute-metrics", "exp/my scores", "trials"]},
    }
    for name in ("test", "vox1_o_as_norm"):
        (directory / f"eval_{name}").mkdir()
        (directory / f"eval_{name}" / "metrics.json").write_text(json.dumps(metrics))
    calibration(directory / "valid" / "calibration")
    (directory / "checkpoints").mkdir()
    (directory / "embeddings.ark").write_text("large")
    return directory


def files(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_what_travels(trained, tmp_path):
    words = ["pack", "--license", "mit", "--name", "me/sv-mixer", str(trained), str(tmp_path / "out")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    assert files(out) == {"README.md", "calibration.json", "config.yaml", "model.safetensors", "provenance.json"}
    assert not any(path.is_symlink() for path in out.rglob("*")) and not list(tmp_path.glob("*.part"))
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in TRAVELS) for name in files(out))
    there, here = svtk.load(trained), svtk.load(out)
    np.testing.assert_array_equal(there.embed(WAV, 16_000), here.embed(WAV, 16_000))
    assert here.llr(0.5) == 0.0
    assert read_record(out) is not None  # the copies are what the record speaks of


def test_the_card_as_the_hub_reads_it(trained, tmp_path):
    pack(trained, tmp_path / "out", name="me/sv-mixer", license="apache-2.0")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("apache-2.0", "svtk", "me/sv-mixer")
    found = {(r.dataset_name, r.metric_name): r.metric_value for r in card.data.eval_results}
    assert found["test", "EER (%)"] == 13.0 and found["vox1_o_as_norm", "minDCF 0.05"] == 0.7686
    for text in (
        "1 `sv_mixer` blocks of width 8, `linear` backend. Embeddings have 6 numbers; windows of 0.5 s",
        "By `svtk distill`, seed 3, of:",
        "- train: `data/train`\n- teacher: `exp/teacher`",
        "12 epochs, 70.5 seconds, validation EER 12.50 %.",
        "| test | 13.00 (10.00 to 16.00) | 0.769 | 0.959 | 40 | 60 |",
        "95 % intervals",
        "svtk compute-metrics 'exp/my scores' trials\n```",
        'svtk.load("me/sv-mixer")',
        "`model.llr(score)`",
    ):
        assert text in card.text, text


def test_what_is_not_known_is_not_made_up(student_dir, tmp_path, caplog):
    pack(student_dir, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "unknown" and card.data.eval_results is None
    assert files(tmp_path / "out") == {"README.md", "config.yaml", "model.safetensors"}
    assert "how the model was made is not recorded" in caplog.text
    for text in ("How it was trained is not recorded.", "None are recorded.", "None has been given", "No calibration"):
        assert text in card.text


def test_figures_of_another_model_are_left_out(trained, tmp_path, caplog):
    for path in trained.glob("eval_test/metrics.json"):
        os.utime(path, (0, 0))
    pack(trained, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert {result.dataset_name for result in card.data.eval_results} == {"vox1_o_as_norm"}
    assert "eval_test/metrics.json is older than the model; left out" in caplog.text


def test_a_teacher_takes_its_encoder_along(wavlm_dir, tmp_path):
    encoder = tmp_path / "elsewhere"
    shutil.copytree(wavlm_dir, encoder)
    teacher = {"name": "wavlm", "source": str(encoder)}
    model = build_model(ModelConfig("teacher", 0.5, {"name": "linear", "embedding_dim": 5}, teacher=teacher))
    with recorded({}, [tmp_path / "teacher"], {}):
        save_model(model, tmp_path / "teacher")
    expected = svtk.load(tmp_path / "teacher").embed(WAV, 16_000)
    pack(tmp_path / "teacher", tmp_path / "kept", keep_source=True)
    pack(tmp_path / "teacher", tmp_path / "whole")
    shutil.rmtree(encoder)
    with pytest.raises(ModelError, match="cannot load the teacher|no such"):
        svtk.load(tmp_path / "kept")
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "whole", tmp_path / "moved" / "again")
    np.testing.assert_allclose(svtk.load(tmp_path / "moved" / "again").embed(WAV, 16_000), expected, atol=1e-6)
    pack(tmp_path / "moved" / "again", tmp_path / "twice")  # one whose encoder lies in it
    assert files(tmp_path / "twice") == files(tmp_path / "moved" / "again")
    assert {"encoder/config.json", "encoder/model.safetensors", "provenance.json"} <= files(tmp_path / "twice")


def test_an_exported_model(trained, tmp_path):
    pytest.importorskip("onnxruntime")
    from svtk.deploy.export import export

    export(str(trained), str(trained / "onnx"))
    pack(trained / "onnx", tmp_path / "out")
    assert {"backend.onnx", "config.yaml", "encoder.onnx", "export.json", "README.md"} <= files(tmp_path / "out")
    assert "ONNX graphs, float32" in (tmp_path / "out" / "README.md").read_text()
    found, expected = (svtk.load(directory).embed(WAV, 16_000) for directory in (tmp_path / "out", trained))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_failures_leave_nothing(trained, tmp_path):
    calibration(tmp_path / "two", scores=2)
    (trained / "eval_test" / "metrics.json").write_text("{")
    for arguments, error, message in [
        ((trained, trained), ModelError, "there is something already"),
        ((tmp_path / "exp", tmp_path / "out"), ModelError, "not a model directory"),
        ((trained, tmp_path / "out"), DataError, "eval_test/metrics.json: damaged"),
    ]:
        with pytest.raises(error, match=message):
            pack(*arguments)
    with pytest.raises(SvtkError, match="a calibration of more than one score"):
        pack(trained, tmp_path / "out", calibration=tmp_path / "two")
    assert not list(tmp_path.glob("out*"))

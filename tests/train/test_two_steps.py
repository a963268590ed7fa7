"""Distillation alone, then speakers alone, by the configurations for it, made small."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from svtk.config import load_config
from svtk.train.distill import distill
from svtk.train.fine_tune import fine_tune

CONF = Path(__file__).resolve().parents[2] / "conf"
SMALL = ("crop_duration=0.5", "batch_size=8", "max_epochs=2", "cache_audio=false")
STUDENT = (
    *("frontend.channels=8", "student.hidden_dim=8", "student.num_layers=1", "student.group_dim=4"),
    *("backend.channels=16", "backend.aggregate_channels=16", "backend.attention_channels=8", "backend.se_channels=8"),
)


def changed(one: Path, other: Path, part: str) -> bool:
    weights = [load_file(place / "model.safetensors") for place in (one, other)]
    names = [key for key in weights[0] if key.startswith(part) and weights[0][key].is_floating_point()]
    return any(not torch.equal(weights[0][key], weights[1][key]) for key in names)


def test_two_steps(run_of, tmp_path, wavlm_dir, history):
    mapping = load_config(CONF / "folder_distill_sv_mixer_two_step.yaml", (*SMALL, *STUDENT))
    distill(mapping, run_of(tmp_path / "first"), teacher=wavlm_dir)
    assert not (tmp_path / "first/classifier.safetensors").exists()  # no speakers yet
    assert all("hidden_mse" in record and "sv" not in record for record in history(tmp_path / "first"))
    last = history(tmp_path / "first")[-1]
    summary = json.loads((tmp_path / "first/train.json").read_text())
    assert summary["valid_eer"] == last["eer"]  # the last epoch, whatever its error rate
    mapping = load_config(CONF / "folder_fine_tune_sv_mixer_two_step.yaml", SMALL)
    fine_tune(mapping, run_of(tmp_path / "second"), model=str(tmp_path / "first"))
    assert all("sv" in record and "hidden_mse" not in record for record in history(tmp_path / "second"))
    assert changed(tmp_path / "first", tmp_path / "second", "encoder.")
    assert changed(tmp_path / "first", tmp_path / "second", "backend.")

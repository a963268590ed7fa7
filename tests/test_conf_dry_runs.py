"""Every configuration trains: its own verb takes two steps on a corpus of seconds, with all widths cut down."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from svtk.config import load_config
from table_files import write

CONF = Path(__file__).resolve().parents[1] / "conf"
NAMES = [file.stem for file in sorted(CONF.glob("*.yaml")) if not file.name.startswith("teacher_")]

LAYOUT = "{frequencies: 4, channels: 2, stages: [{stride: 1, num_blocks: 1}, {stride: 2, num_blocks: 1, reduction: 2}]}"
CUT = {  # widths alone; depths, losses and switches stay
    "frontend": {"waveform_conv": {"channels": 8}, "log_mel": {"channels": 8}},
    "student": {
        "sv_mixer": {"hidden_dim": 16, "group_dim": 2, "expansion": 1},
        "transformer": {"hidden_dim": 16, "num_heads": 2, "ffn_dim": 16},
        **dict.fromkeys(("mlp_mixer", "cycle_mlp", "conv_mixer"), {"hidden_dim": 16, "expansion": 1}),
    },
    "backend": {
        "linear": {"embedding_dim": 8},
        "ecapa_tdnn": {
            **{"channels": 8, "aggregate_channels": 8, "attention_channels": 4, "se_channels": 4, "embedding_dim": 8}
        },
        "mhfa": {"num_heads": 2, "compression_dim": 4, "embedding_dim": 8},
        "redimnet": {"layout": LAYOUT, "embedding_dim": 8},
        "redimnet_fusion": {"layout": LAYOUT, "num_injected": 2, "embedding_dim": 8},
    },
}
TRAINING = ["max_epochs=1", "batch_size=8", "num_workers=0", "warmup_epochs=0", "margin_warmup_epochs=0"]


def cut_down(mapping: dict) -> list[str]:
    """``--set`` of smaller widths for the components of a configuration."""
    settings = list(TRAINING)
    for key, widths in CUT.items():
        for option, value in widths.get(mapping.get(key, {}).get("name"), {}).items():
            settings.append(f"{key}.{option}={value}")
    if "sgd" in mapping:
        settings += ["max_epochs=2", "sgd.epochs=1"]  # an epoch of each phase
    if "new_model" in mapping:
        sizes = {"hidden_dim": 16, "num_heads": 2, "ffn_dim": 16, "conv_channels": 8}
        settings += [f"new_model.{key}={value}" for key, value in sizes.items()]
    return settings


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """As deep as WavLM-Large, so that its layers' numbers hold, and 12 wide."""
    import torch

    from svtk.teachers import wavlm

    torch.manual_seed(8)
    directory = str(tmp_path_factory.mktemp("teacher"))
    new = wavlm.NewModel(hidden_dim=12, num_layers=24, num_heads=2, ffn_dim=12, conv_channels=4)
    wavlm.create(new).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def teacher_embeddings(corpus, tmp_path_factory):
    """A table of vectors as any other system may have made them, one per training utterance."""
    rng = np.random.default_rng(8)
    table = tmp_path_factory.mktemp("embeddings") / "embeddings.ark"
    utts = [line.split()[0] for line in Path(corpus.train, "wav.scp").read_text().splitlines()]
    write(f"ark,t:{table}", {utt: rng.standard_normal(6).astype(np.float32) for utt in utts})
    return f"ark:{table}"


def sets(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def trained_teacher(svtk_main, corpus, encoder, model):
    settings = [*cut_down(load_config(CONF / "study_teacher.yaml")), "crop_duration=0.5"]
    done = svtk_main(
        *("train-teacher", "--config", CONF / "study_teacher.yaml", *sets(settings), "--encoder", encoder),
        *("--valid", corpus.valid, "--valid-trials", corpus.trials, corpus.train, model),
    )
    assert done.code == 0, done.stderr
    return model


@pytest.mark.parametrize("name", NAMES)
def test_two_steps(name, svtk_main, corpus, teacher, teacher_embeddings, student_dir, tmp_path):
    mapping = load_config(CONF / f"{name}.yaml")
    settings = cut_down(mapping)
    data, model = [corpus.train], tmp_path / "model"
    if "distill" in name or (name.startswith("study_") and "teacher" not in name):
        verb, data = "distill", ["--train", corpus.train, "--teacher", teacher]
        settings.append("crop_duration=0.5")
        if any(loss["name"].startswith("embedding_") for loss in mapping.get("kd_losses", [])):
            data += ["--teacher-embeddings", teacher_embeddings]
    elif "teacher_tuned" in name:
        verb = "fine-tune"
        settings += ["crop_duration=0.5", "valid_every=1"]
        data += ["--model", trained_teacher(svtk_main, corpus, teacher, tmp_path / "teacher")]
    elif "teacher" in name:
        verb, settings = "train-teacher", [*settings, "crop_duration=0.5"]
        data += [] if "new_model" in mapping else ["--encoder", teacher]
    elif "backend" in name:
        verb = "train-backend"
        data += ["--student", student_dir]
    else:
        verb = "fine-tune"
        settings.append("crop_duration=0.98")  # two windows of the student, as there
        data += ["--model", student_dir]
    noise = ["--noise", corpus.noise] if "augment" in mapping else []
    done = svtk_main(
        *(verb, "--config", CONF / f"{name}.yaml", *sets(settings), *noise),
        *("--valid", corpus.valid, "--valid-trials", corpus.trials, *data, model),
    )
    assert done.code == 0, done.stderr
    history = json.loads((model / "train.json").read_text())["history"]
    assert len(history) == (2 if "sgd" in mapping else 1) and all(abs(record["loss"]) < 1e4 for record in history)
    assert (model / "model.safetensors").exists()

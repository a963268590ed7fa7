"""Every file in conf/ is what its verb takes, and the paper's file holds the paper's values."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from svtk.config import from_mapping, load_config
from svtk.models.speaker_model import build_model
from svtk.models.teacher import teacher_spec
from svtk.registry import configure, names
from svtk.train.backend import BackendConfig
from svtk.train.distill import DistillConfig, kd_components
from svtk.train.fine_tune import FineTuneConfig
from svtk.train.options import resolve
from svtk.train.teacher import TeacherConfig

CONF = Path(__file__).resolve().parents[1] / "conf"
ALL = sorted(CONF.glob("*.yaml"))
FILES = [file for file in ALL if not file.name.startswith("teacher_")]  # of a verb
TEACHERS = [file.name for file in ALL if file.name.startswith("teacher_")]  # of --teacher


def config_class(name: str) -> type:
    """The dataclass of a file's verb."""
    for word, cls in (
        ("distill", DistillConfig),
        ("teacher_tuned", FineTuneConfig),
        ("teacher", TeacherConfig),
        ("backend", BackendConfig),
        ("lmft", FineTuneConfig),
        ("fine_tune", FineTuneConfig),
        ("study", DistillConfig),
    ):
        if word in name:
            return cls
    raise AssertionError(f"{name} belongs to no verb")


def read(name: str):
    return from_mapping(config_class(name), load_config(CONF / name), path=CONF / name)


def test_there_are_files():
    assert {"distill_sv_mixer.yaml", "distill_transformer.yaml", "backend_linear.yaml"} <= {f.name for f in FILES}


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_accepted(name):
    config = read(name)
    resolve(config)
    if isinstance(config, DistillConfig):
        kd_components(config)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher(name):
    spec = teacher_spec(CONF / name)
    assert configure("teachers", spec).config.source == spec["source"] and "/" in spec["source"]
    assert name.startswith(f"teacher_{spec['name']}")


def test_every_kind_of_teacher_has_one():
    assert {teacher_spec(CONF / name)["name"] for name in TEACHERS} == set(names("teachers"))


@pytest.mark.parametrize("name", [file.name for file in ALL])
def test_says_what_it_is(name):
    first = (CONF / name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and first.endswith((".", ":"))


def test_the_papers_values():
    config = read("distill_sv_mixer.yaml")
    assert (config.crop_duration, config.crop_grid, config.batch_size) == (3.0, 320, 128)
    assert (config.lr, config.weight_decay, config.precision) == (2e-4, 2e-5, "fp32")
    assert (config.schedule, config.lr_factor, config.lr_patience, config.stop_patience) == ("plateau", 0.5, 5, 10)
    assert config.teacher_context == "crop" and config.sv_weight == 1.0
    assert (config.warmup_epochs, config.margin_warmup_epochs, config.valid_every) == (0, 0, 1)
    frontend = configure("frontends", config.frontend).config
    assert (frontend.channels, frontend.dropout) == (512, 0.1)
    assert frontend.kernels == (10, 3, 3, 3, 3, 2, 2) and frontend.strides == (5, 2, 2, 2, 2, 2, 2)
    student = configure("students", config.student)
    assert student.name == "sv_mixer"
    assert student.spec() == {
        **{"name": "sv_mixer", "num_layers": 5, "hidden_dim": 1024, "group_dim": 128, "expansion": 4},
        **{"dropout": 0.1, "lgm": "parallel", "msm": True, "gcm": True},
    }
    backend = configure("backends", config.backend)
    assert (backend.name, backend.config.channels, backend.config.embedding_dim) == ("ecapa_tdnn", 512, 192)
    sv = configure("losses", config.sv_loss)
    assert sv.name == "aam_softmax" and (sv.config.margin, sv.config.scale) == (0.2, 30.0)
    assert (sv.config.top_k, sv.config.top_k_penalty, sv.config.top_k_weight) == (5, "weight", 10.0)
    [(weight, kd)] = kd_components(config)
    assert (weight, kd.name) == (1.0, "hidden_mse")
    assert (kd.config.student_layer, kd.config.teacher_layer, kd.config.normalize) == (-1, -1, "none")


def test_every_option_of_the_protocol_is_named():
    """Not left to a default that may change."""
    named = load_config(CONF / "distill_sv_mixer.yaml")
    assert {
        *("crop_duration", "crop_grid", "batch_size", "max_epochs", "lr", "weight_decay", "schedule", "lr_factor"),
        *("lr_patience", "stop_patience", "teacher_context", "frontend", "student", "backend", "sv_loss", "kd_losses"),
        "augment",
    } <= set(named)


@pytest.mark.parametrize("prefix", ["", "folder_", "demo_"])
@pytest.mark.parametrize("student", ["transformer", "mlp_mixer", "cycle_mlp", "conv_mixer"])
def test_students_differ_in_the_student_alone(prefix, student):
    """Table I: identical settings, depth and width."""
    mixer, other = (load_config(CONF / f"{prefix}distill_{name}.yaml") for name in ("sv_mixer", student))
    ours, theirs = mixer.pop("student"), other.pop("student")
    assert (ours["name"], theirs["name"]) == ("sv_mixer", student)
    assert [ours[key] for key in ("num_layers", "hidden_dim")] == [theirs[key] for key in ("num_layers", "hidden_dim")]
    assert mixer == other


@pytest.mark.parametrize("student", ["transformer", "mlp_mixer", "cycle_mlp", "conv_mixer", "sv_mixer"])
def test_the_papers_students_are_the_defaults(student):
    config = read(f"distill_{student}.yaml")
    assert configure("students", config.student).spec() == configure("students", {"name": student}).spec()


@pytest.mark.parametrize(
    ("name", "modules"), [("none", ""), ("only_gcm", "gcm"), ("only_lgm", "lgm"), ("only_msm", "msm")]
)
def test_ablations(name, modules):
    """Table II: SV-Mixer with none, or one, of its modules; all else the same."""
    whole, part = (load_config(CONF / f"distill_sv_mixer{suffix}.yaml") for suffix in ("", f"_{name}"))
    student = configure("students", part.pop("student")).config
    assert (student.lgm != "off", student.msm, student.gcm) == tuple(m in modules for m in ("lgm", "msm", "gcm"))
    switches = {"lgm": "parallel", "msm": True, "gcm": True}
    assert dataclasses.replace(student, **switches) == configure("students", whole.pop("student")).config
    assert part == whole


@pytest.mark.parametrize("student", ["sv_mixer", "transformer"])
@pytest.mark.parametrize("backend", ["linear", "redimnet"])
def test_other_backends(student, backend):
    """Table III: as distilled with ECAPA-TDNN, but for the backend, which is that of train-backend."""
    plain, other = (load_config(CONF / f"distill_{student}{suffix}.yaml") for suffix in ("", f"_with_{backend}"))
    assert plain.pop("backend")["name"] == "ecapa_tdnn"
    assert other.pop("backend") == load_config(CONF / f"backend_{backend}.yaml")["backend"]
    assert plain == other


def test_figure_5():
    """DistilHuBERT's KD at 5 and at 17 blocks."""
    plain, small, large = (
        load_config(CONF / f"distill_sv_mixer{suffix}.yaml") for suffix in ("", "_distilhubert", "_distilhubert_17")
    )
    assert small["kd_losses"] == large["kd_losses"] != plain["kd_losses"]
    assert [c["student"].pop("num_layers") for c in (plain, small, large)] == [5, 5, 17]
    [(weight, kd)] = kd_components(read("distill_sv_mixer_distilhubert_17.yaml"))
    assert (weight, kd.name, kd.config.teacher_layers, kd.config.cosine_weight) == (1.0, "distilhubert", (8, 16, 24), 1)
    for config in (plain, small, large):
        config.pop("kd_losses")
    assert plain == small == large


@pytest.mark.parametrize("name", [file.name for file in FILES if "distill_" in file.name])
def test_builds_at_its_size(name):
    """The paper's sizes without memory for the weights: shapes alone."""
    config = read(name)
    with torch.device("meta" if name.startswith("distill_") else "cpu"):
        model = build_model(config.model_config())
    assert model.encoder.num_hidden == config.student["num_layers"] + 1 and model.embedding_dim > 0


@pytest.mark.parametrize("prefix", ["", "folder_"])
def test_two_steps_are_the_one_step_in_turn(prefix):
    """Distillation without speakers, speakers without distillation, all else the same but for the schedule."""
    both, first = (load_config(CONF / f"{prefix}distill_sv_mixer{step}.yaml") for step in ("", "_two_step"))
    timing = {"max_epochs", "schedule", "stop_patience", "average_last", "valid_every", "sv_weight"}
    assert first["sv_weight"] == 0 and first["average_last"] == 1
    assert {k: v for k, v in first.items() if k not in timing} == {k: v for k, v in both.items() if k not in timing}
    one, second = read(f"{prefix}distill_sv_mixer.yaml"), read(f"{prefix}fine_tune_sv_mixer_two_step.yaml")
    for key in ("crop_duration", "batch_size", "lr", "weight_decay", "augment", "cache_audio", "lr_patience"):
        assert getattr(one, key) == getattr(second, key), key
    assert configure("losses", one.sv_loss).spec() == configure("losses", second.sv_loss).spec()
    if prefix:
        assert first["max_epochs"] + second.max_epochs == one.max_epochs


def test_the_readme_names_every_row():
    text = (CONF / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:conf/)?([a-z0-9_]+\.yaml)`", text))
    assert named <= {file.name for file in ALL}
    assert {file.name for file in FILES if file.name.startswith(("distill_", "backend_"))} <= named
    rows = [row for row in text.splitlines() if "COMMAND --" in row]
    assert len(rows) == 21
    for row in rows:  # the command takes the files that the row names
        [teacher], [student] = re.findall(r"--teacher (\S+)", row), re.findall(r"--student (\w+)", row)
        assert f"`distill_{student}.yaml`" in row
        [file] = re.findall(r"`(teacher_\w+.yaml)`", row) or ["teacher_wavlm_large.yaml"]
        assert load_config(CONF / file)["source"] == teacher


def test_teacher_and_students_share_one_budget():
    for prefix in ("folder_",):
        teacher, student = read(f"{prefix}teacher.yaml"), read(f"{prefix}distill_sv_mixer.yaml")
        for key in ("crop_duration", "batch_size", "max_epochs", "schedule", "valid_every", "margin_warmup_epochs"):
            assert getattr(teacher, key) == getattr(student, key), key

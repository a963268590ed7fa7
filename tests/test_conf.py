"""Every file in conf/ is what its verb takes, and the paper's file holds the paper's values."""

from __future__ import annotations

from pathlib import Path

import pytest

from svtk.config import from_mapping, load_config
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
        ("teacher", TeacherConfig),
        ("backend", BackendConfig),
        ("lmft", FineTuneConfig),
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


def test_the_transformer_differs_in_the_student_alone():
    for prefix in ("", "folder_"):
        mixer, transformer = (load_config(CONF / f"{prefix}distill_{s}.yaml") for s in ("sv_mixer", "transformer"))
        assert mixer.pop("student")["name"] == "sv_mixer" and transformer.pop("student")["name"] == "transformer"
        assert mixer == transformer


def test_teacher_and_students_share_one_budget():
    for prefix in ("folder_",):
        teacher, student = read(f"{prefix}teacher.yaml"), read(f"{prefix}distill_sv_mixer.yaml")
        for key in ("crop_duration", "batch_size", "max_epochs", "schedule", "valid_every", "margin_warmup_epochs"):
            assert getattr(teacher, key) == getattr(student, key), key

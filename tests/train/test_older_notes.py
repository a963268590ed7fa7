"""MODEL_DIRs whose run was noted before svtk had all of today's options."""

from __future__ import annotations

import pytest

from svtk.config import load_yaml, save_yaml
from svtk.errors import ModelError
from svtk.train.distill import DistillConfig
from svtk.train.options import resolve
from svtk.train.run import Run


@pytest.fixture
def noted(tmp_path, corpus):
    """A finished run as an older svtk left it, and what it is now."""
    run = Run(corpus.train, corpus.valid, str(corpus.trials), str(tmp_path / "m"))
    config = resolve(DistillConfig())[1]
    assert not run.finished("distill", config)
    (tmp_path / "m/model.safetensors").touch()
    note = load_yaml(tmp_path / "m/run.yaml")
    del note["config"]["shuffle_buffer"], note["config"]["augment"]["distort"], note["config"]["sgd"]
    save_yaml(note, tmp_path / "m/run.yaml")
    return run, config


def test_a_new_option_at_its_default_is_no_other_run(noted):
    run, config = noted
    assert run.finished("distill", config)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"shuffle_buffer": 7}, "config.shuffle_buffer"), ({"lr": 1.0}, "config.lr"), ({"other": 1}, "config.other")],
)
def test_another_value_is(noted, change, name):
    run, config = noted
    with pytest.raises(ModelError, match=f"a run with other settings; found a difference in {name}"):
        run.finished("distill", {**config, **change})

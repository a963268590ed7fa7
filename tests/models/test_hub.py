"""A model by its path or its hub name, the hub being a cache of its making, and no network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from svtk.errors import ModelError
from svtk.models.hub import model_directory


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Put a directory into a fake cache, as huggingface_hub lays it out: links into blobs."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(source, name, revision="main", commit="0" * 40):
        repo = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = repo / "snapshots" / commit
        for file in (path for path in Path(source).rglob("*") if path.is_file()):
            link = snapshot / file.relative_to(source)
            blob = repo / "blobs" / f"{commit[:6]}-{file.name}"
            for parent in (link.parent, blob.parent):
                parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, blob)
            link.symlink_to(os.path.relpath(blob, link.parent))
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / revision).write_text(commit)
        return snapshot

    return put


def test_a_directory_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp" / "model").mkdir(parents=True)
    assert model_directory("exp/model") == Path("exp/model")
    assert model_directory(tmp_path / "exp") == tmp_path / "exp"


def test_a_hub_name_loads(hub, student_dir):
    import svtk

    main, old = hub(student_dir, "someone/sv-mixer.v1"), hub(student_dir, "someone/sv-mixer.v1", "old", "1" * 40)
    assert model_directory("someone/sv-mixer.v1") == main
    assert model_directory("someone/sv-mixer.v1", "old") == old
    assert svtk.load("someone/sv-mixer.v1").embedding_dim == 6


def test_no_such_model(hub):
    with pytest.raises(ModelError, match="nobody/nothing: no such directory, and not to be had from the hub: "):
        model_directory("nobody/nothing")


@pytest.mark.parametrize("name", ["exp", "./exp/model", "/exp/model", "a/b/c", "../model", "~/model"])
def test_what_is_no_hub_name_is_not_asked_for(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_: pytest.fail("asked"))
    with pytest.raises(ModelError, match="not a model directory; found no such directory"):
        model_directory(name)


def test_a_file_and_a_revision_of_a_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="found a file"):
        model_directory(tmp_path / "file")
    with pytest.raises(ModelError, match="a directory has no revision; found old"):
        model_directory(tmp_path, "old")

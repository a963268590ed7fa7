"""Files of weights are whole, and open to whom the umask lets."""

from __future__ import annotations

import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from svtk.weights import open_to_umask, save_tensors


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_save_tensors(umask, tmp_path):
    weights = torch.arange(6.0).reshape(2, 3).T.requires_grad_()  # neither contiguous nor detached
    save_tensors({"a": weights}, tmp_path / "w.safetensors", {"speakers": "[]"})
    assert torch.equal(load_file(tmp_path / "w.safetensors")["a"], weights)
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata() == {"speakers": "[]"}
    assert [f.name for f in tmp_path.iterdir()] == ["w.safetensors"]
    assert permissions(tmp_path / "w.safetensors") == 0o666 & ~umask
    assert os.umask(umask) == umask  # as it was


def test_open_to_umask_of_a_directory(umask, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "secret").touch(mode=0o600)
    open_to_umask(tmp_path)
    assert permissions(tmp_path / "model.safetensors") == 0o666 & ~umask
    assert permissions(tmp_path / "secret") == 0o600 & ~umask

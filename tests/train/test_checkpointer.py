"""A save that stops half way leaves no checkpoint, and the one before it is found."""

from __future__ import annotations

import pytest
import torch

from svtk.train.checkpointer import WholeCheckpointer


class Killed(BaseException):
    pass


def test_a_half_saved_checkpoint_is_not_one(tmp_path):
    module = torch.nn.Linear(2, 2)
    weight = module.weight.detach().clone()
    saver = WholeCheckpointer(tmp_path, {"a": module, "b": torch.nn.Linear(1, 1)})
    saver.save_and_keep_only(meta={"epoch": 1})

    def killed(_object, path):
        path.write_bytes(b"torn")
        raise Killed

    saver.add_recoverable("b", torch.nn.Linear(1, 1), custom_save_hook=killed)
    with torch.no_grad():
        module.weight.zero_()
    with pytest.raises(Killed):
        saver.save_and_keep_only(meta={"epoch": 2})
    assert len(list(tmp_path.glob("CKPT+*"))) == 2

    back = WholeCheckpointer(tmp_path, {"a": module, "b": torch.nn.Linear(1, 1)})
    assert back.recover_if_possible().meta["epoch"] == 1
    assert torch.equal(module.weight, weight)


def test_only_what_is_asked_for_is_kept(tmp_path):
    saver = WholeCheckpointer(tmp_path, {"a": torch.nn.Linear(1, 1)})
    for epoch, eer in ((1, 0.3), (2, 0.1), (3, 0.2), (4, 0.2)):
        saver.save_and_keep_only(meta={"epoch": epoch, "eer": eer}, min_keys=["eer"])
    assert sorted(found.meta["epoch"] for found in saver.list_checkpoints()) == [2, 4]
    assert saver.find_checkpoint(min_key="eer").meta["epoch"] == 2

"""Checkpoints that are whole or not there, so that a kill at any moment leaves something to resume from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from speechbrain.utils import checkpoints

from svtk.errors import ModelError
from svtk.train import parallel

__all__ = ["WholeCheckpointer"]


class WholeCheckpointer(checkpoints.Checkpointer):
    """SpeechBrain's, except for what a kill or a full disk would leave behind.

    SpeechBrain 1.1 writes ``CKPT.yaml`` first, and removes it at any time while it deletes: a run killed meanwhile
    would on its return find a checkpoint with torn or missing weights, and fail. Here that file, which makes a
    directory a checkpoint, comes last, by rename, when all others are on the disk, and goes first. A save that
    failed leaves nothing, and the checkpoints before it as they were. Which checkpoint is the newest is told by its
    ``epoch`` and ``step``, not by the clock of the machine that wrote it.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if parallel.is_main():
            for path in self.checkpoints_dir.glob(f"{checkpoints.CKPT_PREFIX}+*"):
                if not self._is_checkpoint_dir(path):  # a save or a removal that was killed
                    shutil.rmtree(path)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """
        Raises:
            ModelError: it cannot be written.
        """
        try:
            saved = super().save_checkpoint(*args, **kwargs)
            if saved is not None:  # the main process
                _settle(saved.path)
        except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by the latter
            torn = [path for path in self.checkpoints_dir.iterdir() if not self._is_checkpoint_dir(path)]
            for path in torn:
                shutil.rmtree(path, ignore_errors=True)
            why = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise ModelError(
                f"cannot write the checkpoint: {why}",
                path=torn[0] if torn else self.checkpoints_dir,
                found=f"{shutil.disk_usage(self.checkpoints_dir).free / 2**20:.0f} MiB free",
                mend="make room and run again: it goes on from the last checkpoint, which is kept",
            ) from error
        return saved

    def _save_checkpoint_metafile(self, fpath: Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super()._save_checkpoint_metafile(_unfinished(fpath), *args, **kwargs)

    def newest(self) -> checkpoints.Checkpoint | None:
        """The checkpoint to resume from."""
        return self.find_checkpoint(importance_key=_progress)

    def of_epoch(self, epoch: int) -> checkpoints.Checkpoint | None:
        """The checkpoint of the end of *epoch*."""
        return self.find_checkpoint(
            importance_key=_progress, ckpt_predicate=lambda found: _progress(found) == (epoch, 0)
        )

    def prune(self, keep: int, best_epoch: int) -> None:
        """Keep the last *keep* ends of epochs, the end of *best_epoch*, and a later checkpoint within an epoch."""
        if not parallel.is_main():
            return
        found = sorted(self.list_checkpoints(), key=_progress)
        ends = [checkpoint for checkpoint in found if _progress(checkpoint)[1] == 0]
        kept = {_progress(checkpoint) for checkpoint in (*found[-1:], *ends[-keep:])} | {(best_epoch, 0)}
        for checkpoint in found:
            if _progress(checkpoint) not in kept:
                metafile = checkpoint.path / checkpoints.METAFNAME
                os.replace(metafile, _unfinished(metafile))
                shutil.rmtree(checkpoint.path)


def _progress(checkpoint: checkpoints.Checkpoint) -> tuple[int, int]:
    return checkpoint.meta["epoch"], checkpoint.meta.get("step", 0)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _settle(directory: Path) -> None:
    """Make a checkpoint of a directory whose files are all written, and have them all on the disk."""
    for path in [*directory.iterdir(), directory]:
        _sync(path)
    metafile = directory / checkpoints.METAFNAME
    os.replace(_unfinished(metafile), metafile)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

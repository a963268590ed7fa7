"""Checkpoints that are whole or not there, so that a kill at any moment leaves something to resume from."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils import checkpoints

from svtk.errors import ModelError
from svtk.train import parallel

__all__ = ["Checkpoints", "WholeCheckpointer", "reading"]


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """When checkpoints are written, beside the ends of epochs, and how many ends of epochs are kept.

    Attributes:
        minutes: between two checkpoints within an epoch; 0: none.
        steps: between two of them, too; 0: none.
        keep: ends of epochs, beside that of the best.
    """

    minutes: float = 15.0
    steps: int = 0
    keep: int = 2


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
            self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        """Remove what a save or a removal left that was killed or failed."""
        for path in self.checkpoints_dir.glob(f"{checkpoints.CKPT_PREFIX}+*"):
            if not self._is_checkpoint_dir(path):
                shutil.rmtree(path)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """
        Raises:
            ModelError: it cannot be written.
        """
        for name, recoverable in self.recoverables.items():
            if hasattr(recoverable, "state_dict"):
                self.custom_save_hooks.setdefault(name, _write_state)
        try:
            saved = super().save_checkpoint(*args, **kwargs)
            if saved is not None:  # the main process
                _settle(saved.path)
        except OSError as error:
            self._remove_unfinished()
            raise ModelError(
                f"cannot write the checkpoint: {error.strerror}",
                path=error.filename or self.checkpoints_dir,
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

    def last_ends(self, count: int) -> list[checkpoints.Checkpoint]:
        """The checkpoints of the ends of the last *count* epochs, or of as many as there are, in their order."""
        return sorted((found for found in self.list_checkpoints() if not _progress(found)[1]), key=_progress)[-count:]

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


@contextlib.contextmanager
def reading(checkpoint: checkpoints.Checkpoint) -> Iterator[None]:
    """
    Raises:
        ModelError: what the block reads of *checkpoint* does not fit.
    """
    try:
        yield
    except Exception as error:  # torch.load alone has a dozen ways to fail
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"the checkpoint does not fit: {why[0]}",
            path=checkpoint.path,
            mend="remove the directory to go on from the checkpoint before, or to start afresh",
        ) from error


def _progress(checkpoint: checkpoints.Checkpoint) -> tuple[int, int]:
    return checkpoint.meta["epoch"], checkpoint.meta.get("step", 0)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _write_state(recoverable: Any, path: Path) -> None:
    """SpeechBrain's torch_save, but a full disk is an OSError: torch.save has other words for it."""
    if not parallel.is_main():
        return
    try:
        with open(path, "wb") as file:
            torch.save(recoverable.state_dict(), file)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


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

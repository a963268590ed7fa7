"""Checkpoints that are whole or not there, so that a kill at any moment leaves something to resume from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from speechbrain.utils import checkpoints

__all__ = ["WholeCheckpointer"]


class WholeCheckpointer(checkpoints.Checkpointer):
    """SpeechBrain's, except that the file which makes a directory a checkpoint comes last, by rename.

    SpeechBrain 1.1 writes ``CKPT.yaml`` first, so that a run killed while it saves would on its return find a
    checkpoint with torn or missing weights, and fail.
    """

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        saved = super().save_checkpoint(*args, **kwargs)
        if saved is not None:  # the main process
            os.replace(_unfinished(saved.path / checkpoints.METAFNAME), saved.path / checkpoints.METAFNAME)
        return saved

    def _save_checkpoint_metafile(self, fpath: Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super()._save_checkpoint_metafile(_unfinished(fpath), *args, **kwargs)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".part")

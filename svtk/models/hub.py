"""A MODEL_DIR by its path, or by its name on the Hugging Face Hub (``svtk pack`` makes what goes there)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from svtk.errors import ModelError

__all__ = ["TRAVELS", "model_directory"]

#: what of a MODEL_DIR, or of an exported one, is worth sending anywhere
TRAVELS = (
    *("config.yaml", "model.safetensors", "calibration.json", "provenance.json", "README.md"),
    *("encoder/*.json", "encoder/*.safetensors"),
    *("export.json", "encoder.onnx", "backend.onnx"),
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def model_directory(source: str | os.PathLike, revision: str | None = None) -> Path:
    """Where a model lies on this machine; one from the hub is downloaded once, only the files that make a model.

    Args:
        source: a directory, else a hub name, ``OWNER/NAME``.
        revision: branch, tag or commit on the hub [its main branch].

    Raises:
        ModelError: no such directory, and not to be had from the hub either; *revision* of a directory.
    """
    path = Path(source)
    if path.is_dir():
        if revision is not None:
            raise ModelError("a directory has no revision", path=path, found=revision, mend="leave it out")
        return path
    if path.exists() or not _HUB_NAME.fullmatch(os.fspath(source)):
        found = "a file" if path.exists() else "no such directory"
        raise ModelError(
            "not a model directory", path=path, found=found, expected="a MODEL_DIR, or OWNER/NAME on a hub"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(os.fspath(source), revision=revision, allow_patterns=list(TRAVELS)))
    except (OSError, ValueError, HfHubHTTPError) as error:  # as huggingface_hub says: offline, unknown, private ...
        raise ModelError(
            f"no such directory, and not to be had from the hub: {str(error).strip().splitlines()[0]}",
            path=path,
            mend="give an existing MODEL_DIR, or check the hub name and the network",
        ) from error

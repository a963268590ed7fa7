"""Files of weights (safetensors), written whole and readable to whom the umask lets read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

__all__ = ["open_to_umask", "save_tensors"]


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | os.PathLike, metadata: dict[str, str] | None = None
) -> None:
    """Write *tensors*, of any device and layout, to the safetensors file *path*, by rename.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    part = Path(f"{os.fspath(path)}.part")
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(contiguous, part, metadata=metadata)
        open_to_umask(part)
        os.replace(part, path)
    except BaseException:  # a full disk needs the room
        part.unlink(missing_ok=True)
        raise


def open_to_umask(path: str | os.PathLike) -> None:
    """Give *path*, or the safetensors files in a directory, the permissions that a new file has.

    safetensors 0.8 writes what its owner alone may read, so that nobody else on a cluster could use the model.
    """
    path = Path(path)
    umask = os.umask(0o077)
    os.umask(umask)
    for file in path.glob("*.safetensors") if path.is_dir() else [path]:
        file.chmod(0o666 & ~umask)

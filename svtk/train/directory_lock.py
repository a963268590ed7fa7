"""One training run at a time in a MODEL_DIR."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import IO

from svtk.errors import ModelError

__all__ = ["DirectoryLock"]

log = logging.getLogger(__name__)

_FILE = "run.lock"


class DirectoryLock:
    """Keeps other processes out of a directory while this one writes there.

    The lock ends with the process, however that ends, and is not handed down to processes that it starts; it holds
    across machines where the file system has POSIX record locks (NFS with its lock service, Lustre with ``flock``).
    Where it has none, there is no lock.
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def acquire(self, directory: Path) -> None:
        """Take the lock of *directory*, which exists; a directory that may not be written to has none.

        Raises:
            ModelError: another process has it.
        """
        try:
            file = open(directory / _FILE, "a+", encoding="utf-8")  # noqa: SIM115  it stays open
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EROFS):
                return
            raise
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, as POSIX leaves open
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise ModelError(
                "another process is training in this directory",
                path=directory,
                found=holder or "its lock",
                mend="wait for it or stop it, then run again; or choose another MODEL_DIR",
            ) from error
        except OSError as error:
            log.debug("%s: no lock on this file system: %s", directory, error)
        self._file = file
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()

    def release(self) -> None:
        """Give the lock back, if there is one."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

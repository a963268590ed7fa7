"""SIGTERM, with which Slurm, ``kill`` and torchrun ask a run to end: it is saved first, where it stands."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["Terminated", "Termination"]


class Terminated(SystemExit):
    """The run was asked to end and is saved; the exit status is that of a process which SIGTERM has ended, 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Termination:
    """Notes a SIGTERM, for the training loop to obey between two steps.

    Outside of the main thread, where Python allows no handlers, nothing is noted and SIGTERM ends the process.

    Attributes:
        requested: whether there was one.
    """

    def __init__(self) -> None:
        self.requested = self._now = False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Within the block SIGTERM is noted only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextlib.contextmanager
    def obeyed_at_once(self) -> Iterator[None]:
        """Within the block, which changes nothing, SIGTERM raises :class:`Terminated`; so does an earlier one."""
        self._now = True
        try:
            if self.requested:
                raise Terminated
            yield
        finally:
            self._now = False

    def _note(self, *_: Any) -> None:
        self.requested = True
        if self._now:
            raise Terminated

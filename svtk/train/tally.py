"""What the steps of an epoch gave, summed where it was computed, so that no step waits to be read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from svtk.train import parallel
from svtk.train.state import TrainState

__all__ = ["EpochTally"]


class EpochTally:
    """Sums of the losses over the steps of an epoch, and counts of those whose gradient was not finite, in a process.

    Whatever gives a number (not a tensor) waits for the device.

    Args:
        device: of what is summed.
    """

    def __init__(self, device: str):
        self._step: dict[str, Tensor] = {}  # of the parts of a step that is being computed
        self._sums: dict[str, Tensor] = {}
        self._zero = torch.zeros((), dtype=torch.float64, device=device)
        self._skipped = self._streak = self._longest = torch.zeros((), dtype=torch.int64, device=device)

    def start(self, state: TrainState) -> None:
        """An epoch begins, after those of its steps that *state* has; a streak goes on from epoch to epoch."""
        self._sums = {name: self._zero + value for name, value in state.sums.items()}
        self._skipped = torch.full_like(self._skipped, state.skipped)

    def add_part(self, losses: Mapping[str, Tensor], share: float, *, first: bool) -> None:
        """Take in the losses of a part of a step, the *first* or another, which is that *share* of its batch."""
        for name, value in losses.items():
            value = value.detach().double() * share
            self._step[name] = value if first else self._step[name] + value

    def end_step(self, spoilt: Tensor) -> None:
        """All parts are there; if the step is *spoilt* (a bool on the device), its losses do not count."""
        for name, value in self._step.items():
            self._sums[name] = self._sums.get(name, self._zero) + torch.where(spoilt, 0.0, value)
        self._skipped = self._skipped + spoilt
        self._streak = (self._streak + 1) * spoilt
        self._longest = torch.maximum(self._longest, self._streak)

    @property
    def skipped(self) -> int:
        """Spoilt steps of the epoch."""
        return int(self._skipped)

    @property
    def longest_streak(self) -> int:
        """Most spoilt steps, one after another, since the process began."""
        return int(self._longest)

    def means(self, steps: int) -> dict[str, float]:
        """Of the *steps* of the epoch so far, without the spoilt, in this process."""
        done = max(1, steps - self.skipped)
        return {name: value.item() / done for name, value in self._sums.items()}

    def sums(self) -> dict[str, float]:
        """The mean of all processes' sums; they ask for it together."""
        return {name: value.item() for name, value in parallel.mean(self._sums).items()}

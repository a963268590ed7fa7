"""What a training run shows: a bar on a terminal or lines in a log, train.csv, TensorBoard."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from svtk.errors import ModelError
from svtk.kaldi.text import write_text
from svtk.progress import bar_wanted
from svtk.train.state import TrainState

__all__ = ["TrainLog"]

log = logging.getLogger(__name__)

_INTERVAL = 30.0  # seconds between two lines within an epoch


class TrainLog:
    """The log of a run in its MODEL_DIR; all but the first of several processes have none.

    ``train.csv`` holds one line per epoch, and is written anew from the run's history, so that a resumed run leaves
    no line out and none twice. TensorBoard has the same under ``tensorboard``, and under ``tensorboard/steps`` what
    is logged within the epochs; what a killed run wrote after its last checkpoint, TensorBoard forgets.

    Args:
        directory: MODEL_DIR.
        max_epochs, steps_per_epoch: of the run.
        crops_per_step: in all processes.
        tensorboard: whether to write for TensorBoard.
        quiet: write and show nothing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_epochs: int,
        steps_per_epoch: int,
        crops_per_step: int,
        tensorboard: bool = True,
        quiet: bool = False,
    ):
        self.directory, self.max_epochs, self.steps_per_epoch = directory, max_epochs, steps_per_epoch
        self.crops_per_step, self.tensorboard, self.quiet = crops_per_step, tensorboard and not quiet, quiet
        self._epochs: SummaryWriter | None = None
        self._steps: SummaryWriter | None = None
        self._bar: tqdm | None = None

    def start(self, state: TrainState) -> None:
        """Take up the log of a run that is at *state*."""
        if self.tensorboard:
            place = self.directory / "tensorboard"
            done = state.epoch * self.steps_per_epoch + state.step
            self._epochs = SummaryWriter(str(place), purge_step=state.epoch or None)
            self._steps = SummaryWriter(str(place / "steps"), purge_step=done + 1 if done else None)
        if state.epoch:
            self.epoch(state, state.epoch_seconds, announce=False)

    def start_epoch(self, state: TrainState) -> None:
        """The steps of the next epoch begin, after those that *state* has of it."""
        self._since, self._step, self._waited = time.monotonic(), state.step, 0.0
        if self.quiet or not bar_wanted():
            return
        best = f", EER {100 * state.best_eer:.2f} %" if state.best_epoch else ""
        self._bar = tqdm(
            desc=f"epoch {state.epoch + 1}/{self.max_epochs}{best}",
            total=self.steps_per_epoch,
            initial=state.step,
            unit="step",
            dynamic_ncols=True,
        )

    def step(self, state: TrainState, waited: float, seconds: float, values: Callable[[], dict[str, float]]) -> None:
        """A step is done; every so many seconds, say so.

        Args:
            state: after the step.
            waited: seconds of this epoch, here, that were spent waiting for data.
            seconds: that this epoch has taken, before a resume and here.
            values: gives what else is to be logged; asked for seldom, for it waits for the device.
        """
        if self._bar is not None:
            self._bar.update()
        now = time.monotonic()
        if self.quiet or now - self._since < _INTERVAL:
            return
        elapsed, steps = now - self._since, state.step - self._step
        record = {
            **values(),
            "data_wait": (waited - self._waited) / elapsed,
            "crops_per_second": steps * self.crops_per_step / elapsed,
        }
        self._since, self._step, self._waited = now, state.step, waited
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {record['loss']:.4f}, data wait {100 * record['data_wait']:.0f} %")
        else:
            best = f", best EER {100 * state.best_eer:.2f} %" if state.best_epoch else ""
            log.info(
                "epoch %d/%d: step %d/%d, loss %.4f%s, data wait %.0f %%, %.0f crops/s, %s left",
                *(state.epoch + 1, self.max_epochs, state.step, self.steps_per_epoch, record["loss"], best),
                *(100 * record["data_wait"], record["crops_per_second"], self.left(state, seconds)),
            )
        self._add(self._steps, record, state.epoch * self.steps_per_epoch + state.step)

    def left(self, state: TrainState, seconds: float) -> str:
        """The time that all epochs still take at the pace so far, *seconds* being what the one begun has taken."""
        done = state.epoch + state.step / self.steps_per_epoch
        return _duration((state.seconds + seconds) / done * (self.max_epochs - done))

    def end_epoch(self) -> None:
        """No more steps in this epoch."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def epoch(self, state: TrainState, waited: float, announce: bool = True) -> None:
        """The last entry of the history: to the log, after *waited* seconds without data, to CSV and TensorBoard."""
        if self.quiet:
            return
        record = state.history[-1]
        if announce:
            losses = ", ".join(f"{name} {record[name]:.4f}" for name in record if name not in _NO_LOSSES)
            eer = (
                f", valid EER {100 * record['eer']:.2f} % (best {100 * state.best_eer:.2f})" if "eer" in record else ""
            )
            log.info(
                "epoch %d/%d: %s%s, lr %.2e, %.0f s, data wait %.0f %%, %s left",
                *(state.epoch, self.max_epochs, losses, eer, record["lr"], record["seconds"]),
                *(100 * waited / max(record["seconds"], 1e-9), self.left(state, 0.0)),
            )
        names = list(dict.fromkeys(name for entry in state.history for name in entry))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(state.history)
        write_text(self.directory / "train.csv", text.getvalue().splitlines())
        self._add(self._epochs, record, state.epoch)

    def _add(self, writer: SummaryWriter | None, record: dict[str, float], step: int) -> None:
        if writer is None:
            return
        try:
            for name, value in record.items():
                writer.add_scalar(name, value, step)
            writer.flush()
        except OSError as error:
            raise ModelError(
                f"cannot write: {error.strerror}",
                path=self.directory / "tensorboard",
                mend="make room, or give --no-tensorboard, and run again: it goes on from the last checkpoint",
            ) from error

    def close(self) -> None:
        """End the log."""
        self.end_epoch()
        for writer in (self._epochs, self._steps):
            if writer is not None:
                writer.close()


#: entries of the history that are no losses
_NO_LOSSES = {"epoch", "lr", "eer", "seconds", "skipped"}


def _duration(seconds: float) -> str:
    """
    >>> _duration(45), _duration(600), _duration(90_000)
    ('45 s', '10 min', '25.0 h')
    """
    if not math.isfinite(seconds) or seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

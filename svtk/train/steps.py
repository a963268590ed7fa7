"""Which crops a process computes in which step, and the wait for them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
from torch.utils.data import DataLoader, Sampler

from svtk.data.crops import Batch, EpochSampler, HiddenBatch
from svtk.errors import ConfigError, DataError, SvtkError

__all__ = ["StepSampler", "TimedLoader"]


class StepSampler(Sampler[list[int]]):
    """The parts of every optimiser step's batch that fall to one process, which computes them one after another.

    A batch is cut into ``accumulation · world_size`` parts of equal size, up to one crop; process r computes the
    parts r, r + world_size, ... Together the processes compute each crop of the epoch once, in the same steps for
    every number of parts.

    Args:
        batches: of whole steps.
        accumulation: parts that each process computes in a step.
        world_size: number of processes.
        rank: this process.

    Attributes:
        first_step: steps at the beginning of the next epoch to leave out, being done already.

    Raises:
        ConfigError: a part would have less than two crops, of which BatchNorm can learn nothing.
    """

    def __init__(self, batches: EpochSampler, accumulation: int = 1, world_size: int = 1, rank: int = 0):
        self.batches, self.accumulation, self.rank = batches, accumulation, rank
        self.num_parts = accumulation * world_size
        self.first_step = 0
        if self.num_parts > 1 and batches.batch_size // self.num_parts < 2:
            raise ConfigError(
                "a step has too few crops for its parts",
                found=f"{batches.batch_size} crops, {accumulation} part(s) in each of {world_size} process(es)",
                expected=f"at least {2 * self.num_parts} crops",
                mend="raise batch_size, or lower grad_accumulation or the number of processes",
            )

    def __len__(self) -> int:
        return (len(self.batches) - self.first_step) * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        world_size = self.num_parts // self.accumulation
        for batch in islice(self.batches, self.first_step, None):
            for part in np.array_split(batch, self.num_parts)[self.rank :: world_size]:
                yield part.tolist()


class TimedLoader:
    """Batches of a loader, and how long they were waited for.

    Attributes:
        waited: seconds so far.
    """

    def __init__(self, loader: DataLoader):
        self.loader, self.waited = loader, 0.0

    def __iter__(self) -> Iterator[Batch | HiddenBatch]:
        """
        Raises:
            SvtkError: a batch could not be made.
            DataError: a data loading process died.
        """
        iterator = iter(self.loader)
        if self.loader.num_workers and threading.current_thread() is threading.main_thread():
            # torch's handler would raise the death of a worker in the midst of a step; next() below tells of it, too.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while True:
            begin = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader worker (pid"):
                    raise
                raise DataError(
                    "a data loading process died, perhaps for lack of memory",
                    found=str(error),
                    mend="give the job more memory, or set a smaller num_workers or cache_audio=false; then run again",
                ) from error
            self.waited += time.perf_counter() - begin
            if isinstance(batch, SvtkError):
                raise batch
            yield batch

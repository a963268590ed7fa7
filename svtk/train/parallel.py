"""The processes that share one training run, started by torchrun and joined through SpeechBrain: one per GPU.

Without torchrun there is one process, and every function here does what is right for it alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from speechbrain.utils.distributed import ddp_barrier, ddp_broadcast, ddp_init_group
from torch import Tensor
from torch import distributed as dist

from svtk.errors import ConfigError

__all__ = ["all_of", "broadcast", "is_main", "join", "leave", "main_first", "mean", "on_main", "rank", "world_size"]

T = TypeVar("T")


def join(device: str) -> str:
    """Join the processes of the run, if torchrun started this one, and give its own device.

    Processes other than the first log warnings only.

    Args:
        device: ``cpu`` (gloo), ``cuda`` (NCCL, one GPU per process) or, for a process alone, ``cuda:NUMBER``.

    Raises:
        ConfigError: ``cuda:NUMBER`` for several processes, or more processes than GPUs on this machine.
    """
    if "RANK" not in os.environ or "LOCAL_RANK" not in os.environ:
        return device
    local = int(os.environ["LOCAL_RANK"])
    if ":" in device:
        raise ConfigError("torchrun gives each process its own GPU", found=f"--device {device}", expected="cuda")
    if device == "cuda" and local >= torch.cuda.device_count():
        found = f"process {local + 1} on this machine, {torch.cuda.device_count()} GPU(s)"
        raise ConfigError("more processes than GPUs", found=found, mend="start fewer (--nproc-per-node, --ngpu)")
    if not dist.is_initialized():
        ddp_init_group({"distributed_backend": "nccl" if device == "cuda" else "gloo"})
    if not is_main():
        logging.getLogger().setLevel(logging.WARNING)
    return f"cuda:{local}" if device == "cuda" else device


def leave() -> None:
    """Wait for all processes, then end what they shared."""
    if dist.is_initialized():
        ddp_barrier()
        dist.destroy_process_group()


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def on_main(work: Callable[[], T]) -> T:
    """What *work* gives in the first process, given to all. Where it fails, torchrun ends the others."""
    return ddp_broadcast(work() if is_main() else None)


def broadcast(value: T) -> T:
    """The first process's *value*."""
    return ddp_broadcast(value)


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """The block in the first process, then in the others: what it makes on disk, they find."""
    if not is_main():
        ddp_barrier()
    yield
    if is_main():
        ddp_barrier()


def all_of(value: Any) -> list[Any]:
    """Every process's *value*, in their order."""
    if not dist.is_initialized():
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def mean(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean over processes of each scalar; all have the same names in the same order."""
    if not dist.is_initialized() or not values:
        return values
    total = torch.stack(list(values.values()))
    dist.all_reduce(total)
    return dict(zip(values, total / world_size(), strict=True))

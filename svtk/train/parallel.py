"""The processes that share one training run, started by torchrun and joined through SpeechBrain: one per GPU.

Without torchrun there is one process, and every function here does what is right for it alone.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from speechbrain.utils.distributed import ddp_barrier, ddp_broadcast, ddp_init_group
from torch import Tensor
from torch import distributed as dist
from torch.distributed import distributed_c10d

from svtk.errors import ConfigError, SvtkError

__all__ = [
    *("all_of", "any_of", "broadcast", "in_all_processes", "is_main", "join", "main_first", "mean", "on_main", "rank"),
    *("together", "world_size"),
]

log = logging.getLogger(__name__)

T = TypeVar("T")
_FAILED = "svtk/failed"  # in the store that the processes share: who was the first


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


@contextlib.contextmanager
def together(device: str) -> Iterator[None]:
    """The block in all processes of the run, which it joins first; where one fails, all end, and one says why.

    Raises:
        SvtkError: of the process that failed first, with its number.
        SystemExit: in the others, once they notice: at once under gloo; under NCCL torchrun ends them.
    """
    try:
        join(device)
        yield
    except Exception as error:
        if world_size() == 1:
            raise
        if _others_failed():
            log.debug("process %d: another one failed; this one saw: %s", rank(), error)
            raise SystemExit(1) from None
        who = f"process {rank()} of {world_size()}"
        if isinstance(error, SvtkError):
            error.args = (f"{who}: {error}",)
        elif any(word in str(error) for word in _LOST):
            raise SvtkError(
                f"{who}: another process is gone", found=str(error).splitlines()[0], mend="see its log; run again"
            ) from None
        raise
    if dist.is_initialized():
        ddp_barrier()
        dist.destroy_process_group()


def in_all_processes(train: Callable[..., None]) -> Callable[..., None]:
    """A training verb, ``train(mapping, run, ...)``, as the block of :func:`together`, alone in its MODEL_DIR."""

    @functools.wraps(train)
    def wrapped(mapping: Any, run: Any, **words: Any) -> None:
        with together(run.device), run.alone():
            train(mapping, run, **words)

    return wrapped


#: what gloo and NCCL say of a process that has died
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def _others_failed() -> bool:
    """Whether another process has said before that it failed; else it is known that this one has."""
    me = str(rank())
    try:
        return distributed_c10d._get_default_store().compare_set(_FAILED, "", me) != me.encode()
    except RuntimeError:  # the store is gone with the process that kept it
        return True


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
    """What *work* gives in the first process, given to all."""
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


def any_of(value: bool) -> bool:
    """Whether *value* holds in any process; they wait for each other, and for no device."""
    if not dist.is_initialized():
        return value
    count = torch.tensor(int(value))
    dist.all_reduce(count, group=_on_cpu())
    return bool(count)


@functools.lru_cache(maxsize=1)
def _on_cpu() -> dist.ProcessGroup | None:
    """Where the processes meet without their GPUs; None is where they met first."""
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


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

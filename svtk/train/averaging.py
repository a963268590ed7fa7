"""Means of weights: a moving one while training, or that of several checkpoints at its end."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from speechbrain.utils import checkpoints
from torch import Tensor, nn

__all__ = ["MovingAverage", "load_mean"]


@checkpoints.register_checkpoint_hooks
class MovingAverage:
    """Exponential moving average of the weights and running statistics of modules.

    After step n (from 0) it goes 1 − min(decay, (1 + n) / (10 + n)) of the way to the weights: a long memory would
    hold on to the first, random ones.

    Args:
        modules: by name, on their device; they begin the average.
        decay: in (0, 1).
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float):
        self.decay = decay
        self._live = {
            f"{name}.{key}": value.detach()
            for name, module in modules.items()
            for key, value in itertools.chain(module.named_parameters(), module.named_buffers())
            if value.is_floating_point()
        }
        self._mean = {key: value.clone() for key, value in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after *step*, counted from 0 over the whole run."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._mean.values()), list(self._live.values()), weight)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, the modules have the mean and this has their weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the modules' weights and the mean."""
        for key, live in self._live.items():
            weights = live.clone()
            live.copy_(self._mean[key])
            self._mean[key].copy_(weights)

    def state_dict(self) -> dict[str, Tensor]:
        """The mean, by name."""
        return dict(self._mean)

    @checkpoints.mark_as_loader
    def _load(self, path: Path, end_of_epoch: bool) -> None:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved.keys() != self._mean.keys():
            raise ValueError("the moving average is of other weights")
        for key, value in saved.items():
            self._mean[key].copy_(value)


@torch.no_grad()
def load_mean(module: nn.Module, files: Iterable[Path]) -> None:
    """Give *module* the mean of the weights in *files*, of which one at a time is held in memory.

    What is no floating-point number, such as a count of batches, is that of the last.
    """
    state = module.state_dict()
    for number, file in enumerate(files, 1):
        for key, value in torch.load(file, map_location="cpu", weights_only=True).items():
            mean = state[key]
            if number == 1 or not mean.is_floating_point():
                mean.copy_(value)
            else:
                mean.lerp_(value.to(mean), 1 / number)

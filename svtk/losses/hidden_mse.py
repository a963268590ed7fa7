"""KD by mean squared error between one hidden state of student and of teacher (PAPER: KD, default)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.errors import ConfigError
from svtk.losses._layers import layer_of, projection
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "HiddenMSE", "Statistics", "build"]

#: a layer of the teacher's to its mean and variance (H',)
Statistics = Callable[[int], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's (last hidden states, as they are).

    Layers are counted from 0, the projected features; negative ones from the last. ``normalize``
    ``dimension`` brings each teacher dimension to zero mean and unit variance over the batch (running
    statistics in evaluation), for teachers whose dimensions differ by orders of magnitude; ``corpus`` does so by the
    statistics of all cached teacher targets (``extract-targets`` writes them beside), so that a crop's loss hangs
    on no other crop and is the same in any number of parts and processes.
    """

    student_layer: int = -1
    teacher_layer: int = -1
    normalize: Literal["none", "dimension", "corpus"] = "none"


class CorpusNorm(nn.Module):
    """(B, H, T) to zero mean and unit variance of each of the H dimensions, by a *mean* and *variance* (H,) given."""

    def __init__(self, mean: np.ndarray, variance: np.ndarray):
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean).float()[:, None])
        self.register_buffer("scale", torch.from_numpy((variance + 1e-5) ** -0.5).float()[:, None])

    def forward(self, x: Tensor) -> Tensor:
        return (at_least_float32(x) - self.mean) * self.scale


class HiddenMSE(nn.Module):
    """MSE over all frames and channels; a learned projection joins unequal widths.

    Args:
        config: options.
        student_dim, teacher_dim: H and H'.
        num_student_hidden, num_teacher_hidden: hidden states of either.
        teacher_statistics: mean and variance (H',) of a layer of the teacher's, for ``normalize: corpus``.

    Raises:
        ConfigError: a layer that student or teacher does not have, or no *teacher_statistics* where they are needed.

    Attributes:
        teacher_layers: layers, counted from 0, that :meth:`forward` needs.
    """

    def __init__(
        self,
        config: Config,
        student_dim: int,
        teacher_dim: int,
        num_student_hidden: int,
        num_teacher_hidden: int,
        teacher_statistics: Statistics | None = None,
    ):
        super().__init__()
        self.student_layer = layer_of("student_layer", config.student_layer, num_student_hidden)
        self.teacher_layers = [layer_of("teacher_layer", config.teacher_layer, num_teacher_hidden)]
        self.projection = projection(student_dim, teacher_dim)
        self.norm: nn.Module | None = None
        if config.normalize == "dimension":
            self.norm = nn.BatchNorm1d(teacher_dim, affine=False)
        elif config.normalize == "corpus":
            if teacher_statistics is None:
                raise ConfigError(
                    "hidden_mse has no statistics of the corpus",
                    found="normalize: corpus",
                    mend="give --targets, which have them, or set normalize: dimension",
                )
            self.norm = CorpusNorm(*teacher_statistics(self.teacher_layers[0]))

    def forward(self, student: Sequence[Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """L+1 student states (B, T, H) and teacher states {layer: (B, T, H')} to a scalar."""
        wanted = teacher[self.teacher_layers[0]]
        if self.norm is not None:
            wanted = self.norm(wanted.transpose(1, 2)).transpose(1, 2)
        return F.mse_loss(at_least_float32(self.projection(student[self.student_layer])), at_least_float32(wanted))


def build(
    config: Config,
    *,
    student_dim: int,
    teacher_dim: int,
    num_student_hidden: int,
    num_teacher_hidden: int,
    teacher_statistics: Statistics | None = None,
) -> HiddenMSE:
    """The loss between widths *student_dim* and *teacher_dim*; as :class:`HiddenMSE`."""
    return HiddenMSE(config, student_dim, teacher_dim, num_student_hidden, num_teacher_hidden, teacher_statistics)

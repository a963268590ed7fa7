"""DistilHuBERT's KD (Chang et al., ICASSP 2022): several teacher layers predicted from the student's last state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._layers import layer_of, spread
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "DistilHuBERT", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    ``teacher_layers`` are predicted, each by a head of its own, counted from 0, the projected features, negative
    ones from the last; left out, they are three, spread evenly up to the last: of WavLM-Large 8, 16 and 24, the
    paper's (PAPER: KD, for deeper compression). ``cosine_weight`` is λ.
    """

    teacher_layers: tuple[int, ...] | None = None
    cosine_weight: float = 1.0

    def __post_init__(self) -> None:
        layers = self.teacher_layers
        if layers is not None and (not layers or len(set(layers)) != len(layers)):
            raise ValueError("teacher_layers must name at least one layer, and none twice")
        if self.cosine_weight < 0:
            raise ValueError("cosine_weight must not be negative")


class DistilHuBERT(nn.Module):
    """Mean over layers l and frames t of ‖ĥ_t − h_t‖₁ / H' − λ log σ(cos(ĥ_t, h_t)), the paper's objective.

    ĥ = Linear(GELU(Linear(s))), s the student's last state; the heads serve training alone. Where the paper writes
    sums over layers and frames, this takes means, so that the loss does not grow with their number.

    Attributes:
        teacher_layers: layers, counted from 0, that :meth:`forward` needs, in the order of the heads.
    """

    def __init__(self, config: Config, student_dim: int, teacher_dim: int, num_teacher_hidden: int):
        super().__init__()
        even = spread(min(3, num_teacher_hidden - 1), num_teacher_hidden)
        mend = f"leave it out for {even}"
        layers = even if config.teacher_layers is None else config.teacher_layers
        self.teacher_layers = [layer_of("teacher_layers", layer, num_teacher_hidden, mend) for layer in layers]
        self.cosine_weight = config.cosine_weight
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(student_dim, student_dim), nn.GELU(), nn.Linear(student_dim, teacher_dim))
            for _ in self.teacher_layers
        )

    def forward(self, student: Sequence[Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """L+1 student states (B, T, H) and teacher states {layer: (B, T, H')} to a scalar."""
        losses = []
        for head, layer in zip(self.heads, self.teacher_layers, strict=True):
            predicted, wanted = at_least_float32(head(student[-1])), at_least_float32(teacher[layer])
            agreement = F.logsigmoid(F.cosine_similarity(predicted, wanted, dim=-1)).mean()
            losses.append(F.l1_loss(predicted, wanted) - self.cosine_weight * agreement)
        return sum(losses) / len(losses)


def build(
    config: Config, *, student_dim: int, teacher_dim: int, num_student_hidden: int, num_teacher_hidden: int
) -> DistilHuBERT:
    """The loss between widths *student_dim* and *teacher_dim*.

    Raises:
        ConfigError: a layer that the teacher does not have.
    """
    return DistilHuBERT(config, student_dim, teacher_dim, num_teacher_hidden)

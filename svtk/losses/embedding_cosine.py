"""KD by the cosine between the student's embedding, projected, and a teacher's: any system's, of the same utterance."""

from __future__ import annotations

import dataclasses

import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._centering import centered
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "EmbeddingCosine", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    Attributes:
        center: take the batch's mean off the teacher's embeddings first.
    """

    center: bool = False


class EmbeddingCosine(nn.Module):
    """Mean over the batch of 1 − cos(P e_i, t_i), e the student's of a crop, t the teacher's of its utterance.

    P is a learned linear projection, which serves training alone: two systems' embeddings have no common axes, even
    where they have as many.
    """

    def __init__(self, config: Config, embedding_dim: int, teacher_embedding_dim: int):
        super().__init__()
        self.center = config.center
        self.projection = nn.Linear(embedding_dim, teacher_embedding_dim)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Embeddings (B, E) and (B, E') to a scalar in [0, 2].

        Raises:
            ConfigError: B is less than 3, and the teacher's mean is to be taken off.
        """
        mine, theirs = at_least_float32(self.projection(student)), at_least_float32(teacher)
        if self.center:
            theirs = centered(theirs, "embedding_cosine")
        return 1.0 - F.cosine_similarity(mine, theirs, dim=-1).mean()


def build(config: Config, *, embedding_dim: int, teacher_embedding_dim: int) -> EmbeddingCosine:
    """The loss between embeddings of *embedding_dim* and *teacher_embedding_dim*."""
    return EmbeddingCosine(config, embedding_dim, teacher_embedding_dim)

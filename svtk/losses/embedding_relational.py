"""Relational KD (Park et al., CVPR 2019): how the embeddings of a batch lie to each other, as the teacher has it.

No projection is needed, for nothing of one space is compared with anything of the other but numbers about pairs.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.errors import ConfigError
from svtk.losses._centering import centered
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "EmbeddingRelational", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Which ``relation`` is matched; embeddings are length-normalised first, as for cosine scores.

    ``cosine``: MSE of the cosines of all pairs, the scores that a trial would get. ``distance``: the paper's RKD-D,
    Huber loss (δ = 1) of the distances of all pairs, each divided by the batch's mean distance, so that only their
    proportions count. ``angle``: the paper's RKD-A, Huber loss of the cosines of the angles of all triplets.
    ``center``: take the batch's mean off the teacher's embeddings before that.
    """

    relation: Literal["cosine", "distance", "angle"] = "cosine"
    center: bool = False


class EmbeddingRelational(nn.Module):
    """Mean over the pairs (or triplets) of different crops in a batch; with accumulation or DDP, in a part of it."""

    def __init__(self, config: Config):
        super().__init__()
        self.relation, self.center = config.relation, config.center

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Embeddings (B, E) and (B, E'), B at least 2 (for angles, and with the mean taken off, 3), to a scalar.

        Raises:
            ConfigError: B is less.
        """
        needed = 3 if self.relation == "angle" else 2
        if len(student) < needed:
            raise ConfigError(
                f"embedding_relational compares crops of a batch by {self.relation}",
                found=f"{len(student)} crop(s) in a batch, or in a part of one",
                expected=f"at least {needed}",
                mend="raise batch_size, or lower grad_accumulation or the number of processes",
            )
        with torch.autocast(student.device.type, enabled=False):
            mine, theirs = at_least_float32(student), at_least_float32(teacher)
            if self.center:
                theirs = centered(theirs, "embedding_relational")
            mine, theirs = F.normalize(mine), F.normalize(theirs)
            if self.relation == "cosine":
                return F.mse_loss(_cosines(mine), _cosines(theirs))
            relation = _relative_distances if self.relation == "distance" else _angles
            return F.smooth_l1_loss(relation(mine), relation(theirs))


def _pairs(square: Tensor) -> Tensor:
    """The entries (B², less B) of a matrix (B, B) beside its diagonal."""
    return square[~torch.eye(len(square), dtype=torch.bool, device=square.device)]


def _cosines(embedding: Tensor) -> Tensor:
    """Cosines of all pairs of unit vectors (B, E)."""
    return _pairs(embedding @ embedding.T)


def _relative_distances(embedding: Tensor) -> Tensor:
    """Distances of all pairs of unit vectors (B, E), divided by their mean."""
    squared = (2.0 - 2.0 * _cosines(embedding)).clamp(min=1e-12)  # off the zero at which the root has no gradient
    distance = squared.sqrt()
    return distance / distance.mean()


def _angles(embedding: Tensor) -> Tensor:
    """Cosines of the angles at j between i and k, for all different i, j, k of (B, E)."""
    size = len(embedding)
    direction = F.normalize(embedding[None] - embedding[:, None], dim=2, eps=1e-6)  # [j, i]: from j to i
    cosine = direction @ direction.transpose(1, 2)  # [j, i, k]
    same = torch.eye(size, dtype=torch.bool, device=embedding.device)
    return cosine[~(same[:, :, None] | same[:, None, :] | same[None])]


def build(config: Config, *, embedding_dim: int, teacher_embedding_dim: int) -> EmbeddingRelational:
    """The loss, for embeddings of any two dimensions."""
    return EmbeddingRelational(config)

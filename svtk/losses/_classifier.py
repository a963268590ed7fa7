"""What the SV losses share: class weights compared with embeddings by cosine, and cosines of shifted angles."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._precision import at_least_float32

__all__ = ["CosineClassifier", "add_angle", "is_target", "subtract_angle"]


def add_angle(cosine: Tensor, angle: float) -> Tensor:
    """cos(θ + angle) for θ = arccos(cosine) and 0 <= angle <= π, without arccos; past π it goes on falling linearly."""
    shifted = cosine * math.cos(angle) - _sine(cosine) * math.sin(angle)
    return torch.where(cosine > -math.cos(angle), shifted, cosine - math.sin(angle) * angle)


def subtract_angle(cosine: Tensor, angle: float) -> Tensor:
    """cos(max(θ - angle, 0)) for θ = arccos(cosine), without arccos."""
    shifted = cosine * math.cos(angle) + _sine(cosine) * math.sin(angle)
    return torch.where(cosine < math.cos(angle), shifted, torch.ones_like(cosine))


def _sine(cosine: Tensor) -> Tensor:
    """sin θ >= 0, kept off the zero at which its gradient is infinite."""
    return (1.0 - cosine.square()).clamp(min=1e-8).sqrt()


def is_target(label: Tensor, num_spks: int) -> Tensor:
    """Whether a class is the sample's own (B, num_spks), from labels (B,)."""
    return label[:, None] == torch.arange(num_spks, device=label.device)


class CosineClassifier(nn.Module):
    """Class weights and the cosines of embeddings to them, in at least float32 whatever the autocast.

    Attributes:
        weight: (num_spks · num_subcenters, E); the sub-centres of one speaker are neighbours.
        margin_factor: scales the margins, for a trainer that warms them up.
    """

    def __init__(self, embedding_dim: int, num_spks: int, num_subcenters: int = 1):
        super().__init__()
        self.margin_factor = 1.0
        self.num_subcenters = num_subcenters
        self.weight = nn.Parameter(torch.empty(num_spks * num_subcenters, embedding_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embedding: Tensor, label: Tensor) -> Tensor:
        """Embeddings (B, E) and speaker labels (B,) to a scalar."""
        with torch.autocast(embedding.device.type, enabled=False):
            return self.loss(self.cosines(embedding), label)

    def cosines(self, embedding: Tensor) -> Tensor:
        """Cosines (B, num_spks) to the nearest sub-centre of every speaker."""
        cosine = F.linear(F.normalize(at_least_float32(embedding)), F.normalize(at_least_float32(self.weight)))
        if self.num_subcenters == 1:
            return cosine
        return cosine.unflatten(1, (-1, self.num_subcenters)).max(dim=2).values

    def loss(self, cosine: Tensor, label: Tensor) -> Tensor:
        """Cosines (B, num_spks) and speaker labels (B,) to a scalar."""
        raise NotImplementedError

    @torch.no_grad()
    def start_from(self, means: Tensor) -> None:
        """Begin with the directions of the speakers' mean embeddings (num_spks, E) as class weights.

        Sub-centres of a speaker are drawn a little apart, for equal ones would learn the same.
        """
        weight = F.normalize(means).repeat_interleave(self.num_subcenters, dim=0)
        if self.num_subcenters > 1:
            weight = weight + 0.1 * F.normalize(torch.randn_like(weight))
        self.weight.copy_(weight)

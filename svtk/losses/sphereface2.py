"""SphereFace2 (Wen et al., ICLR 2022; for speakers Han et al., ICASSP 2023): one binary decision for every class."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._classifier import CosineClassifier, add_angle, is_target, subtract_angle

__all__ = ["Config", "SphereFace2", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are those that Han et al. and WeSpeaker train speakers with.

    ``margin_type`` ``C`` takes the margin off the similarity, ``A`` (0.15 suits it) adds it to the angle, in
    radians; ``positive_weight`` is λ, the weight of the one positive decision against all the negative ones;
    ``exponent`` t stretches the similarities; ``scale`` is r.
    """

    margin: float = 0.2
    scale: float = 32.0
    positive_weight: float = 0.7
    exponent: float = 3.0
    margin_type: Literal["C", "A"] = "C"

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.margin < 0:
            raise ValueError("scale must be positive, margin not negative")
        if not 0 < self.positive_weight < 1:
            raise ValueError("positive_weight must lie between 0 and 1")
        if self.exponent < 1:
            raise ValueError("exponent must be at least 1")
        if self.margin_type == "A" and self.margin > math.pi / 2:
            raise ValueError("a margin of type A is in radians, at most π/2")


class SphereFace2(CosineClassifier):
    """Mean over the batch of λ log(1 + exp(−p(θ_y))) + (1 − λ) Σ_{j≠y} log(1 + exp(n(θ_j))), y the speaker.

    type C: p(θ) = r (g(cos θ) − m) + b,  n(θ) = r (g(cos θ) + m) + b
    type A: p(θ) = r g(cos(θ + m)) + b,   n(θ) = r g(cos(θ − m)) + b

    with g(z) = 2 ((z + 1) / 2)^t − 1 and a learned bias b that begins at 0, as in WeSpeaker. θ + m stops at π and
    θ − m at 0.
    """

    def __init__(self, config: Config, embedding_dim: int, num_spks: int):
        super().__init__(embedding_dim, num_spks)
        self.config = config
        self.bias = nn.Parameter(torch.zeros(()))

    def loss(self, cosine: Tensor, label: Tensor) -> Tensor:
        config, margin = self.config, self.config.margin * self.margin_factor
        if config.margin_type == "C":
            similarity = self._stretch(cosine)
            positive, negative = similarity - margin, similarity + margin
        else:
            positive = self._stretch(add_angle(cosine, margin))
            negative = self._stretch(subtract_angle(cosine, margin))
        positive = config.positive_weight * F.softplus(-(config.scale * positive + self.bias))
        negative = (1.0 - config.positive_weight) * F.softplus(config.scale * negative + self.bias)
        return torch.where(is_target(label, cosine.shape[1]), positive, negative).sum(dim=1).mean()

    def _stretch(self, cosine: Tensor) -> Tensor:
        return 2.0 * ((cosine + 1.0) / 2.0).clamp(min=0.0) ** self.config.exponent - 1.0


def build(config: Config, *, embedding_dim: int, num_spks: int) -> SphereFace2:
    """The loss over *num_spks* training speakers."""
    return SphereFace2(config, embedding_dim, num_spks)

"""AAM-softmax (Deng et al., 2019) with a penalty on the most confusing impostor classes (PAPER: SV loss)."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AAMSoftmax", "Config", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's.

    ``top_k_penalty`` is what the ``top_k`` impostor classes nearest to each sample suffer: ``weight``
    counts each as ``top_k_weight`` classes in the softmax (the paper: "weight multiplier 10"), which adds
    log(top_k_weight) to its logit; ``margin`` makes each look nearer by ``top_k_margin`` radians (the
    authors' code: 0.1; inter-top-k penalty of Zhao et al., 2021); ``none`` is plain AAM-softmax.
    """

    margin: float = 0.2
    scale: float = 30.0
    top_k: int = 5
    top_k_penalty: Literal["weight", "margin", "none"] = "weight"
    top_k_weight: float = 10.0
    top_k_margin: float = 0.1

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.margin < 0 or self.top_k < 0 or self.top_k_weight <= 0 or self.top_k_margin < 0:
            raise ValueError("scale and top_k_weight must be positive, margins and top_k not negative")
        if max(self.margin, self.top_k_margin) > math.pi / 2:
            raise ValueError("margins are in radians, at most π/2")


def add_angle(cosine: Tensor, angle: float | Tensor) -> Tensor:
    """cos(θ + angle) for θ = arccos(cosine) and 0 <= angle <= π, without arccos; past π it goes on falling linearly."""
    angle = torch.as_tensor(angle, dtype=cosine.dtype, device=cosine.device)
    sine = (1.0 - cosine.square()).clamp(min=1e-8).sqrt()
    shifted = cosine * angle.cos() - sine * angle.sin()
    return torch.where(cosine > -angle.cos(), shifted, cosine - angle.sin() * angle)


def subtract_angle(cosine: Tensor, angle: float) -> Tensor:
    """cos(max(θ - angle, 0)) for θ = arccos(cosine), without arccos."""
    sine = (1.0 - cosine.square()).clamp(min=1e-8).sqrt()
    return torch.where(
        cosine < math.cos(angle), cosine * math.cos(angle) + sine * math.sin(angle), torch.ones_like(cosine)
    )


class AAMSoftmax(nn.Module):
    """Loss and classifier: embeddings (B, E) and speaker labels (B,) to a scalar.

    ``margin_factor`` scales the margin, for a trainer that warms it up.
    """

    def __init__(self, config: Config, embedding_dim: int, num_spks: int):
        super().__init__()
        self.config = config
        self.margin_factor = 1.0
        self.weight = nn.Parameter(torch.empty(num_spks, embedding_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embedding: Tensor, label: Tensor) -> Tensor:
        with torch.autocast(embedding.device.type, enabled=False):
            cosine = F.linear(F.normalize(embedding.float()), F.normalize(self.weight.float()))  # (B, num_spks)
            return F.cross_entropy(self.logits(cosine, label), label)

    def logits(self, cosine: Tensor, label: Tensor) -> Tensor:
        """Penalised, scaled logits (B, num_spks) from cosines (B, num_spks)."""
        config = self.config
        is_target = F.one_hot(label, cosine.shape[1]).bool()
        logits = torch.where(is_target, add_angle(cosine, config.margin * self.margin_factor), cosine)
        top_k = min(config.top_k, cosine.shape[1] - 1)
        shift = 0.0
        if config.top_k_penalty != "none" and top_k > 0:
            nearest = cosine.detach().masked_fill(is_target, -2.0).topk(top_k, dim=1).indices
            penalised = torch.zeros_like(is_target).scatter_(1, nearest, True)
            if config.top_k_penalty == "margin":
                logits = torch.where(
                    penalised, subtract_angle(cosine, config.top_k_margin * self.margin_factor), logits
                )
            else:
                shift = penalised * math.log(config.top_k_weight)
        return config.scale * logits + shift


def build(config: Config, *, embedding_dim: int, num_spks: int) -> AAMSoftmax:
    """The loss over *num_spks* training speakers."""
    return AAMSoftmax(config, embedding_dim, num_spks)

"""AAM-softmax (Deng et al., 2019) with a penalty on the most confusing impostor classes (PAPER: SV loss)."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from svtk.losses._classifier import CosineClassifier, add_angle, is_target, subtract_angle

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


class AAMSoftmax(CosineClassifier):
    """Cross-entropy over the classes of s · cos(θ_y + m) for the speaker y and s · cos θ_j for every other j."""

    def __init__(self, config: Config, embedding_dim: int, num_spks: int, num_subcenters: int = 1):
        super().__init__(embedding_dim, num_spks, num_subcenters)
        self.config = config

    def loss(self, cosine: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(cosine, label), label)

    def logits(self, cosine: Tensor, label: Tensor) -> Tensor:
        """Penalised, scaled logits (B, num_spks) from cosines (B, num_spks)."""
        config = self.config
        target = is_target(label, cosine.shape[1])
        logits = torch.where(target, add_angle(cosine, config.margin * self.margin_factor), cosine)
        top_k = min(config.top_k, cosine.shape[1] - 1)
        shift = 0.0
        if config.top_k_penalty != "none" and top_k > 0:
            nearest = cosine.detach().masked_fill(target, -2.0).topk(top_k, dim=1).indices
            penalised = torch.zeros_like(target).scatter_(1, nearest, True)
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

"""AAM-softmax with sub-centres (Deng et al., ECCV 2020): a speaker may have several, so a wrong label strays less."""

from __future__ import annotations

import dataclasses

from svtk.losses import aam_softmax

__all__ = ["Config", "build"]


@dataclasses.dataclass(frozen=True)
class Config(aam_softmax.Config):
    """Options: those of ``aam_softmax``, and ``num_subcenters`` K of every speaker."""

    num_subcenters: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_subcenters < 1:
            raise ValueError("num_subcenters must be at least 1")


def build(config: Config, *, embedding_dim: int, num_spks: int) -> aam_softmax.AAMSoftmax:
    """AAM-softmax over *num_spks* training speakers, cos θ_j being the greatest of the cosines to j's K sub-centres."""
    return aam_softmax.AAMSoftmax(config, embedding_dim, num_spks, config.num_subcenters)

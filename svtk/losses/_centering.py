"""Teacher embeddings without what all of a batch have in common."""

from __future__ import annotations

from torch import Tensor

from svtk.errors import ConfigError

__all__ = ["LEAST", "centered"]

LEAST = 3  #: crops; two, centred, are opposites whatever they are of


def centered(teacher: Tensor, loss: str) -> Tensor:
    """Embeddings (B, E) less their mean over the batch, as Kaldi's recipes subtract the global mean before scoring.

    Embeddings of many systems share a large part (the cosines of GE2E's d-vectors, none negative, are 0.58 on average
    between speakers), which says nothing of the speaker; to learn it is at odds with an SV loss, which parts speakers.

    Args:
        teacher: of a batch or, with accumulation or DDP, of a part of one.
        loss: its name, for the message.

    Raises:
        ConfigError: B is less than 3.
    """
    if len(teacher) < LEAST:
        raise ConfigError(
            f"{loss} with center takes the mean of a batch",
            found=f"{len(teacher)} crop(s) in a batch, or in a part of one",
            expected=f"at least {LEAST}",
            mend="raise batch_size, or lower grad_accumulation or the number of processes",
        )
    return teacher - teacher.mean(dim=0)

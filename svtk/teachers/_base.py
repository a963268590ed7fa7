"""What every teacher offers: wav (B, N) to its L+1 hidden states, frozen unless it is being trained."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from svtk.errors import ModelError

__all__ = ["Teacher", "cannot_load", "check_loaded", "quiet_transformers"]


def quiet_transformers() -> None:
    """Keep loading bars off a log (on a terminal they stay), and warnings of what :func:`check_loaded` checks."""
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("speechbrain.integrations.huggingface.huggingface").setLevel(logging.ERROR)


def cannot_load(source: str, error: Exception) -> ModelError:
    """The error of a teacher that could not be loaded, with the first line of why."""
    why = str(error).strip().splitlines() or [type(error).__name__]
    return ModelError(
        f"cannot load the teacher: {why[0]}",
        path=source,
        mend="give a hub name, or a directory with config.json, model.safetensors, preprocessor_config.json",
    )


def check_loaded(source: str, info: dict[str, Any]) -> None:
    """Raise ModelError where transformers would only warn: it found no weights for a part and left it random.

    Args:
        source: hub name or directory, for the message.
        info: what ``from_pretrained(..., output_loading_info=True)`` returned.
    """
    missing = sorted(set(info["missing_keys"]) - {"masked_spec_embed"})  # that one is for pretraining only
    if missing:
        raise ModelError(
            f"weights of another architecture: {missing[0]!r} is missing",
            path=source,
            found=f"{len(missing)} weight(s) missing, {len(info['unexpected_keys'])} unexpected",
            mend="use the config.json that was saved with these weights",
        )


class Teacher(nn.Module):
    """A pretrained encoder.

    Attributes:
        hidden_dim: H, channels of a hidden state.
        num_hidden: L+1, number of hidden states; state 0 is the projected features.
        frozen: a frozen teacher has no gradients and stays in evaluation mode.
        masks_padding: whether wavs of unequal length may share a batch, and each have the states it has alone.
    """

    hidden_dim: int
    num_hidden: int
    masks_padding: bool = False

    def __init__(self, frozen: bool):
        super().__init__()
        self.frozen = frozen

    def freeze_if_asked(self) -> None:
        """Called by the subclass when its weights are in place."""
        if self.frozen:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> Teacher:
        return super().train(mode and not self.frozen)

    def num_frames(self, num_samples: int) -> int:
        """Frames of 20 ms that *num_samples* samples give."""
        raise NotImplementedError

    def forward(self, wav: Tensor, num_samples: Sequence[int] | None = None) -> list[Tensor]:
        """wav (B, N) at 16 kHz in [-1, 1], of any length, to L+1 hidden states (B, T, H).

        Args:
            wav: B wavs of equal length or, of a teacher that *masks_padding*, padded with zeros to it.
            num_samples: of each wav, without the padding; of its states the first :meth:`num_frames` of these count.
                None: nothing is padded.
        """
        raise NotImplementedError

    def save_pretrained(self, directory: str) -> None:
        """Save as Hugging Face does: config.json, model.safetensors, preprocessor_config.json."""
        raise NotImplementedError

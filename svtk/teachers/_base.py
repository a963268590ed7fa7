"""What every teacher offers: wav (B, N) to its L+1 hidden states, frozen unless it is being trained."""

from __future__ import annotations

import sys

from torch import Tensor, nn

__all__ = ["Teacher", "quiet_transformers"]


def quiet_transformers() -> None:
    """Keep transformers' loading bars off a log; on a terminal they stay."""
    if not sys.stderr.isatty():
        from transformers.utils import logging

        logging.disable_progress_bar()


class Teacher(nn.Module):
    """A pretrained encoder.

    Attributes:
        hidden_dim: H, channels of a hidden state.
        num_hidden: L+1, number of hidden states; state 0 is the projected features.
        frozen: a frozen teacher has no gradients and stays in evaluation mode.
    """

    hidden_dim: int
    num_hidden: int

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

    def forward(self, wav: Tensor) -> list[Tensor]:
        """wav (B, N) at 16 kHz in [-1, 1] to L+1 hidden states (B, T, H)."""
        raise NotImplementedError

    def save_pretrained(self, directory: str) -> None:
        """Save as Hugging Face does: config.json, model.safetensors, preprocessor_config.json."""
        raise NotImplementedError

"""Whisper's encoder (Radford et al., 2022) as a teacher (Miara, Lepage and Dehak, Interspeech 2024).

transformers insists on 30 s of input. The encoder does not need it: shorter input takes the first
positions of its embedding, and costs in proportion.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from svtk.data.features import LogMel
from svtk.errors import ModelError
from svtk.teachers._base import Teacher, cannot_load, check_loaded, quiet_transformers

__all__ = ["Config", "WhisperTeacher", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``source``: a Hugging Face hub name or a local directory, of the encoder or the whole model."""

    source: str
    cache_dir: str | None = None


class WhisperTeacher(Teacher):
    """wav (B, N), at most 30 s, to hidden states (B, T, H); the last one is layer-normed, as transformers has it."""

    def __init__(self, encoder: WhisperEncoder, frozen: bool):
        super().__init__(frozen)
        self.encoder = encoder
        self.hidden_dim = encoder.config.d_model
        self.num_hidden = encoder.config.encoder_layers + 1
        self.max_frames = encoder.config.max_source_positions
        self.log_mel = LogMel(encoder.config.num_mel_bins)
        self.freeze_if_asked()

    def num_frames(self, num_samples: int) -> int:
        return (num_samples // LogMel.hop + 1) // 2

    def forward(self, wav: Tensor) -> list[Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.encode(self.log_mel(wav))

    def encode(self, features: Tensor) -> list[Tensor]:
        """Log-mel (B, M, frames) to hidden states.

        Raises:
            ModelError: the input is longer than the encoder's positions.
        """
        encoder = self.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).transpose(1, 2)  # (B, T, H)
        if x.shape[1] > self.max_frames:
            raise ModelError(
                "audio too long for Whisper",
                found=f"{x.shape[1] * 0.02:.2f} s",
                expected=f"at most {self.max_frames * 0.02:.2f} s",
            )
        hidden = [x + encoder.embed_positions.weight[: x.shape[1]]]
        for layer in encoder.layers:
            out = layer(hidden[-1], None)
            hidden.append(out[0] if isinstance(out, tuple) else out)
        hidden[-1] = encoder.layer_norm(hidden[-1])
        return hidden

    def save_pretrained(self, directory: str) -> None:
        self.encoder.save_pretrained(directory)
        WhisperFeatureExtractor(feature_size=self.encoder.config.num_mel_bins).save_pretrained(directory)


def build(config: Config, *, frozen: bool = True) -> WhisperTeacher:
    """The pretrained encoder, in float32 whatever it was stored in.

    Raises:
        ModelError: the model cannot be loaded, or its weights are those of another; the message says why.
    """
    quiet_transformers()
    try:
        encoder, info = WhisperEncoder.from_pretrained(
            config.source,
            cache_dir=config.cache_dir,
            dtype=torch.float32,
            output_loading_info=True,
            key_mapping={r"^(model\.)?encoder\.": ""},  # of a whole model, as the hub has it
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise cannot_load(config.source, error) from error
    check_loaded(config.source, info)
    return WhisperTeacher(encoder, frozen)

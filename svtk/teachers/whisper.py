"""Whisper's encoder (Radford et al., 2022) as a teacher (Miara, Lepage and Dehak, Interspeech 2024).

Whisper was trained on 30 s, shorter audio padded with silence, and transformers insists on it. The encoder does
not need it: shorter input takes the first positions of its embedding, and costs in proportion. The hidden states
are then not quite those of padded audio: on English speech of 2 to 3.5 s Whisper-base's agree with them to a mean
cosine of 0.996 in layer 1, 0.98 in layer 3 and 0.9 in the last (``pad: true`` gives the others). Longer audio is
heard in windows of 30 s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from svtk.data import FRAME
from svtk.data.features import LogMel
from svtk.teachers._base import Teacher, cannot_load, check_loaded, quiet_transformers
from svtk.weights import open_to_umask

__all__ = ["Config", "WhisperTeacher", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    ``source``: a Hugging Face hub name or a local directory, of the encoder or the whole model; ``cache_dir``: where
    downloads go; ``pad``: audio is padded with silence to 30 s, and the hidden states cut to its length, exactly as
    transformers computes them, at the cost of 30 s whatever the length.
    """

    source: str
    cache_dir: str | None = None
    pad: bool = False


class WhisperTeacher(Teacher):
    """wav (B, N) to hidden states (B, T, H); the last one is layer-normed, as transformers has it.

    Beyond the encoder's positions (30 s) the wav is heard in windows of just so many frames; the last window ends
    with the wav and gives only the frames that the one before did not.
    """

    def __init__(self, encoder: WhisperEncoder, pad: bool, frozen: bool):
        super().__init__(frozen)
        self.encoder, self.pad = encoder, pad
        self.hidden_dim = encoder.config.d_model
        self.num_hidden = encoder.config.encoder_layers + 1
        self.window_frames = encoder.config.max_source_positions
        self.log_mel = LogMel(encoder.config.num_mel_bins)
        self.freeze_if_asked()

    def num_frames(self, num_samples: int) -> int:
        return (num_samples // LogMel.hop + 1) // 2

    def forward(self, wav: Tensor, num_samples: Sequence[int] | None = None) -> list[Tensor]:
        frames = self.num_frames(wav.shape[1])
        size = min(frames, self.window_frames)
        parts, done = [], 0
        for start in (*range(0, frames - size, size), frames - size):
            window = wav[:, start * FRAME : None if start + size == frames else (start + size) * FRAME]
            if self.pad:
                window = F.pad(window, (0, self.window_frames * FRAME - window.shape[1]))
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                hidden = self.encode(self.log_mel(window))
            parts.append([state[:, done - start : size] for state in hidden])
            done = start + size
        return [torch.cat(states, dim=1) for states in zip(*parts, strict=True)]

    def encode(self, features: Tensor) -> list[Tensor]:
        """Log-mel (B, M, frames), at most 30 s, to hidden states."""
        encoder = self.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).transpose(1, 2)  # (B, T, H)
        hidden = [x + encoder.embed_positions.weight[: x.shape[1]]]
        for layer in encoder.layers:
            out = layer(hidden[-1], None)
            hidden.append(out[0] if isinstance(out, tuple) else out)
        hidden[-1] = encoder.layer_norm(hidden[-1])
        return hidden

    def save_pretrained(self, directory: str) -> None:
        self.encoder.save_pretrained(directory)
        open_to_umask(directory)
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
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise cannot_load(config.source, error) from error
    check_loaded(config.source, info)
    return WhisperTeacher(encoder, config.pad, frozen)

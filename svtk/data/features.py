"""Log-mel features as Whisper's (Radford et al., 2022): 25-ms windows, 10-ms hop, 80 slaney mel bands."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor, nn

from svtk.data import SAMPLE_RATE

__all__ = ["LogMel"]


class LogMel(nn.Module):
    """wav (B, N) at 16 kHz to log-mel (B, num_mels, N // 160), scaled as Whisper's encoder expects.

    log10 of mel power, floored at 1e-10 and at 8 below each wav's maximum, then (x + 4) / 4.
    """

    hop = 160

    def __init__(self, num_mels: int = 80):
        super().__init__()
        filters = torchaudio.functional.melscale_fbanks(
            201, 0.0, SAMPLE_RATE / 2, num_mels, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", filters, persistent=False)  # (201, M)
        self.register_buffer("window", torch.hann_window(400), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        with torch.autocast(wav.device.type, enabled=False):
            spectrum = torch.stft(wav.float(), 400, self.hop, window=self.window, return_complex=True)[..., :-1]
            mel = self.filters.T @ spectrum.abs().square()  # (B, M, frames)
            log = mel.clamp(min=1e-10).log10()
            log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
            return (log + 4.0) / 4.0

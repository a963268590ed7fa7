#!/usr/bin/env python3
"""Embeddings of the GE2E d-vector system that PyPI's resemblyzer carries: dvector.py WHEEL DATA_DIR WSPECIFIER.

    pip download --no-deps resemblyzer==0.1.4
    dvector.py Resemblyzer-0.1.4-py3-none-any.whl data/train ark,scp:dvector.ark,dvector.scp

Three LSTM layers and a linear one over 40 mel bands (Wan et al., ICASSP 2018), trained on LibriSpeech and VoxCeleb.
Only the weights are taken from the wheel, and nothing of it is run. Its own dropping of long silences is left out.
"""

from __future__ import annotations

import io
import sys
import zipfile

import numpy as np
import torch
from torch import Tensor, nn

import svtk  # noqa: F401  (before torchaudio)
from svtk.data.audio import read_audio
from svtk.data.cuts import load_utterances
from svtk.kaldi.tables import TableWriter
from svtk.progress import progress

import torchaudio  # isort: skip

RATE, HOP, FRAMES, STEP = 16_000, 160, 160, 77  # a window is 1.6 s, and they start 0.77 s apart
LEVEL = 10 ** (-30 / 20)  # quieter recordings are brought to -30 dB


class DVector(nn.Module):
    """wav (N,) at 16 kHz to an embedding (256,) of length 1: the mean of those of its windows."""

    def __init__(self, wheel: str):
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        with zipfile.ZipFile(wheel) as archive:
            weights = io.BytesIO(archive.read("resemblyzer/pretrained.pt"))
        state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({key: state[key] for key in self.state_dict()})
        filters = torchaudio.functional.melscale_fbanks(201, 0.0, RATE / 2, 40, RATE, norm="slaney", mel_scale="slaney")
        self.filters = filters.T

    def mel(self, wav: Tensor) -> Tensor:
        """wav (N,) to mel power (frames, 40), as librosa's: centred frames, zeros beyond the ends."""
        window = torch.hann_window(400)
        spectrum = torch.stft(wav, 400, HOP, window=window, pad_mode="constant", return_complex=True)
        return (self.filters @ spectrum.abs().square()).T

    @torch.inference_mode()
    def forward(self, wav: Tensor) -> Tensor:
        wav = wav * max(1.0, LEVEL / max(float(wav.square().mean().sqrt()), 1e-9))
        count = -(-(len(wav) + 1) // HOP)
        starts = list(range(0, max(1, count - FRAMES + STEP + 1), STEP))
        if len(starts) > 1 and (len(wav) - starts[-1] * HOP) / (FRAMES * HOP) < 0.75:
            starts.pop()
        mel = self.mel(nn.functional.pad(wav, (0, max(0, (starts[-1] + FRAMES) * HOP - len(wav)))))
        windows = torch.stack([mel[start : start + FRAMES] for start in starts])
        hidden = self.lstm(windows)[1][0][-1]
        rows = nn.functional.normalize(torch.relu(self.linear(hidden)))
        return nn.functional.normalize(rows.mean(0), dim=0)


def main(wheel: str, data_dir: str, wspecifier: str) -> None:
    model = DVector(wheel)
    with TableWriter(wspecifier) as writer:
        for item in progress(list(load_utterances(data_dir)), "d-vectors"):
            wav = read_audio(item.wav, item.start, item.num_samples, item.utt)
            writer.write(item.utt, model(torch.from_numpy(wav)).numpy().astype(np.float32))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} WHEEL DATA_DIR WSPECIFIER")
    main(*sys.argv[1:])

"""Speech and silence by Silero's voice activity detector (https://github.com/snakers4/silero-vad), from PyPI."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from svtk.data.speech_activity import FRAME_SHIFT, EnergyOptions, num_frames
from svtk.errors import ModelError

__all__ = ["Silero"]

_CHUNK = 512  # samples that it hears at a time
_LEAST = 1e-4  # probability


class Silero:
    """Log-likelihoods of utterances at 16 kHz, by the weights in the installed package ``silero-vad``.

    Raises:
        ModelError: the package is not installed.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec("silero_vad")  # not imported: that would set the process to one thread
        if spec is None or not spec.submodule_search_locations:
            raise ModelError("no Silero-VAD here", mend="pip install 'svtk[silero]', or use --detector energy")
        path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.jit"
        try:
            self._model = torch.jit.load(str(path), map_location="cpu").eval()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"cannot load Silero-VAD: {error}", path=path, mend="install silero-vad again") from error

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        """wav (N,) in [-1, 1] → log-likelihoods of silence and speech by 10-ms frame, float32 (T, 2)."""
        chunks = torch.from_numpy(np.pad(wav, (0, -len(wav) % _CHUNK)).astype(np.float32)).view(-1, 1, _CHUNK)
        self._model.reset_states()
        with torch.inference_mode():
            probs = [float(self._model(chunk, 16_000)) for chunk in chunks]
        centres = np.arange(num_frames(len(wav), EnergyOptions())) * FRAME_SHIFT + FRAME_SHIFT // 2
        prob = np.clip(np.asarray(probs, np.float64), _LEAST, 1 - _LEAST)[np.minimum(centres // _CHUNK, len(probs) - 1)]
        return np.log(np.stack([1 - prob, prob], axis=1)).astype(np.float32)

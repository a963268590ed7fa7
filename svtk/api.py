"""Speaker verification from Python: load a model, embed recordings, compare them.

::

    import svtk

    model = svtk.load("exp/demo/sv_mixer")          # or a name on the Hugging Face Hub
    a = model.embed("a.wav")                        # any format that libsndfile or ffmpeg reads
    b = model.embed(samples, sample_rate=44100)     # any rate; NumPy array or torch tensor
    score = model.score(a, b)                       # cosine
    model.llr(score)                                # natural log-likelihood ratio, where a calibration is there
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from svtk.data.any_audio import read_any
from svtk.data.audio import repeat_to
from svtk.data.resample import resample, to_mono
from svtk.errors import AudioError, DataError
from svtk.models.exported import open_embedder
from svtk.models.hub import model_directory
from svtk.models.speaker_model import SpeakerModel

if TYPE_CHECKING:
    from svtk.score.calibration_files import Calibration

__all__ = ["Verifier", "load"]


class Verifier:
    """A model that tells how alike two speakers sound; made by :func:`load`.

    Attributes:
        directory: MODEL_DIR.
        network: the model itself, in evaluation mode.
        calibration: how scores become log-likelihood ratios; None where that is not known.
    """

    def __init__(self, directory: Path, network: SpeakerModel, calibration: Calibration | None):
        self.directory, self.network, self.calibration = directory, network, calibration
        self._device = next(network.parameters()).device

    @property
    def embedding_dim(self) -> int:
        """Length E of an embedding."""
        return self.network.embedding_dim

    def embed(self, wav: Any, sample_rate: int | None = None) -> np.ndarray:
        """The embedding of one recording, all of it.

        A recording shorter than the model's window is repeated to fill it, as ``svtk extract-embeddings`` does.

        Args:
            wav: path of an audio file; or samples (N,), or of several channels, (N, C) or (C, N), which are averaged;
                an array or a tensor, of floats in [-1, 1] or of whole numbers.
            sample_rate: of samples, Hz; a file knows its own.

        Returns:
            float32 (E,), of any length; :meth:`score` compares directions.

        Raises:
            AudioError: a file that cannot be read, no samples, not a rate, or a rate missing.
        """
        with torch.inference_mode():
            samples = repeat_to(self._samples(wav, sample_rate), self.network.window_samples)
            [row] = self.network.embed_cover([torch.from_numpy(samples).to(self._device)])
            return row.float().cpu().numpy()

    def _samples(self, wav: Any, sample_rate: int | None) -> np.ndarray:
        if isinstance(wav, (str, os.PathLike)):
            if sample_rate is not None:
                raise AudioError("a file knows its own rate", path=wav, mend="leave out sample_rate")
            if not os.path.isfile(wav):  # never the command of a pipe: the name may be a stranger's
                raise AudioError("cannot read audio", path=wav, found="no such file", mend="give an audio file")
            return read_any(os.path.abspath(wav))
        if sample_rate is None:
            raise AudioError("samples without a sampling rate", mend="give sample_rate, in Hz")
        if isinstance(wav, torch.Tensor):
            wav = wav.detach().cpu()
            wav = (wav.float() if wav.is_floating_point() else wav).numpy()  # NumPy has no bfloat16
        return resample(to_mono(wav), sample_rate)

    def score(self, a: Any, b: Any) -> float:
        """The cosine of two embeddings (E,), in [-1, 1]; a path is embedded first.

        Raises:
            DataError: not two embeddings of one length, or one of length 0 or not finite.
            AudioError: a file that cannot be read.
        """
        rows = []
        for side in (a, b):
            row = np.asarray(self.embed(side) if isinstance(side, (str, os.PathLike)) else side, dtype=np.float64)
            if row.shape != (self.embedding_dim,):
                raise DataError("not an embedding", found=f"shape {row.shape}", expected=f"({self.embedding_dim},)")
            norm = np.linalg.norm(row)
            if not 0 < norm < np.inf:
                raise DataError("an embedding without a direction", found=f"length {norm}", mend="look at its audio")
            rows.append(row / norm)
        return float(rows[0] @ rows[1])

    def llr(self, score: float) -> float:
        """The natural logarithm of how much likelier a score is for one speaker than for two, by the calibration.

        Raises:
            DataError: the model has no calibration.
        """
        if self.calibration is None:
            mend = "train one with svtk calibrate, and give it to load or put it there as calibration.json"
            raise DataError("no calibration", path=self.directory, mend=mend)
        return self.calibration.offset + float(self.calibration.weights()[0]) * score


def load(
    model: str | os.PathLike,
    *,
    device: str = "cpu",
    calibration: str | os.PathLike | None = None,
    revision: str | None = None,
) -> Verifier:
    """Load a model.

    Args:
        model: MODEL_DIR, what ``svtk export`` made of one, or a name on the Hugging Face Hub (``OWNER/NAME``).
        device: torch device.
        calibration: what ``svtk calibrate`` trained on cosine scores [calibration.json in MODEL_DIR, if there].
        revision: of a model on the hub.

    Raises:
        ModelError: no such model, or damaged.
        DataError: a calibration that is none, or one of several systems or with quality measures.
    """
    directory = model_directory(model, revision)
    beside = directory / "calibration.json"
    if calibration is None and beside.exists():
        calibration = beside
    trained = None if calibration is None else _of_one_score(calibration)
    return Verifier(directory, open_embedder(directory, device).for_inference(), trained)


def _of_one_score(path: str | os.PathLike) -> Calibration:
    from svtk.score.calibration_files import read_calibration  # here: importing Arrow takes as long as a verification

    calibration = read_calibration(path)
    if not calibration.of_one_score:
        found = f"{len(calibration.scores)} system(s), {len(calibration.quality)} quality measure(s)"
        mend = "train svtk calibrate on this model's cosine scores alone"
        raise DataError("a calibration of more than one score", path=path, found=found, mend=mend)
    return calibration

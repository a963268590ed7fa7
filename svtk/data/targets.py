"""Teacher targets on disk: the hidden states of whole utterances, one Kaldi table per layer.

A directory holds ``layerK.{ark,scp}`` (matrices T × H), ``cmvn_layerK.{ark,scp}``, ``utt2num_frames`` and
``targets.json``. An utterance shorter than ``min_duration`` was repeated to that length before the teacher heard it,
as it is when it is cropped for training.

The statistics are Kaldi's, one matrix 2 × (H + 1) per utterance: sums and number of frames, sums of squares and 0.
They add up, over utterances, jobs and directories.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.tables import ScpReader, read_table

__all__ = ["Targets", "TargetsInfo", "frame_statistics"]


@dataclasses.dataclass(frozen=True)
class TargetsInfo:
    """What ``targets.json`` says: the teacher, its width H and number of hidden states, and the layers kept.

    ``weights`` is the SHA-256 of the teacher's weights: another teacher under the same name is another teacher. With
    ``vad`` the teacher heard speech only, by ``vad.scp``; ``precision`` is what it computed in.
    """

    teacher: str
    weights: str
    hidden_dim: int
    num_hidden: int
    layers: list[int]
    min_duration: float
    compress: str
    vad: bool = False
    precision: str = "fp32"


class Targets:
    """Random access to teacher targets by utterance, layer and frame.

    Args:
        directory: output of ``svtk extract-targets``.
        layers: layers that will be read.

    Raises:
        DataError: not such a directory, or a layer is missing.
    """

    def __init__(self, directory: str | os.PathLike, layers: list[int]):
        self.path = Path(directory)
        try:
            self.info = TargetsInfo(**json.loads((self.path / "targets.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError("no readable targets.json", path=self.path, mend="run svtk extract-targets") from error
        missing = sorted(set(layers) - set(self.info.layers))
        if missing:
            raise DataError(
                f"no teacher targets of layer {missing[0]}",
                path=self.path,
                found=f"layers {self.info.layers}",
                mend=f"run svtk extract-targets --layers {','.join(map(str, sorted({*layers, *self.info.layers})))}",
            )
        self._readers = {layer: ScpReader(str(self.path / f"layer{layer}.scp")) for layer in layers}

    def __contains__(self, utt: object) -> bool:
        """Whether every layer has *utt*."""
        return all(utt in reader for reader in self._readers.values())

    def check(self, utts: list[str]) -> None:
        """Raise DataError unless every layer has every utterance."""
        for layer, reader in self._readers.items():
            missing = [utt for utt in utts if utt not in reader]
            if missing:
                raise DataError(
                    f"{len(missing)} utterance(s) have no teacher target, first {missing[0]!r}",
                    path=self.path / f"layer{layer}.scp",
                    mend="run svtk extract-targets on the training data again",
                )

    def read(self, utt: str, start: int, num_frames: int) -> dict[int, np.ndarray]:
        """Frames [start, start + num_frames) of every layer: {layer: float32 (num_frames, H)}.

        Where the teacher's frontend gives one frame less than the student's (149 and 150 in 3 s), the end of an
        utterance may lack the last one.

        Raises:
            DataError: the utterance has fewer frames.
        """
        result = {}
        for layer, reader in self._readers.items():
            rows, total = reader.rows(utt, start, num_frames)
            if total < start + num_frames - 1:
                raise DataError(
                    f"too few frames for {utt!r}",
                    path=self.path / f"layer{layer}.scp",
                    found=f"{total}",
                    expected=f"at least {start + num_frames - 1}",
                    mend="the audio or the crop_duration changed: run svtk extract-targets again",
                )
            result[layer] = np.asarray(rows, dtype=np.float32)
        return result

    def statistics(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (H,), float64, of each dimension of *layer* over all frames of all utterances.

        Raises:
            DataError: the directory has none of this layer, or an entry is damaged.
        """
        path = self.path / f"cmvn_layer{layer}.scp"
        if not path.is_file():
            raise DataError(
                f"no statistics of layer {layer}",
                path=self.path,
                mend="run svtk extract-targets into another directory",
            )
        width = self.info.hidden_dim + 1
        total = np.zeros((2, width))
        for utt, stats in read_table(f"scp:{path}"):
            if stats.shape != total.shape:
                raise DataError(
                    f"no statistics of layer {layer}: entry {utt!r} does not fit",
                    path=path,
                    found=f"shape {stats.shape}",
                    expected=f"(2, {width})",
                )
            total += stats
        mean, square = total[:, :-1] / total[0, -1]
        return mean, np.maximum(square - mean**2, 0.0)


def frame_statistics(states: np.ndarray) -> np.ndarray:
    """States (T, H) to Kaldi's statistics (2, H + 1), float32.

    >>> frame_statistics(np.array([[1.0, 2.0], [3.0, 2.0]])).tolist()
    [[4.0, 4.0, 2.0], [10.0, 8.0, 0.0]]
    """
    states = states.astype(np.float64)
    return np.stack([np.append(states.sum(0), len(states)), np.append((states**2).sum(0), 0.0)]).astype(np.float32)

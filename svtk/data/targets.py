"""Teacher targets on disk: the hidden states of whole utterances, one Kaldi table per layer.

A directory holds ``layerK.{ark,scp}`` (matrices T × H), ``utt2num_frames`` and ``targets.json``. An
utterance shorter than ``min_duration`` was repeated to that length before the teacher heard it, as it is
when it is cropped for training.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.tables import ScpReader

__all__ = ["Targets", "TargetsInfo"]


@dataclasses.dataclass(frozen=True)
class TargetsInfo:
    """What ``targets.json`` says: the teacher, its width H and number of hidden states, and the layers kept.

    ``weights`` is the SHA-256 of the teacher's weights: another teacher under the same name is another teacher. With
    ``vad`` the teacher heard speech only, by ``vad.scp``.
    """

    teacher: str
    weights: str
    hidden_dim: int
    num_hidden: int
    layers: list[int]
    min_duration: float
    compress: str
    vad: bool = False


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

"""Equal error rate of a model, exported or not, on a data directory's trials: what an export costs."""

from __future__ import annotations

import numpy as np

from svtk.data.cuts import load_utterances
from svtk.errors import DataError, ModelError
from svtk.kaldi.trials import read_trials
from svtk.models.embedding import embed_utterances
from svtk.models.speaker_model import SpeakerModel
from svtk.progress import progress
from svtk.score.cosine import cosine
from svtk.score.metrics import equal_error_rate, operating_points

__all__ = ["eer"]


def eer(model: SpeakerModel, data_dir: str, trials_path: str) -> float:
    """The EER, in [0, 1], of cosine scores.

    Raises:
        DataError: trials without labels, or of an utterance that the data directory lacks.
        AudioError: an utterance cannot be read.
        ModelError: an embedding is not finite.
    """
    trials = read_trials(trials_path)
    if trials.labels is None:
        raise DataError("trials need labels here", path=trials_path, mend="make them with svtk make-trials")
    used = sorted({*trials.enroll, *trials.test})
    located = {item.utt: item for item in load_utterances(data_dir)}
    for utt in used:
        if utt not in located:
            raise DataError(f"{utt!r} is not in {data_dir}", path=trials_path, mend="give the trials of this directory")
    items = [(utt, located[utt].wav, located[utt].start, located[utt].num_samples) for utt in used]
    embedded = progress(embed_utterances(model, items), "embeddings", total=len(items))
    rows = np.stack([row for _, row in embedded])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(rows).all():
        raise ModelError("an embedding is not finite", mend="use another precision")
    index = {utt: i for i, utt in enumerate(used)}
    enroll, test = ([index[utt] for utt in side] for side in (trials.enroll, trials.test))
    scores = cosine(rows, rows, np.array(enroll), np.array(test))
    return float(equal_error_rate(operating_points(scores, trials.labels))[0])

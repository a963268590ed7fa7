"""The error rate on a trial list, by which training is steered."""

from __future__ import annotations

import numpy as np

from svtk.data.cuts import load_utterances
from svtk.errors import DataError, ModelError
from svtk.kaldi.trials import read_trials
from svtk.models.embedding import embed_utterances
from svtk.models.speaker_model import SpeakerModel
from svtk.score.cosine import cosine
from svtk.score.metrics import equal_error_rate, operating_points
from svtk.train import parallel

__all__ = ["Validation"]


class Validation:
    """EER on a labelled trial list over the utterances of a data directory.

    Args:
        data_dir: validation utterances.
        trials_path: labelled trials over them.
        vad: embeddings are of speech only, by the ``vad.scp`` of *data_dir*.

    Raises:
        DataError: unlabelled or empty list, or an utterance that the data directory lacks.
    """

    def __init__(self, data_dir: str, trials_path: str, vad: bool = False):
        trials = read_trials(trials_path)
        if trials.labels is None:
            raise DataError("validation trials need labels", path=trials_path, mend="make them with svtk make-trials")
        located = {item.utt: item for item in load_utterances(data_dir, speech_only=vad)}
        for number, utts in enumerate(zip(trials.enroll, trials.test, strict=True), 1):
            for utt in utts:
                if utt not in located:
                    raise DataError(
                        f"{utt!r} is not in {data_dir}",
                        path=trials_path,
                        line=number,
                        mend="make the trials from this data directory",
                    )
        used = sorted({*trials.enroll, *trials.test})
        index = {utt: i for i, utt in enumerate(used)}
        self.items = [(utt, located[utt].wav, located[utt].start, located[utt].num_samples) for utt in used]
        self.enroll = np.array([index[utt] for utt in trials.enroll])
        self.test = np.array([index[utt] for utt in trials.test])
        self.labels = trials.labels

    def eer(self, model: SpeakerModel) -> float:
        """EER in [0, 1] of cosine scores; the model is left in evaluation mode.

        The processes of a run share the utterances, and all get the EER of all.
        """
        model.eval()
        mine = self.items[parallel.rank() :: parallel.world_size()]
        embeddings = parallel.all_of([row for _, row in embed_utterances(model, mine, batch_size=16)])
        rows = np.empty((len(self.items), model.embedding_dim), np.float32)
        for number, part in enumerate(embeddings):
            if part:
                rows[number :: parallel.world_size()] = part
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all():
            raise ModelError("validation embeddings are not finite", mend="lower lr")
        scores = cosine(rows, rows, self.enroll, self.test)
        return float(equal_error_rate(operating_points(scores, self.labels))[0])

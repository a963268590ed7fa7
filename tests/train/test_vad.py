"""Training on speech only: crops, cached targets and validation hear what vad.scp calls speech."""

import numpy as np
import pytest
import torch

from svtk.data.audio import read_audio
from svtk.data.cuts import load_cuts, load_utterances
from svtk.errors import ConfigError, DataError, ModelError
from svtk.extract.targets import extract_targets
from svtk.kaldi.datadir import read_data_dir, read_map, write_data_dir
from svtk.kaldi.tables import TableWriter
from svtk.models.speaker_model import load_model
from svtk.train.options import TrainOptions
from svtk.train.validation import Validation


def decide(data, rule):
    """Write vad.scp; *rule* gives the decisions (T,) of an utterance of T frames."""
    with TableWriter(f"ark,scp:{data}/vad.ark,{data}/vad.scp") as writer:
        for cut in load_cuts(data):
            writer.write(cut.id, rule(cut.num_samples // 160).astype(np.float32))


def second_half(count):
    return np.arange(count) >= count // 2


@pytest.fixture
def dirs(corpus, tmp_path):
    """Copies of the corpus's directories, with vad.scp: speech is the second half of each utterance."""
    result = {}
    for name in ("train", "valid"):
        copy = write_data_dir(tmp_path / name, read_data_dir(getattr(corpus, name)).utterances).path
        decide(copy, second_half)
        result[f"{name}_dir"] = str(copy)
    return result


def test_a_student_of_speech_only(distil, run_of, dirs, tmp_path):
    distil(tmp_path / "m", vad=True, **dirs)
    distil(tmp_path / "all", **dirs)
    heard, whole = (torch.cat([p.flatten() for p in load_model(tmp_path / m).parameters()]) for m in ("m", "all"))
    assert not torch.equal(heard, whole)
    assert distil(tmp_path / "m", vad=True, **dirs)  # done already
    with pytest.raises(ModelError, match="a difference in inputs.train_vad"):
        distil(tmp_path / "m", **dirs)
    decide(dirs["train_dir"], lambda count: ~second_half(count))  # as many frames: the same vad.scp, to the byte
    with pytest.raises(ModelError, match="a difference in inputs.train_vad"):
        distil(tmp_path / "m", vad=True, **dirs)


def test_crops_are_of_speech(run_of, dirs, tmp_path):
    run = run_of(tmp_path / "m", vad=True, noise=None, **dirs)
    dataset = run.crops(TrainOptions(crop_duration=0.1))
    wholes = {item.utt: item for item in load_utterances(dirs["train_dir"])}
    for index, item in enumerate(dataset.items):
        whole = wholes[item.utt]
        speech = read_audio(whole.wav, whole.start, whole.num_samples)[(whole.num_samples // 160 // 2) * 160 :]
        crop = dataset[index]["clean"]
        places = [i for i in range(0, len(speech) - 1599) if np.array_equal(speech[i : i + 1600], crop)]
        assert places and places[0] % 320 == 0


def test_validation_is_of_speech(dirs, corpus):
    halves = {item[0]: item[3] for item in Validation(dirs["valid_dir"], corpus.trials, vad=True).items}
    wholes = {item[0]: item[3] for item in Validation(dirs["valid_dir"], corpus.trials).items}
    assert all(abs(halves[utt] - wholes[utt] / 2) <= 160 for utt in wholes)


def test_targets_of_speech_go_with_training_on_speech(distil, dirs, wavlm_dir, tmp_path):
    extract_targets(wavlm_dir, dirs["train_dir"], tmp_path / "speech", min_duration=0.5, vad=True)
    extract_targets(wavlm_dir, dirs["train_dir"], tmp_path / "whole", min_duration=0.5)
    frames = [sum(map(int, read_map(tmp_path / d / "utt2num_frames").values())) for d in ("speech", "whole")]
    assert frames[0] < frames[1]
    distil(tmp_path / "m", vad=True, targets=str(tmp_path / "speech"), **dirs)
    message = "made of other audio; found speech only; expected whole utterances"
    with pytest.raises(ConfigError, match=message):
        distil(tmp_path / "n", targets=str(tmp_path / "speech"), **dirs)
    with pytest.raises(ConfigError, match="found whole utterances; expected speech only"):
        distil(tmp_path / "o", vad=True, targets=str(tmp_path / "whole"), **dirs)


def test_without_vad_scp(distil, corpus, tmp_path):
    with pytest.raises(DataError, match="train/vad.scp: no speech activity here"):
        distil(tmp_path / "m", vad=True)

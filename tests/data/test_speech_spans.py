import numpy as np
import pytest

from data_dirs import save
from svtk.data.audio import Spliced, read_audio
from svtk.data.cuts import load_utterances
from svtk.data.speech_spans import read_speech, speech_frames, speech_samples
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import Utterance, write_data_dir
from svtk.kaldi.tables import TableWriter


def decide(data, **decisions):
    """Write *data*/vad.scp."""
    with TableWriter(f"ark,scp:{data}/vad.ark,{data}/vad.scp") as writer:
        for utt, frames in decisions.items():
            writer.write(utt, np.asarray(frames, np.float32))


@pytest.fixture
def data(tmp_path):
    """Utterances u0 and u1 of 0.1 s each, the second within a recording; samples count up."""
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.arange(1600, dtype=np.int16), 16_000)
    soundfile.write(tmp_path / "b.wav", np.arange(3200, dtype=np.int16), 16_000)
    utterances = [
        Utterance("u0", "s0", str(tmp_path / "a.wav"), "a", 0.0, 0.1),
        Utterance("u1", "s1", str(tmp_path / "b.wav"), "b", 0.05, 0.15),
    ]
    return write_data_dir(tmp_path / "data", utterances).path


def samples(item, start=0, count=None):
    wav = read_audio(item.wav, item.start + start, item.num_samples if count is None else count, item.utt)
    return (wav * 32768).round().astype(int).tolist()


def span(*edges):
    return [x for low, high in zip(edges[::2], edges[1::2], strict=True) for x in range(low, high)]


@pytest.mark.parametrize(
    ("decision", "runs"),
    [([], []), ([0], []), ([1], [(0, 1)]), ([0, 1, 1, 0, 1], [(1, 3), (4, 5)]), ([1, 0, 0], [(0, 1)])],
)
def test_runs_of_speech(decision, runs):
    assert speech_frames(np.array(decision)) == runs


def test_samples_behind_the_last_frame_belong_to_it():
    assert speech_samples(np.array([0, 1]), 400) == [(160, 240)]
    assert speech_samples(np.array([1, 0]), 400) == [(0, 160)]
    assert speech_samples(np.array([1, 0, 1]), 320) == [(0, 160)]  # a frame that the audio does not reach


def test_an_utterance_is_its_speech(data):
    decide(data, u0=[1, 1, 0, 0, 0, 0, 0, 0, 1, 0], u1=[0, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    first, second = load_utterances(data, speech_only=True)
    assert (first.num_samples, second.num_samples) == (480, 320)
    assert samples(first) == span(0, 320, 1280, 1440)
    assert samples(second) == span(960, 1120, 2240, 2400)
    assert samples(first, 300, 100) == span(300, 320, 1280, 1360)
    assert samples(first, 320, 10) == span(1280, 1290)
    assert samples(first, 470, 100) == span(1430, 1440)


def test_what_is_all_speech_stays_as_it_is(data):
    decide(data, u0=np.ones(8), u1=np.ones(10))  # Kaldi with --snip-edges=true makes two frames less
    assert list(load_utterances(data, speech_only=True)) == list(load_utterances(data))


def test_without_the_option_nothing_is_read(data):
    assert [item.num_samples for item in load_utterances(data)] == [1600, 1600]


def test_an_utterance_without_speech_is_used_whole(data, caplog):
    decide(data, u0=np.zeros(10), u1=np.ones(10))
    assert [item.num_samples for item in load_utterances(data, speech_only=True)] == [1600, 1600]
    assert "1 utterance(s) without speech are used whole, first 'u0'" in caplog.text


def test_no_speech_activity_here(data):
    with pytest.raises(DataError, match=r"vad.scp: no speech activity here.*svtk detect-speech"):
        load_utterances(data, speech_only=True)


def test_a_missing_utterance(data):
    decide(data, u0=np.ones(10))
    with pytest.raises(DataError, match=r"vad.scp: 'u1' is missing"):
        load_utterances(data, speech_only=True)


def test_an_utterance_too_short_for_a_decision_is_used_whole(data, caplog):
    decide(data, u0=np.ones(10))
    assert read_speech(data, {"u0": 1600, "u1": 79}) == {"u0": [(0, 1600)], "u1": [(0, 79)]}
    assert "1 utterance(s) without speech are used whole, first 'u1'" in caplog.text


@pytest.mark.parametrize("wrong", [np.ones(20), np.ones(3), np.ones((10, 2))])
def test_speech_activity_of_other_audio(data, wrong):
    decide(data, u0=np.ones(10), u1=wrong)
    with pytest.raises(DataError, match=r"'u1' is of other audio; found shape \(.*expected about 10 frames"):
        load_utterances(data, speech_only=True)


def test_a_damaged_table(data):
    save(data / "vad.scp", "u0 nowhere.ark:3\nu1 nowhere.ark:9\n")
    with pytest.raises(DataError, match="nowhere.ark"):
        read_speech(data, {"u0": 1600})


def test_parts_of_what_is_empty():
    with pytest.raises(AudioError, match="empty audio of 'u'"):
        read_audio(Spliced("no.wav", ((0, 10),)), 10, 5, "u")

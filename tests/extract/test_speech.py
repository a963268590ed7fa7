import sys

import numpy as np
import pytest
import soundfile

from svtk.data.cuts import load_cuts
from svtk.data.speech_activity import EnergyOptions, VadOptions, kaldi_decision, log_energy
from svtk.errors import ConfigError, DataError, ModelError
from svtk.extract.speech import Detector, detect_speech, write_speech_segments
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.kaldi.tables import TableWriter, read_table
from svtk.prepare.validate import validate_data


def sound(*parts):
    """``(seconds, dB)`` of noise, one after another."""
    rng = np.random.default_rng(4)
    return np.concatenate([10 ** (level / 20) * rng.standard_normal(round(16_000 * sec)) for sec, level in parts])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """a-1: pause, speech, pause; a-2: speech alone; b-1 and b-2: segments of one recording; b-3: a quiet room."""
    root = tmp_path_factory.mktemp("speech")
    audio = {
        "a1": sound((0.5, -60), (1.0, -20), (0.6, -60)),
        "a2": sound((0.8, -20)),
        "b": sound((1.0, -20), (1.0, -60), (1.0, -20)),
        "b3": sound((0.7, -75)),
    }
    wavs = {}
    for name, samples in audio.items():
        wavs[name] = str(root / f"{name}.wav")
        soundfile.write(wavs[name], samples, 16_000)
    utterances = [
        Utterance("a-1", "a", wavs["a1"], "a1", 0.0, 2.1),
        Utterance("a-2", "a", wavs["a2"], "a2", 0.0, 0.8),
        Utterance("b-1", "b", wavs["b"], "b", 0.5, 1.5),
        Utterance("b-2", "b", wavs["b"], "b", 1.5, 3.0),
        Utterance("b-3", "b", wavs["b3"], "b3", 0.0, 0.7),
    ]
    return write_data_dir(root / "data", utterances).path


def detected(data, tmp_path, detector=Detector(), **options):  # noqa: B008
    detect_speech(str(data), f"ark,scp:{tmp_path}/vad.ark,{tmp_path}/vad.scp", detector, **options)
    return dict(read_table(f"scp:{tmp_path}/vad.scp"))


def test_speech_between_pauses(data, tmp_path):
    found = detected(data, tmp_path)
    assert {utt: len(row) for utt, row in found.items()} == {"a-1": 210, "a-2": 80, "b-1": 100, "b-2": 150, "b-3": 70}
    assert all(row.dtype == np.float32 and set(row) <= {0, 1} for row in found.values())
    truth = np.repeat([0, 1, 0], [50, 100, 60])
    assert np.abs(found["a-1"] - truth).sum() <= 4
    assert np.abs(found["b-1"] - np.repeat([1, 0], [50, 50])).sum() <= 2
    assert np.abs(found["b-2"] - np.repeat([0, 1], [50, 100])).sum() <= 2
    assert found["a-2"].all() and not found["b-3"].any()


def test_the_directory_with_its_decisions_is_valid(data, tmp_path):
    detect_speech(str(data), f"ark,scp:{tmp_path}/vad.ark,{data}/vad.scp", Detector())
    validation = validate_data(data)
    (data / "vad.scp").unlink()
    assert not list(validation.problems)


def test_kaldis_decision_of_audio_and_of_its_features(data, tmp_path):
    detector = Detector("kaldi", EnergyOptions(), VadOptions(12.0, 0.3, 0.5, 2))
    found = detected(data, tmp_path, detector)
    wav, _ = soundfile.read(read_data_dir(data).utterances[0].wav, dtype="float32")
    energies = log_energy(wav, detector.energy)
    np.testing.assert_array_equal(found["a-1"], kaldi_decision(energies, detector.vad))
    with TableWriter(f"ark:{tmp_path}/feats.ark") as writer:
        writer.write("a-1", np.stack([energies, -energies], 1))
        writer.write("empty", np.zeros((0, 2), np.float32))
    detect_speech(f"ark:{tmp_path}/feats.ark", f"ark:{tmp_path}/by_feats.ark", detector)
    by_feats = dict(read_table(f"ark:{tmp_path}/by_feats.ark"))
    assert list(by_feats) == ["a-1"]
    np.testing.assert_array_equal(by_feats["a-1"], found["a-1"])


def test_what_is_no_features(tmp_path):
    with TableWriter(f"ark:{tmp_path}/feats.ark") as writer:
        writer.write("u", np.ones(5))
    with pytest.raises(DataError, match=r"feats.ark: entry 'u' is no features; found a vector of 5"):
        detect_speech(f"ark:{tmp_path}/feats.ark", f"ark:{tmp_path}/vad.ark", Detector("kaldi"))


def test_features_by_two_gaussians_as_audio(data, tmp_path):
    wav = sound((0.5, -60), (1.0, -20))
    with TableWriter(f"ark:{tmp_path}/feats.ark") as writer:
        writer.write("u", log_energy(wav, EnergyOptions())[:, None])
    detect_speech(f"ark:{tmp_path}/feats.ark", f"ark:{tmp_path}/vad.ark", Detector())
    [(_, row)] = read_table(f"ark:{tmp_path}/vad.ark")
    assert np.abs(row - np.repeat([0, 1], [50, 100])).sum() <= 2


def test_a_killed_run_is_taken_up(data, tmp_path, monkeypatch):
    whole = detected(data, tmp_path)
    for name in ("vad.ark", "vad.scp"):
        (tmp_path / name).unlink()
    read = []
    monkeypatch.setattr("svtk.extract.speech._BATCH", 2)

    def audio(wav, start, num_samples, utt):
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(utt)
        return from_audio(wav, start, num_samples, utt)

    from svtk.data.audio import read_audio as from_audio

    monkeypatch.setattr("svtk.extract.speech.read_audio", audio)
    with pytest.raises(KeyboardInterrupt):
        detected(data, tmp_path)
    assert not (tmp_path / "vad.ark").exists() and not (tmp_path / "vad.scp").exists()
    read.clear()
    monkeypatch.setattr("svtk.extract.speech.read_audio", lambda *args: read.append(args[3]) or from_audio(*args))
    again = detected(data, tmp_path)
    assert read == ["b-1", "b-2", "b-3"]
    assert list(again) == list(whole) and all((again[utt] == whole[utt]).all() for utt in whole)


def test_segments_are_a_data_directory(data, tmp_path):
    found = detected(data, tmp_path)
    count = write_speech_segments(data, f"scp:{tmp_path}/vad.scp", tmp_path / "segmented")
    utterances = read_data_dir(tmp_path / "segmented").utterances
    assert len(utterances) == count == 4  # b-3 has no speech
    assert not list(validate_data(tmp_path / "segmented", check_audio=True).problems)
    first = utterances[0]
    start, end = np.flatnonzero(found["a-1"])[[0, -1]]
    assert (first.utt, first.spk) == (f"a-1-{start:07d}-{end + 1:07d}", "a")
    assert first.start == pytest.approx(start / 100) and first.end == pytest.approx((end + 1) / 100)
    inner = utterances[3]  # of a segment: counted from its recording's beginning
    assert inner.recording == "b" and inner.start == pytest.approx(2.0, abs=0.03) and inner.end == pytest.approx(3.0)
    cuts = list(load_cuts(tmp_path / "segmented"))
    assert [(cut.id, cut.supervisions[0].speaker) for cut in cuts] == [(u.utt, u.spk) for u in utterances]


def test_segments_need_all_utterances_and_some_speech(data, tmp_path):
    with TableWriter(f"ark:{tmp_path}/some.ark") as writer:
        writer.write("a-1", np.ones(210))
    with pytest.raises(DataError, match="'a-2' is missing"):
        write_speech_segments(data, f"ark:{tmp_path}/some.ark", tmp_path / "out")
    with TableWriter(f"ark:{tmp_path}/none.ark") as writer:
        for u in read_data_dir(data).utterances:
            writer.write(u.utt, np.zeros(round(100 * (u.end - u.start))))
    with pytest.raises(DataError, match="no speech in any utterance"):
        write_speech_segments(data, f"ark:{tmp_path}/none.ark", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_silero_where_there_is_none(data, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="no Silero-VAD here"):
        detected(data, tmp_path, Detector("silero"))


def test_silero_hears_audio_only(tmp_path):
    with pytest.raises(ConfigError, match="Silero-VAD hears audio"):
        detect_speech("ark:feats.ark", "ark:-", Detector("silero"))


def test_k2_where_there_is_none(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    monkeypatch.delitem(sys.modules, "svtk.data.k2_decoding", raising=False)
    with pytest.raises(ConfigError, match="k2 cannot be imported"):
        detected(data, tmp_path, engine="k2")

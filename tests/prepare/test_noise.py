from __future__ import annotations

import numpy as np
import pytest

from svtk.data.audio import read_audio
from svtk.data.cuts import load_cuts
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import read_data_dir
from svtk.prepare.noise import prepare_noise


@pytest.fixture
def musan(tmp_path, tone):
    root = tmp_path / "musan"
    for kind, folder in (("noise", "free-sound"), ("music", "jamendo"), ("speech", "librivox")):
        for number in range(2):
            tone(root / kind / folder / f"{kind}-{folder}-000{number}.wav", 0.5)
    return root


@pytest.fixture
def rirs(tmp_path, tone):
    root = tmp_path / "RIRS_NOISES"
    tone(root / "simulated_rirs/smallroom/Room001/Room001-00001.wav", 0.2)
    tone(root / "simulated_rirs/largeroom/Room001/Room001-00001.wav", 0.2)
    real = root / "real_rirs_isotropic_noises"
    tone(real / "RVB2014_type1_rir_largeroom1_far_angla.wav", 0.2, channels=8)
    tone(real / "RVB2014_type1_noise_largeroom1_1.wav", 0.2, channels=8)
    tone(root / "pointsource_noises/noise-free-sound-0000.wav", 0.2)
    return root


def test_verb_on_both(musan, rirs, tmp_path, verb):
    done = verb("prepare-noise", "--musan", musan, "--rirs", rirs, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["music", "noise", "rirs", "speech"]
    for kind in ("noise", "music", "speech", "rirs"):
        data = read_data_dir(tmp_path / "out" / kind)
        assert [cut.id for cut in load_cuts(tmp_path / "out" / kind)] == [u.utt for u in data.utterances]
        assert all(u.utt == u.spk and len(read_audio(u.wav)) == round(16000 * u.duration) for u in data.utterances)
    assert [u.utt for u in data.utterances] == [
        "real_rirs_isotropic_noises-RVB2014_type1_rir_largeroom1_far_angla",
        "simulated_rirs-largeroom-Room001-Room001-00001",
        "simulated_rirs-smallroom-Room001-Room001-00001",
    ]
    assert np.abs(read_audio(data.utterances[0].wav)).max() == pytest.approx(0.5, abs=0.01)  # channel 0, not the mean


def test_real_rirs_by_their_list(rirs, tmp_path, tone):
    real = rirs / "real_rirs_isotropic_noises"
    tone(real / "unlisted.wav")
    (real / "rir_list").write_text(
        "--rir-id 00001 --room-id 001 "
        "RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav\n"
    )
    written = prepare_noise(tmp_path / "out", rirs=tmp_path)  # the folder that holds RIRS_NOISES
    assert len(written["rirs"].utterances) == 3


def test_plain_folders(tmp_path, tone):
    tone(tmp_path / "noises/kitchen.opus", 0.5, format="OGG", subtype="OPUS")
    tone(tmp_path / "noises/street noise.wav", 0.5, rate=48000, channels=2)
    tone(tmp_path / "rooms/hall.flac", 0.3)
    written = prepare_noise(tmp_path / "out", musan=tmp_path / "noises", rirs=tmp_path / "rooms")
    assert {kind: [u.utt for u in data.utterances] for kind, data in written.items()} == {
        "noise": ["kitchen", "street_noise"],
        "rirs": ["hall"],
    }
    assert all(len(read_audio(u.wav)) == 8000 for u in written["noise"].utterances)


def test_errors(musan, tmp_path, tone, verb):
    assert verb("prepare-noise", tmp_path / "out").returncode == 2
    with pytest.raises(DataError, match="nothing to prepare"):
        prepare_noise(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no audio files for rirs"):
        prepare_noise(tmp_path / "out", musan=musan, rirs=tmp_path / "empty")
    assert not (tmp_path / "out").exists()  # said before any work
    bad = tone(musan / "noise/x.wav", rate=8000)
    with pytest.raises(AudioError, match=f"{bad}: wrong audio format; found 8000 Hz"):
        prepare_noise(tmp_path / "out", musan=musan, convert=False)
    bad.write_bytes(b"")
    with pytest.raises(AudioError, match=f"{bad}: cannot read audio"):
        prepare_noise(tmp_path / "out", musan=musan)
    assert len(prepare_noise(tmp_path / "out", musan=musan, skip_bad=True)["noise"].utterances) == 2

from __future__ import annotations

import numpy as np
import pytest
import soundfile

import svtk.torchaudio_standin  # noqa: F401  (lhotse imports torchaudio to read a pipe)
from svtk.data.audio import read_audio
from svtk.data.cuts import load_cuts
from svtk.errors import AudioError, DataError, SvtkError
from svtk.kaldi.datadir import read_data_dir, read_map
from svtk.prepare.folder import choose_speakers, prepare_folder, read_speakers


@pytest.fixture
def tree(tmp_path, tone):
    """Four speakers, two files each, of every kind that libsndfile reads."""
    root = tmp_path / "corpus"
    for number, spk in enumerate(("ann", "bob", "cat", "dan")):
        tone(root / spk / "a.wav", 1.0, frequency=200 + 50 * number)
        tone(root / spk / "video1" / "b.flac", 1.5)
    tone(root / "ann" / "c.ogg", 1.25)
    tone(root / "ann" / "d.opus", 1.25, format="OGG", subtype="OPUS")
    tone(root / "ann" / "e.mp3", 1.25)
    (root / "ann" / "notes.txt").write_text("not audio")
    (root / "speakers.tsv").write_text("spk\tsex\nann\tf\nbob\tm\ncat\tFemale\ndan\tmale\nelse\tm\n")
    return root


def agree(path):
    """The Kaldi files and the manifest of a data directory say the same; returns the utterances by id."""
    data, cuts = read_data_dir(path), list(load_cuts(path))
    assert [cut.id for cut in cuts] == [u.utt for u in data.utterances]
    for cut, u in zip(cuts, data.utterances, strict=True):
        samples = read_audio(u.wav)
        assert cut.recording.num_samples == len(samples) == round(u.duration * 16000), u
        assert cut.recording.sampling_rate == 16000 and cut.recording.num_channels == 1
        (supervision,) = cut.supervisions
        assert (supervision.speaker, supervision.gender, cut.duration) == (u.spk, u.gender, u.duration)
        assert cut.recording.sources[0].source == u.wav.removesuffix("|").strip()
        assert u.utt.startswith(u.spk + "-")
    return {u.utt: u for u in data.utterances}


def test_ids_order_and_agreement(tree, tmp_path):
    prepare_folder(tree, tmp_path / "data")
    utterances = agree(tmp_path / "data")
    kaldi = (tmp_path / "data/utt2spk").read_text().splitlines()
    assert kaldi == sorted(kaldi) and len(kaldi) == 11
    assert {"ann-a", "ann-video1-b", "ann-c", "ann-d", "ann-e"} <= set(utterances)
    assert utterances["ann-video1-b"].duration == 1.5
    assert utterances["bob-a"].wav == str(tree / "bob/a.wav")  # absolute, untouched
    assert not (tmp_path / "data/spk2gender").exists()
    assert not (tmp_path / "data/wav").exists()


def test_relative_root_gives_absolute_paths(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare_folder("corpus", "data")
    assert all(u.wav.startswith(str(tree)) for u in agree(tmp_path / "data").values())


def test_verb_with_held_out_speakers(tree, tmp_path, verb):
    args = ("--speakers", tree / "speakers.tsv", "--num-valid-spks=2", "--valid-dir", tmp_path / "valid", "--seed", 7)
    done = verb("prepare-folder", *args, tree, tmp_path / "train")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    train, valid = agree(tmp_path / "train"), agree(tmp_path / "valid")
    held_out, kept = {u.spk for u in valid.values()}, {u.spk for u in train.values()}
    assert len(held_out) == len(kept) == 2 and held_out.isdisjoint(kept)
    assert sorted(read_map(tmp_path / "valid/spk2gender").values()) == ["f", "m"]
    assert len(train) + len(valid) == 11


def test_held_out_speakers_are_balanced_and_seeded():
    sexes = {f"s{i}": "f" if i < 4 else "m" for i in range(40)}
    chosen = choose_speakers(sexes, 6, seed=0)
    assert len(chosen) == 6 and sum(sexes[s] == "f" for s in chosen) == 3
    assert chosen == choose_speakers(dict(reversed(sexes.items())), 6, seed=0) != choose_speakers(sexes, 6, seed=1)
    assert len(choose_speakers(sexes, 12, seed=0)) == 12  # more than there are women
    assert len(choose_speakers(dict.fromkeys(sexes), 5, seed=0)) == 5  # sex unknown


def test_a_smaller_rerun_leaves_no_stale_files(tree, tmp_path):
    prepare_folder(tree, tmp_path / "data", speakers=tree / "speakers.tsv")
    assert (tmp_path / "data/spk2gender").exists()
    (tree / "dan/a.wav").unlink()
    prepare_folder(tree, tmp_path / "data")
    assert not (tmp_path / "data/spk2gender").exists()
    assert "dan-a" not in agree(tmp_path / "data")
    assert not [path.name for path in (tmp_path / "data").iterdir() if "part" in path.name]


def test_other_rate_and_channels_are_converted_once(tone, tmp_path):
    tone(tmp_path / "corpus/ann/cd.wav", 1.0, rate=44100, channels=2, frequency=1000)
    tone(tmp_path / "corpus/ann/phone.wav", 1.0, rate=8000, frequency=1000)
    prepare_folder(tmp_path / "corpus", tmp_path / "data")
    utterances = agree(tmp_path / "data")
    for u in utterances.values():
        assert u.wav.startswith(str(tmp_path / "data/wav/ann/")) and len(read_audio(u.wav)) == 16000
        spectrum = np.abs(np.fft.rfft(read_audio(u.wav)))
        assert spectrum.argmax() == 1000 and spectrum[1000] ** 2 > 0.99 * np.sum(spectrum**2)
    mean = np.abs(read_audio(utterances["ann-cd"].wav)[1000:-1000]).max()
    assert mean == pytest.approx(0.5 * 0.75, abs=0.01)  # channels of 1 and 1/2
    written = (tmp_path / "data/wav/ann/ann-cd.flac").stat().st_mtime_ns
    prepare_folder(tmp_path / "corpus", tmp_path / "data")
    assert (tmp_path / "data/wav/ann/ann-cd.flac").stat().st_mtime_ns == written
    agree(tmp_path / "data")


def test_channel_is_picked(tone, tmp_path):
    tone(tmp_path / "corpus/ann/cd.wav", channels=2)
    for channel, level in ((None, 0.375), (0, 0.5), (1, 0.25)):  # a rerun with another channel converts again
        prepare_folder(tmp_path / "corpus", tmp_path / "data", channel=channel)
        (u,) = agree(tmp_path / "data").values()
        assert np.abs(read_audio(u.wav)).max() == pytest.approx(level, abs=0.01)
    with pytest.raises(AudioError, match="no channel 2; found 2 channel"):
        prepare_folder(tmp_path / "corpus", tmp_path / "data", channel=2)


def test_no_convert_names_the_file(tone, tmp_path, verb):
    path = tone(tmp_path / "corpus/ann/phone.wav", rate=8000)
    done = verb("prepare-folder", "--no-convert", tmp_path / "corpus", tmp_path / "data")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert str(path) in line and "found 8000 Hz, 1 channel(s)" in line and "expected 16000 Hz mono" in line
    assert not (tmp_path / "data/wav.scp").exists() and not (tmp_path / "data/wav").exists()


def test_m4a_becomes_a_pipe(m4a, tmp_path):
    m4a(tmp_path / "my corpus/ann/it's 1.m4a", 1.0, frequency=1000)
    prepare_folder(tmp_path / "my corpus", tmp_path / "data")
    (u,) = agree(tmp_path / "data").values()
    assert u.utt == "ann-it's_1" and u.wav.startswith("ffmpeg ") and u.wav.endswith("|")
    samples = read_audio(u.wav)
    assert np.abs(np.fft.rfft(samples, 16000)).argmax() == 1000
    assert np.abs(samples[4000:12000]).max() == pytest.approx(0.375, abs=0.03)
    assert np.array_equal(read_audio(u.wav, 500, 100), samples[500:600])
    assert load_cuts(tmp_path / "data")["ann-it's_1"].load_audio().shape == (1, len(samples))
    prepare_folder(tmp_path / "my corpus", tmp_path / "data", channel=1)
    (u,) = agree(tmp_path / "data").values()
    assert np.abs(read_audio(u.wav)[4000:12000]).max() == pytest.approx(0.25, abs=0.03)


def test_m4a_without_ffmpeg(tmp_path, no_ffmpeg):
    (tmp_path / "corpus/ann").mkdir(parents=True)
    (tmp_path / "corpus/ann/a.m4a").write_bytes(b"")
    with pytest.raises(SvtkError, match=r"a\.m4a: ffmpeg is not on PATH.*To mend: install ffmpeg"):
        prepare_folder(tmp_path / "corpus", tmp_path / "data")


def test_damaged_m4a_is_named(tmp_path, ffmpeg):
    (tmp_path / "corpus/ann").mkdir(parents=True)
    (tmp_path / "corpus/ann/a.m4a").write_bytes(b"not an mp4 container")
    with pytest.raises(AudioError, match=r"ann/a\.m4a: ffmpeg cannot read audio"):
        prepare_folder(tmp_path / "corpus", tmp_path / "data")


def test_lengths_of_pipes_survive_a_failed_run(m4a, tmp_path, monkeypatch):
    from svtk.prepare import sources

    m4a(tmp_path / "corpus/ann/a.m4a")
    m4a(tmp_path / "corpus/ann/b.m4a")
    (tmp_path / "corpus/ann/z.wav").write_bytes(b"damaged")
    with pytest.raises(AudioError, match=r"z\.wav"):
        prepare_folder(tmp_path / "corpus", tmp_path / "data")
    assert not (tmp_path / "data/wav.scp").exists()
    (tmp_path / "corpus/ann/z.wav").unlink()
    m4a(tmp_path / "corpus/ann/b.m4a", 2.0)  # changed meanwhile: decoded again
    decoded = []
    monkeypatch.setattr(sources, "read_audio", lambda wav: decoded.append(wav) or read_audio(wav))
    prepare_folder(tmp_path / "corpus", tmp_path / "data")
    assert len(decoded) == 1 and "b.m4a" in decoded[0]
    agree(tmp_path / "data")
    assert not (tmp_path / "data/.part-durations").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"), [("bad.wav", b"RIFFxxxx", "cannot read"), ("none.flac", b"", "cannot read")]
)
def test_unreadable_files(tree, tmp_path, caplog, name, content, message):
    (tree / "bob" / name).write_bytes(content)
    with pytest.raises(AudioError, match=f"bob/{name}: {message}.*--skip-bad"):
        prepare_folder(tree, tmp_path / "data")
    assert not (tmp_path / "data/wav.scp").exists()
    prepare_folder(tree, tmp_path / "data", skip_bad=True)
    assert len(agree(tmp_path / "data")) == 11
    assert f"bob/{name}" in caplog.text and "left out 1 of 12 files" in caplog.text


def test_empty_audio(tree, tmp_path, verb):
    soundfile.write(tree / "bob/silent.wav", np.zeros(0), 16000)
    done = verb("prepare-folder", tree, tmp_path / "data")
    assert done.returncode == 1 and "bob/silent.wav: empty audio" in done.stderr and "Traceback" not in done.stderr
    done = verb("prepare-folder", "--skip-bad", tree, tmp_path / "data")
    assert done.returncode == 0 and len(agree(tmp_path / "data")) == 11


def test_two_files_of_one_name(tree, tmp_path, tone):
    tone(tree / "bob/a.flac")
    with pytest.raises(DataError, match=r"bob/a\.wav: two files make the utterance 'bob-a'; found .*bob/a\.flac"):
        prepare_folder(tree, tmp_path / "data")


def test_misplaced_audio_and_empty_tree(tmp_path, tone):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(DataError, match="no audio files"):
        prepare_folder(tmp_path / "corpus", tmp_path / "data")
    tone(tmp_path / "corpus/loose.wav")
    with pytest.raises(DataError, match=r"loose\.wav: an audio file outside any speaker's folder"):
        prepare_folder(tmp_path / "corpus", tmp_path / "data")


def test_too_many_held_out(tree, tmp_path, verb):
    with pytest.raises(DataError, match="cannot hold out 4 speakers; found 4 speakers"):
        prepare_folder(tree, tmp_path / "data", num_valid_spks=4, valid_dir=tmp_path / "valid")
    assert verb("prepare-folder", "--num-valid-spks", 2, tree, tmp_path / "data").returncode == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "speakers.tsv:1: not a speaker table"),
        ("spk sex\nann f\n", "speakers.tsv:1: not a speaker table"),
        ("spk\tsex\nann\tf\nbob\n", "speakers.tsv:3: malformed speaker; found 'bob'"),
        ("spk\tsex\nann\tx\n", "speakers.tsv:2: malformed speaker"),
        ("spk\tsex\nann\tf\nann\tf\n", "speakers.tsv:3: speaker 'ann' stands twice"),
    ],
)
def test_malformed_speakers(tmp_path, table, message):
    (tmp_path / "speakers.tsv").write_text(table)
    with pytest.raises(DataError, match=message):
        read_speakers(tmp_path / "speakers.tsv")


def test_speaker_missing_in_the_table(tree, tmp_path):
    (tree / "speakers.tsv").write_text("spk\tsex\nann\tf\nbob\tm\ncat\tf\n")
    with pytest.raises(DataError, match=r"speakers\.tsv: speaker 'dan' is missing"):
        prepare_folder(tree, tmp_path / "data", speakers=tree / "speakers.tsv")

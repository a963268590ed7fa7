"""Audio of piped recordings with segments, and of wav archives, is that of the files: wherever audio is read."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from svtk.data import audio
from svtk.data.augment import Augmenter, Config
from svtk.data.crops import CropDataset
from svtk.data.cuts import load_cuts, load_utterances
from svtk.extract.embeddings import extract_embeddings
from svtk.extract.targets import extract_targets
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.kaldi.tables import ScpReader, read_table


@pytest.fixture(scope="module")
def dirs(corpus, tmp_path_factory):
    """The corpus' validation utterances as files; as segments of one piped recording per speaker; in an archive."""
    root = tmp_path_factory.mktemp("same")
    utterances = read_data_dir(corpus.valid).utterances
    recordings: dict[str, list[np.ndarray]] = {}
    segments, entries, archive = [], [], io.BytesIO()
    for u in utterances:
        samples, _ = soundfile.read(u.wav, dtype="int16")
        before = recordings.setdefault(u.spk, [np.zeros(777, dtype=np.int16)])
        start = sum(map(len, before)) / 16_000
        before.append(samples)
        runs = root / f"ran-{u.spk}"
        pipe = f"echo >> {runs}; cat {shlex.quote(str(root / f'{u.spk}.wav'))} |"
        segments.append(Utterance(u.utt, u.spk, pipe, f"rec-{u.spk}", start, start + len(samples) / 16_000))
        archive.write(f"{u.utt} ".encode())
        wav = io.BytesIO()
        entries.append(Utterance(u.utt, u.spk, f"{root / 'wav.ark'}:{archive.tell()}", u.utt))
        soundfile.write(wav, samples, 16_000, format="WAV")
        archive.write(wav.getvalue())
    for spk, parts in recordings.items():
        soundfile.write(root / f"{spk}.wav", np.concatenate(parts), 16_000)
    (root / "wav.ark").write_bytes(archive.getvalue())
    dirs = {"files": corpus.valid}
    dirs |= {name: str(write_data_dir(root / name, us).path) for name, us in (("segments", segments), ("ark", entries))}
    return dirs


@pytest.mark.parametrize("kind", ["segments", "ark"])
def test_the_same_embeddings(dirs, kind, student_dir, tmp_path):
    vectors = {}
    for name in ("files", kind):
        extract_embeddings(student_dir, dirs[name], f"ark:{tmp_path / name}.ark")
        vectors[name] = dict(read_table(f"ark:{tmp_path / name}.ark"))
    assert len(vectors[kind]) == 9
    assert all(np.array_equal(vectors[kind][utt], vector) for utt, vector in vectors["files"].items())


@pytest.mark.parametrize("kind", ["segments", "ark"])
def test_the_same_teacher_targets(dirs, kind, wavlm_dir, tmp_path):
    states = {}
    for name in ("files", kind):
        extract_targets(wavlm_dir, dirs[name], tmp_path / name, min_duration=0.5)
        reader = ScpReader(f"{tmp_path / name}/layer2.scp")
        states[name] = {utt: reader[utt] for utt in reader}
    assert all(np.array_equal(states[kind][utt], matrix) for utt, matrix in states["files"].items())


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("kind", ["segments", "ark"])
def test_the_same_training_crops(dirs, kind, cache):
    files, other = (CropDataset(load_utterances(dirs[name]), 8000, cache=cache, whole=True) for name in ("files", kind))
    for index in range(len(files)):
        for key in ("clean", "utterance"):
            assert np.array_equal(files[index][key], other[index][key])


@pytest.mark.parametrize("kind", ["segments", "ark"])
def test_the_same_noise(dirs, kind, tmp_path):
    wav = np.full(8000, 0.1, dtype=np.float32)
    noisy = []
    for name in ("files", kind):
        (tmp_path / name).mkdir()
        (tmp_path / name / "noise").symlink_to(dirs[name])
        augment = Augmenter(tmp_path / name, Config(prob=1.0))
        noisy.append([augment(wav, np.random.default_rng(seed)) for seed in range(5)])
    assert np.array_equal(*noisy) and not np.array_equal(noisy[0][0], wav)


def test_a_recording_is_decoded_once_while_its_segments_are_read_in_order(dirs, student_dir, monkeypatch):
    load_cuts(dirs["segments"])
    monkeypatch.setattr(audio, "_recent_pipes", audio._RecentPipes())  # as in a new process
    runs = [Path(dirs["segments"]).parent / f"ran-v{i}" for i in range(3)]
    for path in runs:
        path.write_text("")
    extract_embeddings(student_dir, dirs["segments"], "ark:/dev/null")
    assert [path.read_text() for path in runs] == ["\n"] * 3

from __future__ import annotations

import gzip
import json
import os
import shlex

import numpy as np
import pytest
import soundfile

from svtk.data import cuts
from svtk.data.audio import read_audio
from svtk.data.cuts import load_cuts, load_utterances, locate, write_cuts
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import Utterance, write_data_dir


@pytest.fixture
def data_dir(tmp_path):
    """Two whole recordings, one of them a pipe; durations in utt2dur."""
    for name, seconds in (("a", 1.0), ("b", 0.5)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(round(16000 * seconds), 0.1), 16000)
    pipe = f"cat {shlex.quote(str(tmp_path / 'b.wav'))} |"
    utterances = [
        Utterance("ann-1", "ann", str(tmp_path / "a.wav"), "ann-1", duration=1.0, gender="f"),
        Utterance("bob-1", "bob", pipe, "bob-1", duration=0.5, gender="m"),
    ]
    return write_data_dir(tmp_path / "data", utterances).path


def segment(data_dir, *lines):
    (data_dir / "segments").write_text("".join(line + "\n" for line in lines))
    (data_dir / "utt2spk").write_text("".join(f"{line.split()[0]} ann\n" for line in lines))
    for name in ("spk2utt", "utt2dur", "spk2gender"):
        (data_dir / name).unlink()


def later(path, seconds=10):
    """As if *path* had been changed after the manifest."""
    status = path.stat()
    os.utime(path, (status.st_atime + seconds, status.st_mtime + seconds))


def summary(cut_set):
    return [(c.id, c.start, c.duration, c.recording.num_samples, c.supervisions[0].speaker) for c in cut_set]


@pytest.mark.parametrize("verified", [False, True])
def test_whole_recordings(data_dir, verified):
    made = write_cuts(data_dir, verified=verified)
    assert (
        summary(made)
        == [("ann-1", 0, 1.0, 16000, "ann"), ("bob-1", 0, 0.5, 8000, "bob")]
        == summary(load_cuts(data_dir))
    )
    assert [c.supervisions[0].gender for c in made] == ["f", "m"]
    assert [c.recording.sources[0].type for c in made] == ["file", "command"]
    assert sorted(path.name for path in data_dir.iterdir() if "cuts" in path.name) == ["cuts.jsonl.gz"]


def test_a_pipe_is_measured_when_its_duration_is_unknown(data_dir):
    (data_dir / "utt2dur").unlink()
    assert [c.duration for c in write_cuts(data_dir)] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wav.scp", "ann-1 /other/a.wav\nbob-1 cat b.wav |\n", "utterance 'ann-1' is not in utt2spk, or not the same"),
        ("utt2spk", "ann-1 ann\nbob-1 ann\n", "utterance 'bob-1' is not in utt2spk, or not the same"),
        ("segments", "ann-1 ann-1 0.25 0.75\nbob-1 bob-1 0 0.5\n", "utterance 'ann-1' is not in"),
        ("segments", "ann-1 ann-1 0 1\nbob-1 bob-1 0 0.4\n", "utterance 'bob-1' is not in"),
    ],
)
def test_a_manifest_of_other_data_that_does_not_look_older(data_dir, name, text, message):
    """As after ``rsync -a`` from where an older preparation lies."""
    write_cuts(data_dir)
    for other in ("spk2utt", "utt2dur", "spk2gender"):
        (data_dir / other).unlink()
    (data_dir / name).write_text(text)
    later(data_dir / name, -1000)
    with pytest.raises(DataError, match=f"cuts.jsonl.gz: the manifest is not that of the Kaldi files: {message}"):
        load_cuts(data_dir)


def test_a_manifest_that_lacks_an_utterance(data_dir):
    made = list(write_cuts(data_dir))
    cuts.CutSet.from_cuts(made[1:]).to_file(data_dir / "cuts.jsonl.gz")
    with pytest.raises(DataError, match="not that of the Kaldi files: utterance 'ann-1' is missing"):
        load_cuts(data_dir)


def test_segments_share_their_recording(data_dir):
    segment(data_dir, "ann-1-x ann-1 0.1 0.35", "ann-1-y ann-1 0.35 1.005", "ann-2-z bob-1 0 0.5")
    made = list(load_cuts(data_dir))
    assert summary(made) == [
        ("ann-1-x", 0.1, 0.25, 16000, "ann"),
        ("ann-1-y", 0.35, 0.65, 16000, "ann"),  # an end within 10 ms after the recording's is its end
        ("ann-2-z", 0, 0.5, 8000, "ann"),
    ]
    assert [c.recording_id for c in made] == ["ann-1", "ann-1", "bob-1"]


def test_audio_is_read_where_a_cut_lies(data_dir):
    a = np.arange(16000, dtype=np.int16)
    soundfile.write(data_dir.parent / "a.wav", a, 16000)
    segment(data_dir, "ann-1-x ann-1 0.1 0.35", "ann-2-z bob-1 0.25 0.5")
    part, piped = list(load_utterances(data_dir))
    assert (part.utt, part.spk, part.start, part.num_samples) == ("ann-1-x", "ann", 1600, 4000)
    samples = read_audio(part.wav, part.start, part.num_samples)
    assert (samples * 32768).tolist() == a[1600:5600].tolist()
    assert piped.wav.startswith("cat ") and read_audio(piped.wav, piped.start, piped.num_samples).shape == (4000,)


def test_a_segment_after_the_end(data_dir):
    segment(data_dir, "ann-1-x ann-1 0.1 1.2")
    (data_dir / "wav.scp").write_text((data_dir / "wav.scp").read_text().splitlines()[0] + "\n")
    with pytest.raises(
        DataError,
        match=r"segments: segment 'ann-1-x' of 0\.1 to 1\.2 s is not within its recording; expected at most 1\.000 s",
    ):
        load_cuts(data_dir)
    assert not (data_dir / "cuts.jsonl.gz").exists()


def test_made_once_and_again_when_older(data_dir, monkeypatch):
    load_cuts(data_dir)
    calls = []
    monkeypatch.setattr(cuts, "write_cuts", lambda path: calls.append(path) or write_cuts(path))
    assert len(load_cuts(data_dir)) == 2 and not calls
    (data_dir / "spk2gender").write_text("ann m\nbob m\n")
    later(data_dir / "spk2gender")
    assert [c.supervisions[0].gender for c in load_cuts(data_dir)] == ["m", "m"]
    assert len(calls) == 1


def test_damaged_manifest(data_dir):
    load_cuts(data_dir)
    whole = (data_dir / "cuts.jsonl.gz").read_bytes()
    for damaged in (b"not gzip", whole[:-20], gzip.compress(b'{"id": 1}\n'), gzip.compress(b"{\n")):
        (data_dir / "cuts.jsonl.gz").write_bytes(damaged)
        later(data_dir / "cuts.jsonl.gz")
        with pytest.raises(DataError, match=r"cuts\.jsonl\.gz(:1)?: damaged manifest.*To mend: remove it"):
            load_cuts(data_dir)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0), 16000, r"a\.wav: empty audio"),
        (np.zeros(100), 8000, r"a\.wav: wrong audio format of 'ann-1'; found 8000 Hz, mono.*prepare-folder --convert"),
        (np.zeros((100, 2)), 16000, r"a\.wav: wrong audio format of 'ann-1'; found 16000 Hz, 2 channels"),
        (None, None, r"a\.wav: cannot read audio"),
    ],
)
def test_bad_audio_is_named(data_dir, samples, rate, message):
    path = data_dir.parent / "a.wav"
    if samples is None:
        path.unlink()
    else:
        soundfile.write(path, samples, rate)
    with pytest.raises(AudioError, match=message):
        load_cuts(data_dir)
    assert not (data_dir / "cuts.jsonl.gz").exists()


def test_the_manifest_is_plain_lhotse(data_dir):
    write_cuts(data_dir)
    with gzip.open(data_dir / "cuts.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert [row["type"] for row in rows] == ["MonoCut", "MonoCut"]
    assert rows[0]["recording"]["sampling_rate"] == 16000


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("utt2spk", "ann-1 ann\n", r"wav\.scp:2: 'bob-1' is not in utt2spk"),
        ("utt2spk", "ann-1 ann\nbob-1 bob\ncat-1 cat\n", r"utt2spk:3: 'cat-1' is not in wav\.scp"),
        ("utt2spk", "ann-1 ann\nbob-1\n", r"utt2spk:2: malformed line"),
        ("utt2spk", "ann-1 ann\nann-1 bob\n", r"utt2spk:2: 'ann-1' stands twice"),
        ("spk2utt", "ann ann-1 bob-1\n", r"utt2spk:2: 'bob-1' belongs to 'bob' here, to 'ann' in spk2utt"),
        ("spk2utt", "ann ann-1\n", r"utt2spk:2: 'bob-1' is not in spk2utt"),
        ("utt2dur", "ann-1 1.0\nbob-1 long\n", r"utt2dur:2: not a duration"),
        ("utt2dur", "ann-1 1.0\n", r"utt2spk:2: 'bob-1' is not in utt2dur"),
        ("wav.scp", "ann-1 x.wav\n", r"utt2spk:2: 'bob-1' is not in wav\.scp"),
        ("segments", "ann-1 ann-1 0.5 0.1\nbob-1 bob-1 0 1\n", r"segments:1: a segment must have"),
        ("segments", "ann-1 ann-1 0 0.5\nbob-1 none 0 1\n", r"segments:2: recording 'none' is not in wav\.scp"),
        ("segments", "ann-1 ann-1 0 0.5\nbob-1 bob-1 zero 1\n", r"segments:2: malformed segment"),
    ],
)
def test_files_that_disagree_are_named_with_their_line(data_dir, name, text, message):
    (data_dir / name).write_text(text)
    with pytest.raises(DataError, match=message):
        load_cuts(data_dir)
    assert not (data_dir / "cuts.jsonl.gz").exists()


def test_segments_of_pipes_to_the_end(data_dir):
    """utt2dur is then the segment's duration, not the recording's."""
    segment(data_dir, "bob-1-x bob-1 0.2 -1", "bob-1-y bob-1 0.1 0.45")
    lines = (data_dir / "wav.scp").read_text().splitlines()
    (data_dir / "wav.scp").write_text(lines[1] + "\n")
    (data_dir / "utt2dur").write_text("bob-1-x 0.3\nbob-1-y 0.35\n")
    assert summary(load_cuts(data_dir)) == [
        ("bob-1-x", 0.2, 0.3, 8000, "ann"),
        ("bob-1-y", 0.1, 0.35, 8000, "ann"),
    ]


def test_reco2dur_spares_a_pipe_its_measurement(data_dir):
    segment(data_dir, "ann-1-x ann-1 0.1 0.35", "bob-1-y bob-1 0.1 0.45")
    (data_dir / "reco2dur").write_text("ann-1 1.0\nbob-1 0.5\n")
    wavs = (data_dir / "wav.scp").read_text().replace("cat ", f"touch {data_dir}/ran; cat ")
    (data_dir / "wav.scp").write_text(wavs)
    piped = list(load_cuts(data_dir))[1]
    assert piped.recording.num_samples == 8000 and not (data_dir / "ran").exists()
    item = locate(piped)
    assert len(read_audio(item.wav, item.start, item.num_samples)) == 5600 and (data_dir / "ran").exists()


def test_a_failing_pipe_names_its_utterance(data_dir):
    (data_dir / "utt2dur").unlink()
    (data_dir / "wav.scp").write_text(f"ann-1 {data_dir.parent}/a.wav\nbob-1 sph2pipe_is_not_here -f wav b.sph |\n")
    with pytest.raises(AudioError, match=r"sph2pipe_is_not_here .*cannot read audio of 'bob-1': .*exit status 127"):
        load_cuts(data_dir)
    assert not [path for path in data_dir.iterdir() if "cuts" in path.name]


def test_entries_of_wav_archives(data_dir):
    data = (data_dir.parent / "a.wav").read_bytes()
    (data_dir / "wav.ark").write_bytes(b"ann-1 " + data + b"bob-1 " + data)
    offset = 6 + len(data) + 6
    (data_dir / "wav.scp").write_text(f"ann-1 {data_dir}/wav.ark:6\nbob-1 {data_dir}/wav.ark:{offset}\n")
    (data_dir / "utt2dur").unlink()
    items = list(load_utterances(data_dir))
    assert [item.num_samples for item in items] == [16000, 16000]
    assert len(read_audio(items[1].wav, items[1].start, items[1].num_samples)) == 16000


def rewrite(manifest, change):
    with gzip.open(manifest, "rt") as file:
        rows = [json.loads(line) for line in file]
    change(rows)
    with gzip.open(manifest, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_manifest_of_others_runs_nothing_without_pipes(data_dir, monkeypatch):
    load_cuts(data_dir)
    command = f"touch {data_dir}/ran; cat {shlex.quote(str(data_dir.parent / 'a.wav'))}"

    def as_command(rows):
        rows[0]["recording"]["sources"][0].update(type="command", source=command)

    def as_file(rows):
        rows[1]["recording"]["sources"][0].update(type="file", source=command + " |")

    monkeypatch.setenv("SVTK_NO_PIPES", "1")
    for change, message in ((as_command, "not that of the Kaldi files"), (as_file, "'bob-1' cannot be used")):
        rewrite(data_dir / "cuts.jsonl.gz", change)
        with pytest.raises(DataError, match=message):
            load_cuts(data_dir)
    for item in map(locate, cuts.CutSet.from_file(data_dir / "cuts.jsonl.gz")):
        with pytest.raises(AudioError, match="input pipes are refused"):
            read_audio(item.wav, utt=item.utt)
    assert not (data_dir / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["recording"]["sources"][0].update(type="url", source="http://localhost/a.wav"),
        lambda row: row["recording"].update(sampling_rate=8000, num_samples=4000),
        lambda row: row["recording"].update(transforms=[{"name": "Speed", "kwargs": {"factor": 1.1}}]),
        lambda row: row["supervisions"].append({**row["supervisions"][0], "id": "other"}),
        lambda row: row.pop("recording"),
    ],
)
def test_a_manifest_that_svtk_cannot_follow(data_dir, change):
    load_cuts(data_dir)
    rewrite(data_dir / "cuts.jsonl.gz", lambda rows: change(rows[1]))
    with pytest.raises(DataError, match=r"cuts\.jsonl\.gz:2: cut 'bob-1' cannot be used; expected a MonoCut"):
        load_cuts(data_dir)


def test_a_directory_that_may_not_be_written_to(data_dir, monkeypatch):
    monkeypatch.setattr(cuts.os, "access", lambda path, mode: False)
    assert summary(load_cuts(data_dir)) == [("ann-1", 0, 1.0, 16000, "ann"), ("bob-1", 0, 0.5, 8000, "bob")]
    assert not (data_dir / "cuts.jsonl.gz").exists()

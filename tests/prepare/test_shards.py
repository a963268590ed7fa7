from __future__ import annotations

import json
import os
import shlex
import shutil
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from svtk.cli.main import svtk
from svtk.data.audio import read_audio
from svtk.data.cuts import load_utterances
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.prepare import shards
from svtk.prepare.shards import make_shards
from svtk.prepare.validate import validate_data


def heard(data_dir):
    return {i.utt: read_audio(i.wav, i.start, i.num_samples) for i in load_utterances(data_dir)}


def tars(shard_dir):
    return sorted((shard_dir / "shards").glob("*.tar"))


def names_in(shard):
    with tarfile.open(shard) as tar:
        return tar.getnames()


@pytest.fixture
def data_dir(tmp_path):
    """Four speakers' recordings: WAV, FLAC, Ogg, a pipe, 24 bits, and an entry of an archive."""
    rng, wav = np.random.default_rng(0), tmp_path / "wav"
    wav.mkdir()
    utterances = []

    def add(utt, name):
        utterances.append(Utterance(utt, utt[:1], name, utt, gender="m"))

    for utt, suffix, subtype in [
        *(("a-1", "wav", "PCM_16"), ("a-2", "flac", "PCM_16"), ("b-1", "ogg", "VORBIS"), ("b-2", "wav", "PCM_24")),
        *(("c-1", "wav", "PCM_16"), ("c-2", "flac", "PCM_16"), ("d-1", "wav", "FLOAT")),
    ]:
        soundfile.write(wav / f"{utt}.{suffix}", 0.1 * rng.standard_normal(8000 + len(utterances)), 16000, subtype)
        add(utt, str(wav / f"{utt}.{suffix}"))
    add("d-2", f"cat {shlex.quote(str(wav / 'a-1.wav'))} |")
    (tmp_path / "wavs.ark").write_bytes(b"d-3 " + (wav / "c-1.wav").read_bytes())
    add("d-3", f"{tmp_path}/wavs.ark:4")
    return write_data_dir(tmp_path / "data", utterances).path


def test_as_a_user_runs_it(data_dir, tmp_path):
    out = tmp_path / "shards"
    words = ["make-shards", "--utterances-per-shard", "4", str(data_dir), str(out)]
    done = CliRunner().invoke(svtk, words)
    assert done.exit_code == 0, done.output
    want, got = heard(data_dir), heard(out)
    assert list(want) == list(got) and all(np.array_equal(want[utt], got[utt]) for utt in want)
    assert read_data_dir(out).utt2spk == read_data_dir(data_dir).utt2spk
    assert not validate_data(out, check_audio=True).problems
    names = [names_in(path) for path in tars(out)]
    assert [len(shard) for shard in names] == [4, 4, 1]
    assert sorted(sum(names, [])) == sorted(
        ["a-1.wav", "a-2.flac", "b-1.ogg", "b-2.wav", "c-1.wav", "c-2.flac", "d-1.wav", "d-2.wav", "d-3.wav"]
    )
    assert sum(names, []) != sorted(sum(names, []))


def test_whole_recordings_are_stored_byte_for_byte(data_dir, tmp_path):
    make_shards(data_dir, tmp_path / "shards")
    with tarfile.open(tars(tmp_path / "shards")[0]) as tar:
        for name in ("a-2.flac", "b-1.ogg", "b-2.wav"):
            assert tar.extractfile(name).read() == (tmp_path / "wav" / name).read_bytes()


def test_segments_lose_nothing(data_dir, tmp_path):
    """Of 16-bit audio FLAC, of finer the samples themselves."""
    (data_dir / "segments").write_text("a-1-x a-1 0 0.25\na-1-y a-1 0.2 0.4\nd-1-z d-1 0.1 0.3\n")
    (data_dir / "utt2spk").write_text("a-1-x a\na-1-y a\nd-1-z d\n")
    (data_dir / "spk2utt").unlink()
    (data_dir / "spk2gender").unlink()
    make_shards(data_dir, tmp_path / "shards")
    want, got = heard(data_dir), heard(tmp_path / "shards")
    assert [len(want[utt]) for utt in want] == [4000, 3200, 3200]
    assert all(np.array_equal(want[utt], got[utt]) for utt in want)
    assert sorted(names_in(tars(tmp_path / "shards")[0])) == ["a-1-x.flac", "a-1-y.flac", "d-1-z.wav"]
    assert not (tmp_path / "shards" / "segments").exists()


def test_a_rerun_writes_what_is_missing(data_dir, tmp_path, monkeypatch, caplog):
    """Killed in the second shard; then the first is cut off."""
    out, stored = tmp_path / "shards", shards._stored

    def killed(item):
        if len(tars(out)):
            raise KeyboardInterrupt
        return stored(item)

    monkeypatch.setattr(shards, "_stored", killed)
    with pytest.raises(KeyboardInterrupt):
        make_shards(data_dir, out, per_shard=4)
    assert len(tars(out)) == 1 and not list(out.rglob("*.part")) and not (out / "wav.scp").exists()
    first = tars(out)[0].stat()
    monkeypatch.setattr(shards, "_stored", stored)
    make_shards(data_dir, out, per_shard=4)
    assert tars(out)[0].stat().st_mtime_ns == first.st_mtime_ns
    whole = [path.read_bytes() for path in tars(out)]
    tars(out)[0].write_bytes(whole[0][:-1000])
    with caplog.at_level("INFO"):
        make_shards(data_dir, out, per_shard=4)
    assert "shards: 1 to write, 2 are there" in caplog.text
    assert [path.read_bytes() for path in tars(out)] == whole


def test_shards_that_were_moved_are_found_again(data_dir, tmp_path, monkeypatch):
    make_shards(data_dir, tmp_path / "shards")
    (tmp_path / "shards").rename(tmp_path / "local")
    monkeypatch.setattr(shards, "_write_shard", None)
    make_shards(data_dir, tmp_path / "local")
    assert heard(tmp_path / "local").keys() == heard(data_dir).keys()


def test_what_says_nothing_of_audio_comes_along(data_dir, tmp_path):
    (data_dir / "vad.scp").write_text("a-1 vad.ark:4\n")
    make_shards(data_dir, tmp_path / "shards")
    for name in ("vad.scp", "spk2gender"):
        assert (tmp_path / "shards" / name).read_text() == (data_dir / name).read_text()


@pytest.mark.parametrize("change", [{"per_shard": 3}, {"seed": 1}, {"utterances": "other"}])
def test_other_shards_are_left_alone(data_dir, tmp_path, change):
    out = tmp_path / "shards"
    make_shards(data_dir, out, per_shard=4)
    if "utterances" in change:
        (tmp_path / "wav" / "a-1.wav").rename(tmp_path / "wav" / "other.wav")
        (data_dir / "wav.scp").write_text((data_dir / "wav.scp").read_text().replace("a-1.wav", "other.wav"))
        (data_dir / "cuts.jsonl.gz").unlink()
    with pytest.raises(DataError, match=f"the directory holds other shards; found a difference in {[*change][0]}"):
        make_shards(data_dir, out, **{"per_shard": 4, "seed": 0, **{k: v for k, v in change.items() if v != "other"}})
    with pytest.raises(DataError, match="a data directory that is not made of shards"):
        shutil.copytree(data_dir, tmp_path / "copy")
        make_shards(data_dir, tmp_path / "copy")
    with pytest.raises(DataError, match="need a directory of their own"):
        make_shards(data_dir, data_dir)


def test_no_room(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    with pytest.raises(DataError, match=r"not enough disk for the shards; found 0\.00 GiB free; expected about 0\.00"):
        make_shards(data_dir, tmp_path / "shards")


def test_a_full_disk(data_dir, tmp_path, monkeypatch):
    replace = os.replace

    def full(source, to):
        if str(to).endswith(".tar"):
            raise OSError(28, "No space left on device")
        replace(source, to)

    monkeypatch.setattr(shards.os, "replace", full)
    with pytest.raises(
        DataError, match=r"000000\.tar: cannot write: No space left on device.*finished shards are kept"
    ):
        make_shards(data_dir, tmp_path / "shards")
    assert not list((tmp_path / "shards").rglob("*.part"))


def test_a_pipe_whose_length_is_rounded_up(data_dir, tmp_path):
    """As in an utt2dur of Kaldi's, of six digits."""
    lines = [f"{utt} cat '{tmp_path}/wav/{utt}.flac' |\n" for utt in ("a-2", "c-2")]  # of 8001 and 8005 samples
    (data_dir / "wav.scp").write_text("".join(lines))
    (data_dir / "utt2spk").write_text("a-2 a\nc-2 c\n")
    (data_dir / "utt2dur").write_text("a-2 0.501\nc-2 0.501\n")
    (data_dir / "spk2utt").unlink()
    (data_dir / "spk2gender").unlink()
    make_shards(data_dir, tmp_path / "shards")
    assert {utt: len(wav) for utt, wav in heard(tmp_path / "shards").items()} == {"a-2": 8001, "c-2": 8005}
    with tarfile.open(tars(tmp_path / "shards")[0]) as tar:
        assert tar.extractfile("a-2.flac").read() == (tmp_path / "wav" / "a-2.flac").read_bytes()
    assert not validate_data(tmp_path / "shards", check_audio=True).problems


def test_audio_that_became_shorter(data_dir, tmp_path):
    load_utterances(data_dir)
    soundfile.write(tmp_path / "wav" / "a-1.wav", np.zeros(7000), 16000)
    with pytest.raises(AudioError, match="audio of 'a-1' is shorter than the data directory says; found 7000 samples"):
        make_shards(data_dir, tmp_path / "shards")


def test_the_note_of_whose_shards_they_are(data_dir, tmp_path):
    make_shards(data_dir, tmp_path / "shards", seed=3)
    assert json.loads((tmp_path / "shards" / "shards.json").read_text())["seed"] == 3
    (tmp_path / "shards" / "shards.json").write_text("{")
    with pytest.raises(DataError, match="shards.json: damaged"):
        make_shards(data_dir, tmp_path / "shards", seed=3)


def test_a_pipe_runs_its_command_once(data_dir, tmp_path):
    """Beside the one that told its length, when the manifest was made."""
    runs = tmp_path / "runs"
    lines = [f"p-{i} echo {i} >> {runs}; cat '{tmp_path}/wav/a-2.flac' |\n" for i in range(12)]
    (data_dir / "wav.scp").write_text("".join(sorted(lines)))
    (data_dir / "utt2spk").write_text("".join(sorted(f"p-{i} s{i % 2}\n" for i in range(12))))
    (data_dir / "spk2utt").unlink()
    (data_dir / "spk2gender").unlink()
    load_utterances(data_dir)
    runs.unlink()
    make_shards(data_dir, tmp_path / "shards")
    ran = runs.read_text().split()
    assert len(ran) >= 10 and len({*ran}) == len(ran)  # two may be at hand from before

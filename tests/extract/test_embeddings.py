"""extract-embeddings as a function: one vector per utterance, from a data directory or a wav.scp."""

from __future__ import annotations

import os
import shlex
import signal

import numpy as np
import pytest
import soundfile
import torch

from svtk.data.audio import read_audio, repeat_to
from svtk.data.cuts import load_utterances
from svtk.errors import AudioError, DataError, ModelError
from svtk.extract.embeddings import extract_embeddings
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.kaldi.tables import read_vectors
from svtk.models import embedding as module
from svtk.models.speaker_model import load_model


def expected(student_dir, data_dir, windows="cover", **options):
    model, rows = load_model(student_dir), {}
    for item in load_utterances(data_dir):
        wav = torch.from_numpy(repeat_to(read_audio(item.wav, item.start, item.num_samples), 8000))
        rows[item.utt] = getattr(model, f"embed_{windows}")([wav], **options)[0].numpy()
    return rows


def assert_rows(rspecifier, rows):
    keys, found = read_vectors(rspecifier)
    assert keys == list(rows)
    np.testing.assert_allclose(found, np.stack(list(rows.values())), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("windows", "options"), [("cover", {}), ("crops", {"num_crops": 3})])
def test_a_data_directory(student_dir, corpus, tmp_path, windows, options):
    output = f"ark,scp:{tmp_path}/e.ark,{tmp_path}/e.scp"
    assert extract_embeddings(student_dir, corpus.valid, output, windows=windows, **options) == 9
    rows = expected(student_dir, corpus.valid, windows, **options)
    assert_rows(f"scp:{tmp_path}/e.scp", rows)
    assert_rows(f"ark:{tmp_path}/e.ark", rows)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["e.ark", "e.scp"]


def test_segments(student_dir, corpus, tmp_path):
    wav = read_data_dir(corpus.valid).utterances[2].wav
    spans = [Utterance("a", "s", wav, "r", 0.1, 0.75), Utterance("b", "s", wav, "r", 0.5, 1.1)]
    write_data_dir(tmp_path / "data", spans)
    extract_embeddings(student_dir, str(tmp_path / "data"), f"ark,t:{tmp_path}/e.txt")
    samples = soundfile.read(wav, dtype="float32")[0]
    model = load_model(student_dir)
    rows = model.embed_cover([torch.from_numpy(samples[1600:12_000]), torch.from_numpy(samples[8000:17_600])])
    assert_rows(f"ark:{tmp_path}/e.txt", dict(zip("ab", rows.numpy(), strict=True)))


def test_a_wav_scp_of_files_and_pipes(student_dir, corpus, tmp_path):
    lines = []
    for index, u in enumerate(read_data_dir(corpus.valid).utterances):
        lines.append(f"{u.utt} cat {shlex.quote(u.wav)} |\n" if index % 2 else f"{u.utt} {u.wav}\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    extract_embeddings(student_dir, f"scp:{tmp_path}/wav.scp", f"ark:{tmp_path}/e.ark", batch_size=3)
    assert_rows(f"ark:{tmp_path}/e.ark", expected(student_dir, corpus.valid))


@pytest.mark.parametrize("batch_size", [1, 8])
def test_batch_size_changes_nothing(student_dir, corpus, tmp_path, batch_size):
    extract_embeddings(student_dir, corpus.train, f"ark:{tmp_path}/e.ark", batch_size=batch_size)
    assert_rows(f"ark:{tmp_path}/e.ark", expected(student_dir, corpus.train))


def test_killed_and_resumed(student_dir, corpus, tmp_path, killed, monkeypatch):
    output = f"ark,scp:{tmp_path}/e.ark,{tmp_path}/e.scp"
    read = read_audio

    def work():
        torch.set_num_threads(1)
        count = []

        def dying(*args):
            count.append(args)
            if len(count) == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(*args)

        module.read_audio = dying
        extract_embeddings(student_dir, corpus.valid, output, batch_size=1)

    killed(work)
    assert not (tmp_path / "e.ark").exists() and not (tmp_path / "e.scp").exists()
    (tmp_path / "e.ark.part").write_bytes((tmp_path / "e.ark.part").read_bytes()[:-3])
    reads = []
    monkeypatch.setattr(module, "read_audio", lambda *args: reads.append(args) or read(*args))
    extract_embeddings(student_dir, corpus.valid, output)
    assert len(reads) <= 9
    assert_rows(f"scp:{tmp_path}/e.scp", expected(student_dir, corpus.valid))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["e.ark", "e.scp"]


@pytest.mark.parametrize("change", ["options", "utterances"])
def test_what_another_run_left_is_not_kept(student_dir, corpus, tmp_path, change):
    utterances = read_data_dir(corpus.valid).utterances
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    scp = tmp_path / "wav.scp"
    scp.write_text("".join(f"{u.utt} {u.wav}\n" for u in utterances) + f"bad {tmp_path}/bad.wav\n")
    output = f"ark,scp:{tmp_path}/e.ark,{tmp_path}/e.scp"
    with pytest.raises(AudioError):
        extract_embeddings(student_dir, f"scp:{scp}", output, batch_size=2)
    assert (tmp_path / "e.ark.part").stat().st_size > 0 and not (tmp_path / "e.scp").exists()
    kept = utterances if change == "options" else utterances[4:]
    scp.write_text("".join(f"{u.utt} {u.wav}\n" for u in kept))
    windows = "crops" if change == "options" else "cover"
    extract_embeddings(student_dir, f"scp:{scp}", output, windows=windows)
    rows = expected(student_dir, corpus.valid, windows)
    assert_rows(f"scp:{tmp_path}/e.scp", {u.utt: rows[u.utt] for u in kept})


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("ark:/no/such.ark", DataError, "/no/such.ark: cannot open: No such file"),
        ("ark:printf '' |", DataError, "no utterances. To mend: give a data directory, scp:wav.scp or ark:wav.ark"),
        ("scp:/no/such.scp", DataError, "/no/such.scp: cannot open: No such file"),
        ("/no/such/dir", DataError, "/no/such/dir: not a Kaldi data directory; found no wav.scp"),
    ],
)
def test_what_is_no_audio(student_dir, tmp_path, source, error, message):
    with pytest.raises(error, match=message):
        extract_embeddings(student_dir, source, f"ark:{tmp_path}/e.ark")
    assert list(tmp_path.iterdir()) == []


def test_not_a_model(corpus, tmp_path):
    with pytest.raises(ModelError, match="not a model directory"):
        extract_embeddings(corpus.valid, corpus.valid, f"ark:{tmp_path}/e.ark")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["", ",p"])
def test_audio_that_cannot_be_read(student_dir, corpus, tmp_path, caplog, option):
    """Permissive: it is left out with a warning, whatever stands in its batch; else it is an error."""
    utterances = read_data_dir(corpus.valid).utterances
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    lines = [f"bad0 {tmp_path}/bad.wav\n", *(f"{u.utt} {u.wav}\n" for u in utterances), "bad1 cat /no/such |\n"]
    (tmp_path / "wav.scp").write_text("".join(lines))
    source, output = f"scp{option}:{tmp_path}/wav.scp", f"ark:{tmp_path}/e.ark"
    if not option:
        with pytest.raises(AudioError, match="bad.wav: cannot read audio of 'bad0'"):
            extract_embeddings(student_dir, source, output)
        return
    assert extract_embeddings(student_dir, source, output, batch_size=1) == 9
    assert_rows(output, expected(student_dir, corpus.valid))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [f"of 'bad{i}'" in warning for i, warning in enumerate(warnings)] == [True, True]


def test_whole_recordings_need_no_manifest(student_dir, corpus, tmp_path):
    """Nothing is written beside the data, and the rows are those by the manifest."""
    data = write_data_dir(tmp_path / "data", read_data_dir(corpus.valid).utterances).path
    extract_embeddings(student_dir, str(data), f"ark:{tmp_path}/e.ark")
    assert not (data / "cuts.jsonl.gz").exists()
    assert_rows(f"ark:{tmp_path}/e.ark", expected(student_dir, corpus.valid))

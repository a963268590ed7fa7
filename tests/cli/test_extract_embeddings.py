"""svtk extract-embeddings, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from svtk.extract.embeddings import extract_embeddings
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.kaldi.tables import TableWriter, read_table, read_vectors


@pytest.fixture(scope="module")
def expected(student_dir, corpus, tmp_path_factory):
    place = tmp_path_factory.mktemp("expected")
    extract_embeddings(student_dir, corpus.valid, f"ark:{place}/e.ark")
    return read_vectors(f"ark:{place}/e.ark")


def test_a_pipeline(student_dir, corpus, tmp_path, expected):
    """A wav.scp with a pipe comes in, text goes out on stdout, and nothing else does."""
    lines = [f"{u.utt} cat {u.wav} |" if i == 2 else f"{u.utt} {u.wav}" for i, u in enumerate(utterances(corpus))]
    (tmp_path / "wav.scp").write_text("\n".join(lines) + "\n")
    words = [sys.executable, "-m", "svtk", "extract-embeddings", student_dir, "scp:wav.scp", "ark,t:-"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == expected[0] and all(row[1] == "[" and row[-1] == "]" for row in rows)
    np.testing.assert_allclose([[float(x) for x in row[2:-1]] for row in rows], expected[1], rtol=0, atol=1e-5)
    assert "1 utterance(s) shorter than one window" not in done.stdout and "shorter than one window" in done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr


def utterances(corpus):
    return read_data_dir(corpus.valid).utterances


@pytest.mark.parametrize("wspecifier", ["ark,scp:e.ark,e.scp", "scp,ark:e.scp,e.ark", "ark:e.ark", "ark,t:e.ark"])
def test_a_data_directory(svtk_main, student_dir, corpus, tmp_path, expected, monkeypatch, wspecifier):
    monkeypatch.chdir(tmp_path)
    done = svtk_main("extract-embeddings", "--batch-size=2", student_dir, corpus.valid, wspecifier)
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    files = ["e.ark", "e.scp"] if "scp" in wspecifier else ["e.ark"]
    assert sorted(os.listdir()) == sorted([*files, *(f"{file}.provenance.json" for file in files)])
    for rspecifier in ["ark:e.ark"] + ["scp:e.scp"] * ("scp" in wspecifier):
        keys, rows = read_vectors(rspecifier)
        assert keys == expected[0]
        np.testing.assert_allclose(rows, expected[1], rtol=0, atol=1e-5)


def test_crops(svtk_main, student_dir, corpus, tmp_path, expected):
    out = f"ark:{tmp_path}/e.ark"
    assert (
        svtk_main("extract-embeddings", "--windows", "crops", "--num-crops", "3", student_dir, corpus.valid, out).code
        == 0
    )
    rows = read_vectors(out)[1]
    assert rows.shape == expected[1].shape and np.abs(rows - expected[1]).max() > 1e-3
    assert (np.linalg.norm(rows, axis=1) <= 1 + 1e-6).all()


def bad_audio(tmp_path, what):
    path = tmp_path / "bad.wav"
    if what == "unreadable":
        path.write_bytes(b"not audio at all")
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "no samples":
        soundfile.write(path, np.zeros(0), 16_000)
    elif what == "8 kHz":
        soundfile.write(path, np.zeros(8000), 8000)
    elif what == "stereo":
        soundfile.write(path, np.zeros((16_000, 2)), 16_000)
    return path


@pytest.mark.parametrize("what", ["unreadable", "empty", "no samples", "8 kHz", "stereo", "missing"])
@pytest.mark.parametrize("source", ["scp", "data"])
def test_bad_audio(svtk_main, student_dir, corpus, tmp_path, what, source):
    """Exit 1, one line with the file's name, and nothing under a final name."""
    bad, good = bad_audio(tmp_path, what), utterances(corpus)[0]
    if source == "scp":
        (tmp_path / "wav.scp").write_text(f"a {good.wav}\nbad {bad}\n")
        given = f"scp:{tmp_path}/wav.scp"
    else:
        given = tmp_path / "data"
        write_data_dir(given, [good, Utterance("bad", "bad", str(bad), "bad")])
    done = svtk_main("extract-embeddings", student_dir, given, f"ark,scp:{tmp_path}/e.ark,{tmp_path}/e.scp")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1 and "/bad.wav" in done.stderr
    assert not (tmp_path / "e.ark").exists() and not (tmp_path / "e.scp").exists()


def test_a_failing_pipe(svtk_main, student_dir, tmp_path):
    (tmp_path / "wav.scp").write_text("a cat /no/such/file |\n")
    done = svtk_main("extract-embeddings", student_dir, f"scp:{tmp_path}/wav.scp", "ark,t:-")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and "/no/such/file" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "source", "wspecifier", "code", "message"),
    [
        (
            "corpus",
            "corpus",
            "ark:e.ark",
            1,
            "not a model directory; found no config.yaml. To mend: give the output of",
        ),
        ("/no/such", "corpus", "ark:e.ark", 2, "Directory '/no/such' does not exist"),
        ("student", "/no/such", "ark:e.ark", 1, "/no/such: not a Kaldi data directory"),
        ("student", __file__, "ark:e.ark", 1, f"found a file. To mend: for a wav.scp write scp:{__file__}, for an"),
        ("student", "corpus", "e.ark", 1, "not a wspecifier; found 'e.ark'"),
        ("student", "corpus", "scp:e.scp", 1, "e.scp: cannot open: No such file"),
        ("student", "ark:e.ark", "ark:f.ark", 1, "e.ark: cannot open: No such file"),
        ("student", "ark:echo a [ 1.5 2.5 ] |", "ark:f.ark", 1, "entry 'a' at offset 2 is no such audio"),
    ],
)
def test_wrong_arguments(
    svtk_main, student_dir, corpus, tmp_path, monkeypatch, model, source, wspecifier, code, message
):
    monkeypatch.chdir(tmp_path)
    given = {"student": student_dir, "corpus": corpus.valid}
    done = svtk_main("extract-embeddings", given.get(model, model), given.get(source, source), wspecifier)
    assert (done.code, done.stdout) == (code, "") and message in done.stderr
    assert os.listdir() == []


@pytest.mark.parametrize("options", [("--batch-size", "0"), ("--num-crops", "0"), ("--windows", "all")])
def test_wrong_usage(svtk_main, student_dir, corpus, tmp_path, options):
    assert svtk_main("extract-embeddings", *options, student_dir, corpus.valid, f"ark:{tmp_path}/e.ark").code == 2
    assert list(tmp_path.iterdir()) == []


def test_vad(svtk_main, student_dir, corpus, tmp_path):
    """Of speech alone, an embedding is that of the audio without the rest."""
    [first, *_] = read_data_dir(corpus.valid).utterances
    data = write_data_dir(tmp_path / "data", [first]).path
    wav, _ = soundfile.read(first.wav, dtype="int16")
    speech = np.zeros(len(wav) // 160)
    speech[5:12] = speech[20:] = 1
    with TableWriter(f"ark,scp:{tmp_path}/vad.ark,{data}/vad.scp") as writer:
        writer.write(first.utt, speech)
    soundfile.write(tmp_path / "speech.wav", np.concatenate([wav[800:1920], wav[3200:]]), 16_000)
    (tmp_path / "wav.scp").write_text(f"{first.utt} {tmp_path}/speech.wav\n")
    assert svtk_main("extract-embeddings", "--vad", student_dir, data, f"ark:{tmp_path}/vad_e.ark").code == 0
    assert svtk_main("extract-embeddings", student_dir, f"scp:{tmp_path}/wav.scp", f"ark:{tmp_path}/e.ark").code == 0
    [(_, left)], [(_, right)] = (read_table(f"ark:{tmp_path}/{name}.ark") for name in ("vad_e", "e"))
    np.testing.assert_array_equal(left, right)
    refused = svtk_main("extract-embeddings", "--vad", student_dir, f"scp:{tmp_path}/wav.scp", "ark:-")
    assert refused.code == 2 and "--vad needs a data directory" in refused.stderr
    (data / "vad.scp").unlink()
    refused = svtk_main("extract-embeddings", "--vad", student_dir, data, "ark:-")
    assert refused.code == 1 and "vad.scp: no speech activity here" in refused.stderr


def test_precision(svtk_main, student_dir, corpus, tmp_path, expected):
    """bfloat16 gives nearly the same rows, and what it left unfinished is not taken up in float32."""
    out = f"ark:{tmp_path}/e.ark"
    assert svtk_main("extract-embeddings", "--precision", "bfloat16", student_dir, corpus.valid, out).code == 0
    rows = read_vectors(out)[1]
    assert 1e-6 < np.abs(rows - expected[1]).max() < 0.05 * np.abs(expected[1]).max()
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    lines = [*(f"{u.utt} {u.wav}" for u in utterances(corpus)), f"bad {tmp_path}/bad.wav"]
    (tmp_path / "wav.scp").write_text("\n".join(lines) + "\n")
    source, out = f"scp,p:{tmp_path}/wav.scp", f"ark:{tmp_path}/f.ark"
    assert svtk_main("extract-embeddings", "--precision=bfloat16", student_dir, source.replace(",p", ""), out).code == 1
    assert (tmp_path / "f.ark.part").stat().st_size > 0
    assert svtk_main("extract-embeddings", student_dir, source, out).code == 0
    np.testing.assert_allclose(read_vectors(out)[1], expected[1], rtol=0, atol=1e-5)

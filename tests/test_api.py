"""svtk.load: whatever audio comes in, the embedding is that of extract-embeddings."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import svtk
from svtk.data.resample import resample
from svtk.errors import AudioError, DataError


@pytest.fixture(scope="module")
def model(student_dir):
    return svtk.load(student_dir)


@pytest.fixture(scope="module")
def wav():
    return (0.1 * np.random.default_rng(5).standard_normal(20_000)).astype(np.float32)


def calibration(path, scores=1, quality=()):
    systems = [{"name": f"s{i}", "weight": 5.0} for i in range(scores)]
    fields = {"p_target": 0.5, "offset": -2.0, "scores": systems, "quality": list(quality), "trained_on": {}}
    path.write_text(json.dumps(fields))
    return path


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_import_is_light_and_loading_is_there():
    program = "import sys, svtk; print('torch' in sys.modules, 'load' in dir(svtk)); svtk.load; svtk.nothing"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False True\n" and done.stderr.strip().endswith("no attribute 'nothing'")


@pytest.mark.parametrize("num_samples", [3000, 20_000])
def test_embeddings_are_those_of_the_verb(model, student_dir, wav, tmp_path, num_samples):
    from svtk.extract.embeddings import extract_embeddings
    from svtk.kaldi.tables import read_vectors

    soundfile.write(tmp_path / "a.wav", wav[:num_samples], 16_000, subtype="FLOAT")
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    extract_embeddings(student_dir, f"scp:{tmp_path}/wav.scp", f"ark:{tmp_path}/e.ark")
    _, [expected] = read_vectors(f"ark:{tmp_path}/e.ark")
    found = model.embed(wav[:num_samples], 16_000)
    assert found.dtype == np.float32 and found.shape == (model.embedding_dim,) == (6,)
    close(found, expected)
    close(model.embed(tmp_path / "a.wav"), expected)
    close(model.embed(str(tmp_path / "a.wav")), expected)


def test_any_samples(model, wav):
    expected = model.embed(wav, 16_000)
    close(model.embed(torch.from_numpy(wav).double(), 16_000), expected)
    close(model.embed(torch.from_numpy(wav).requires_grad_(), 16_000), expected)
    for stereo in (np.stack([wav * 2, 0 * wav]), np.stack([wav * 2, 0 * wav], axis=1)):
        close(model.embed(stereo, 16_000), expected)
    short = np.round(wav * 32768).astype(np.int16)
    close(model.embed(short, 16_000), model.embed(short / 32768, 16_000))
    assert model.embed(torch.from_numpy(wav).bfloat16(), 16_000).shape == (6,)
    close(model.embed(wav, 8000), model.embed(resample(wav, 8000), 16_000))
    close(model.embed(wav, 44_100), model.embed(resample(wav, 44_100), 16_000))


def test_what_cannot_be_embedded(model, wav, tmp_path):
    for arguments, message in [
        ((wav,), "samples without a sampling rate"),
        ((wav, 0), "not a sampling rate"),
        ((wav[:0], 16_000), "these are no samples"),
        ((tmp_path / "absent.wav",), "absent.wav: cannot read audio; found no such file"),
        (("cat /etc/passwd |",), "no such file"),
        ((tmp_path / "a.wav", 16_000), "a file knows its own rate"),
    ]:
        with pytest.raises(AudioError, match=message):
            model.embed(*arguments)


def test_scores(model, wav, tmp_path):
    soundfile.write(tmp_path / "a.wav", wav, 16_000, subtype="FLOAT")
    a, b = np.float32([1, 0, 0, 0, 0, 0]), [3, 4, 0, 0, 0, 0]
    assert model.score(a, a) == 1 and model.score(a, -a) == -1
    assert model.score(torch.tensor(b), a) == pytest.approx(0.6)
    assert model.score(tmp_path / "a.wav", str(tmp_path / "a.wav")) == pytest.approx(1)
    assert model.score(model.embed(wav, 16_000), tmp_path / "a.wav") == pytest.approx(1)
    for bad, message in [([1, 2], r"found shape \(2,\); expected \(6,\)"), (0 * a, "without a direction")]:
        with pytest.raises(DataError, match=message):
            model.score(a, bad)


def test_calibrations(student_dir, tmp_path):
    with pytest.raises(DataError, match="no calibration"):
        svtk.load(student_dir).llr(0.5)
    assert svtk.load(student_dir, calibration=calibration(tmp_path / "c")).llr(0.5) == 0.5
    measure = {"name": "dur", "log": True, "low": [1.0], "high": [1.0]}
    for path in (calibration(tmp_path / "d", scores=2), calibration(tmp_path / "e", quality=[measure])):
        with pytest.raises(DataError, match="a calibration of more than one score"):
            svtk.load(student_dir, calibration=path)

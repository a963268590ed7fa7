"""svtk verify, as a user and as a pipe from a microphone run it."""

from __future__ import annotations

import io
import json
import math
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import svtk
from svtk.cli.main import svtk as cli
from svtk.errors import SvtkError


@pytest.fixture(scope="module")
def place(student_dir, tmp_path_factory):
    """A MODEL_DIR with a calibration, a.wav (stereo, 22 kHz) and b.flac (16 kHz)."""
    root = tmp_path_factory.mktemp("verify")
    shutil.copytree(student_dir, root / "model")
    fields = {"p_target": 0.5, "offset": -2.0, "scores": [{"name": "s", "weight": 4.0}], "quality": []}
    (root / "model" / "calibration.json").write_text(json.dumps({**fields, "trained_on": {}}))
    rng = np.random.default_rng(7)
    soundfile.write(root / "a.wav", 0.1 * rng.standard_normal((30_000, 2)), 22_050)
    soundfile.write(root / "b.flac", 0.1 * np.sin(np.arange(30_000) / 9) + 0.01 * rng.standard_normal(30_000), 16_000)
    return root


def verify(place, *options, test="b.flac", model="model", stdin=None):
    test = test if test == "-" else str(place / test)
    words = ["verify", *map(str, options), str(place / model), str(place / "a.wav"), test]
    return CliRunner().invoke(cli, words, input=stdin)


def result(*arguments, **options):
    done = verify(*arguments, "--json", **options)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_figures_are_those_of_the_python_api(place):
    model, found = svtk.load(place / "model"), result(place, "--p-target", 0.2, "--c-miss", 3)
    score = model.score(place / "a.wav", place / "b.flac")
    assert found["score"] == pytest.approx(score, abs=1e-6)
    assert found["llr"] == pytest.approx(4 * score - 2, abs=1e-5)
    assert found["threshold"] == pytest.approx(math.log(0.8 / (0.2 * 3)))
    odds = math.exp(found["llr"]) * 0.2 / 0.8
    assert found["posterior"] == pytest.approx(odds / (1 + odds))
    assert found["decision"] == ("same" if found["llr"] >= found["threshold"] else "different")
    assert found["audio_seconds"] == pytest.approx({"enroll": 30_000 / 22_050, "test": 1.875}, abs=1e-4)
    assert set(found["seconds"]) == {"load", "enroll", "test"} and min(found["seconds"].values()) > 0


def test_priors_move_the_decision_and_the_exit_code(place):
    low, high = verify(place, "--exit-code", "--p-target", 1e-9), verify(place, "--exit-code", "--p-target", 1 - 1e-9)
    assert (low.exit_code, high.exit_code) == (3, 0)
    assert "decision  different  prior 1e-09, costs 1 (miss), 1 (false alarm)" in low.stdout
    assert "decision  same " in high.stdout
    assert verify(place, "--p-target", 1e-9).exit_code == 0


def test_without_a_calibration(place, student_dir):
    plain = verify(place, model=student_dir)
    assert plain.exit_code == 0 and "decision  -" in plain.stdout and "llr" not in plain.stdout.splitlines()[1]
    found = result(place, "--threshold", 1.1, model=student_dir)
    assert (found["llr"], found["decision"], found["threshold"]) == (None, "different", 1.1)
    assert result(place, "--threshold", -1, model=student_dir)["decision"] == "same"
    assert verify(place, "--threshold", 1.1, "--exit-code", model=student_dir).exit_code == 3
    wrong = verify(place, "--exit-code", model=student_dir)
    assert wrong.exit_code == 2 and "--exit-code needs a decision" in wrong.stderr
    given = result(place, "--calibration", place / "model" / "calibration.json", model=student_dir)
    assert given["llr"] is not None


def test_a_pipe_refines_the_score_and_ends_at_the_files(place):
    whole = result(place)
    wav = io.BytesIO()
    soundfile.write(wav, *soundfile.read(place / "b.flac"), format="WAV")
    for data, options, times in [
        (wav.getvalue(), (), ["0.50 s", "0.98 s", "1.46 s"]),
        (raw(place / "b.flac"), ("--raw", 16_000), ["0.50 s", "0.98 s", "1.46 s"]),
        ((place / "b.flac").read_bytes(), (), ["1.46 s"]),  # decoded when it is whole
    ]:
        done = verify(place, "--json", *options, test="-", stdin=data)
        assert done.exit_code == 0, done.output
        found, lines = json.loads(done.stdout), done.stderr.splitlines()
        assert found["score"] == pytest.approx(whole["score"], abs=1e-4)
        assert [line.strip().split("  ")[0] for line in lines] == times
        assert all("score" in line and "llr" in line and line.split()[-1] in ("same", "different") for line in lines)


def raw(path):
    return soundfile.read(path, dtype="int16")[0].astype("<i2").tobytes()


def test_a_microphone_is_heard_while_it_speaks(place):
    """The first line comes before the pipe has ended; Ctrl-C ends it, and what was heard counts."""
    program = [sys.executable, "-m", "svtk", "verify", "--raw", "16000", place / "model", place / "a.wav", "-"]
    with subprocess.Popen(program, stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdin.write(raw(place / "b.flac")[:16_384])
        process.stdin.flush()
        line = process.stderr.readline()
        assert b"0.50 s  score" in line and process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        out = process.stdout.read()
    assert out.startswith(b"score") and b"and 0.51 s of audio" in out


def test_a_pipe_that_ends(place):
    done = verify(place, "--raw", 16_000, test="-", stdin=raw(place / "b.flac"))
    assert done.exit_code == 0 and done.stdout.startswith("score") and "and 1.88 s of audio" in done.stdout


def test_short_audio_is_said_to_be_short(place, caplog):
    soundfile.write(place / "short.wav", 0.1 * np.ones(800), 8000)
    with caplog.at_level("INFO"):
        assert result(place, test="short.wav")["audio_seconds"]["test"] == 0.1
    assert "short.wav: 0.10 s, repeated to fill the model's window of 0.50 s" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": "absent.wav"}, "absent.wav: cannot read audio; found no such file"),
        ({"model": "nothing here"}, "not a model directory; found no such directory"),
        ({"test": "-", "stdin": b""}, "empty audio"),
        ({"test": "model/config.yaml"}, "cannot read audio|neither libsndfile nor ffmpeg"),
    ],
)
def test_failures(place, options, message):
    done = verify(place, **options)
    assert isinstance(done.exception, SvtkError) and done.stdout == ""
    pytest.raises(SvtkError, raise_, done.exception).match(message)


def raise_(error):
    raise error


def test_wrong_usage(place):
    assert verify(place, "--raw", 16_000).exit_code == 2
    words = ["verify", str(place / "model"), "-", str(place / "a.wav")]
    assert "only the second recording" in CliRunner().invoke(cli, words).stderr

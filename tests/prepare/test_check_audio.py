"""Audio that is damaged, missing, or not as long as is written."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile

from data_dirs import found, put
from svtk.errors import DataError
from svtk.prepare.check_audio import measure


@pytest.mark.parametrize(
    ("write", "what", "found_there"),
    [
        (lambda wav: wav.unlink(), "audio that cannot be read", "no such file"),
        (lambda wav: wav.write_bytes(b"nonsense"), "audio that cannot be read", "not recog"),
        (lambda wav: soundfile.write(wav, np.zeros(3200), 8000), "not 16000 Hz mono", "8000 Hz, 1 channel"),
        (lambda wav: soundfile.write(wav, np.zeros((3200, 2)), 16000), "not 16000 Hz mono", "2 channel"),
        (lambda wav: soundfile.write(wav, np.zeros(0), 16000), "empty audio", "no samples"),
        (lambda wav: wav.write_bytes(wav.read_bytes()[:5000]), "truncated audio", "2478 samples of 3200 in its header"),
        (
            lambda wav: soundfile.write(wav, np.full(3200, np.nan), 16000, subtype="FLOAT"),
            "NaN or infinity in the audio",
            "not numbers",
        ),
    ],
)
def test_bad_audio(whole, write, what, found_there):
    write(whole.parent / "ann-1.wav")
    place = found(whole, check_audio=True, num_workers=1)["wav.scp", what][1]
    assert place.startswith(f"{whole}/wav.scp:1: 'ann-1' ({whole.parent}/ann-1.wav): ") and found_there in place
    assert found(whole) == {}


def test_truncated_flac(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(0).normal(size=16000) * 0.1, 16000)
    assert measure(str(tmp_path / "a.flac")).fault is None
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    assert measure(str(tmp_path / "a.flac")).fault[0] in ("truncated audio", "audio that cannot be read")


def test_lengths_against_the_audio(whole, with_manifest):
    soundfile.write(whole.parent / "ann-1.wav", np.full(4800, 0.1), 16_000)
    problems = found(whole, check_audio=True, num_workers=1)
    assert set(problems) == {(name, "not the duration of the audio") for name in ("utt2dur", "reco2dur")}
    assert problems["utt2dur", "not the duration of the audio"][1].endswith(
        "utt2dur:1: 'ann-1' has 0.2 s here, its audio 0.3 s"
    )
    soundfile.write(with_manifest.parent / "bob.wav", np.full(40_000, 0.1), 16_000)
    (with_manifest / "reco2dur").unlink()
    put("segments", 4, "bob-1 rec-bob 0.5 2.75")(with_manifest)
    os.utime(with_manifest / "segments", (1, 1))
    problems = found(with_manifest, check_audio=True, num_workers=1)
    assert "'rec-bob' has 3 s here, its audio 2.5 s" in problems["cuts.jsonl.gz", "not the duration of the audio"][1]
    place = problems["segments", "a segment that is not within its audio"][1]
    assert place.endswith("segments:5: 'bob-1' is 0.5 to 2.75 s of 'rec-bob', which has 2.5 s")


def test_a_killed_process_is_an_error(parts):
    put("wav.scp", 0, "rec-ann kill -9 $PPID |")(parts)
    with pytest.raises(DataError, match="a process that decoded audio was killed"):
        found(parts, check_audio=True, num_workers=2)


def test_pipes_are_run(parts, monkeypatch):
    put("wav.scp", 1, "rec-bob exit 3 |")(parts)
    place = found(parts, check_audio=True, num_workers=1)["wav.scp", "audio that cannot be read"][1]
    assert "'rec-bob' (exit 3 |): " in place and "exit status 3" in place
    put("wav.scp", 1, f"rec-bob touch {parts}/ran |")(parts)
    monkeypatch.setenv("SVTK_NO_PIPES", "1")
    assert (
        "pipes are refused" in found(parts, check_audio=True, num_workers=2)["wav.scp", "audio that cannot be read"][1]
    )
    assert not (parts / "ran").exists()

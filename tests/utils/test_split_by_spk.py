"""utils/split_by_spk.sh: two whole data directories with no speaker in common."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir

SCRIPT = Path(__file__).resolve().parents[2] / "utils/split_by_spk.sh"


@pytest.fixture(params=[False, True], ids=["whole recordings", "segments"])
def data(tmp_path, request):
    utterances = []
    for spk in range(7):
        for i in range(2):
            utt = f"s{spk}-{i}"
            place = {"recording": utt}
            if request.param:
                place = {"recording": f"r{spk}", "start": 2.0 * i, "end": 2.0 * i + 1.5}
            wav = f"/audio/{place['recording']}.wav"
            utterances.append(Utterance(utt, f"s{spk}", wav, duration=1.5, gender="mf"[spk % 2], **place))
    write_data_dir(tmp_path / "all", utterances)
    return tmp_path


def split(data, *options):
    words = [SCRIPT, *options, data / "all", data / "held", data / "rest"]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True)


@pytest.mark.parametrize("num_spks", [1, 3, 6])
def test_both_sides_are_whole_and_share_no_speaker(data, num_spks):
    done = split(data, "--num-spks", str(num_spks))
    assert done.returncode == 0, done.stderr
    whole, held, rest = (read_data_dir(data / name) for name in ("all", "held", "rest"))
    assert len(set(held.utt2spk.values())) == num_spks
    assert not set(held.utt2spk.values()) & set(rest.utt2spk.values())
    key = lambda u: u.utt  # noqa: E731
    assert sorted(held.utterances + rest.utterances, key=key) == sorted(whole.utterances, key=key)


def test_the_split_is_the_same_again(data):
    split(data, "--num-spks=3")
    first = (data / "held/utt2spk").read_text()
    split(data, "--num-spks=3")
    assert (data / "held/utt2spk").read_text() == first


@pytest.mark.parametrize("num_spks", ["0", "7", "x"])
def test_a_number_that_cannot_be(data, num_spks):
    done = split(data, "--num-spks", num_spks)
    assert done.returncode == 1
    assert f"cannot hold out {num_spks} speakers of 7" in done.stderr
    assert not (data / "held").exists()


def test_no_data_directory(tmp_path):
    done = split(tmp_path)
    assert done.returncode == 1
    assert "all/wav.scp is missing or empty" in done.stderr

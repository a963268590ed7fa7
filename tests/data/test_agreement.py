"""The look that takes no memory: yes only where all is right, and the longer look is spared then."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from svtk.data import cuts
from svtk.data.agreement import agree_in_order
from svtk.data.cuts import load_utterances
from svtk.kaldi.datadir import Utterance, write_data_dir


@pytest.fixture(params=["whole", "segments"])
def data_dir(tmp_path, request):
    utterances = []
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(16_000, 0.1), 16_000)
        spans = [("", 0.0, None)] if request.param == "whole" else [("-1", 0.1, 0.4), ("-2", 0.35, None)]
        for suffix, start, end in spans:
            seconds = (1.0 if end is None else end) - start
            wav = f"cat {tmp_path}/{name}.wav |" if name == "b" else f"{tmp_path}/{name}.wav"
            utterances.append(Utterance(f"{name}{suffix}", name, wav, name, start, end, seconds, "f"))
    path = write_data_dir(tmp_path / "data", utterances).path
    (path / "reco2dur").write_text("a 1.0\nb 1.0\nc 1.0\n")
    return path


def test_what_is_right(data_dir, monkeypatch):
    found = list(load_utterances(data_dir))
    monkeypatch.setattr(cuts, "read_data_dir", None)
    assert list(load_utterances(data_dir)) == found and len(found) in (3, 6)


def swapped(text):
    first, second, rest = text.split("\n", 2)
    return "\n".join([second, first, rest])


@pytest.mark.parametrize("name", ["utt2spk", "wav.scp", "spk2utt", "utt2dur", "segments", "reco2dur", "spk2gender"])
@pytest.mark.parametrize(
    "change",
    [
        swapped,
        lambda text: text + text.splitlines()[0] + "\n",  # stands twice
        lambda text: text + "malformed\n",
        lambda text: text.split("\n", 1)[1],  # lacks the first
        lambda text: text.replace("a.wav", "x.wav").replace(" a", " x").replace(" 1.0", " zero").replace(" 0.", " -0."),
    ],
)
def test_what_may_be_wrong_is_not_vouched_for(data_dir, name, change):
    if not (data_dir / name).exists():
        pytest.skip("whole recordings")
    utterances = load_utterances(data_dir)
    assert agree_in_order(data_dir, utterances)
    text = (data_dir / name).read_text()
    if change(text) == text:
        pytest.skip("nothing of the kind in this file")
    (data_dir / name).write_text(change(text))
    harmless = name in ("reco2dur", "spk2gender") and change(text) == text.split("\n", 1)[1]
    assert agree_in_order(data_dir, utterances) == harmless


@pytest.mark.parametrize("name", ["utt2spk", "wav.scp", "utt2dur"])
def test_not_text(data_dir, name):
    utterances = load_utterances(data_dir)
    (data_dir / name).write_bytes(b"\xff\xfe\n")
    assert not agree_in_order(data_dir, utterances)

"""A manifest that does not say what the Kaldi files say."""

from __future__ import annotations

import gzip
import json
import os
import re

import pytest

from data_dirs import found, one, reverse
from svtk.prepare.fix import fix_data
from svtk.prepare.validate import validate_data


def rewrite(data, edit):
    with gzip.open(data / "cuts.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    edit(rows)
    with gzip.open(data / "cuts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("edit", "what", "place"),
    [
        (lambda rows: rows.pop(1), "no line for an utterance of utt2spk", "'ann-1'"),
        (lambda rows: rows.append(rows[0]), "an utterance twice", ":7: 'ann-0'"),
        (lambda rows: rows[0].update(id="x"), "an utterance that utt2spk lacks", ":1: 'x'"),
        (lambda rows: rows[0].update(start=0.1), "another start or duration", ":1: 'ann-0': from 0.1 s"),
        (
            lambda rows: rows[0].update(duration=0.4),
            "another start or duration",
            "0.4 s long here, 0 and 0.5 s long in",
        ),
        (lambda rows: rows[0]["supervisions"][0].update(speaker="bob"), "another speaker", "'bob' here, 'ann' in"),
        (lambda rows: rows[0]["recording"].update(id="rec-bob"), "another recording", "'rec-bob' here, 'rec-ann' in"),
        (lambda rows: rows[0]["recording"]["sources"][0].update(source="/x"), "another audio file", "'/x' here"),
        (lambda rows: rows[5]["recording"]["sources"][0].update(type="file"), "another audio file", ":6: 'bob-2'"),
        (lambda rows: rows[0]["recording"].update(sampling_rate=8000), "not a cut that svtk can use", ":1: .*8000 Hz"),
        (lambda rows: rows[0].update(type="MixedCut"), "not a cut that svtk can use", "a MixedCut, not a MonoCut"),
        (lambda rows: rows[0].pop("recording"), "not a cut that svtk can use", "KeyError: 'recording'"),
        (lambda rows: rows.insert(2, [1]), "not a cut that svtk can use", ":3:"),
    ],
)
def test_a_manifest_that_says_otherwise(with_manifest, edit, what, place):
    assert found(with_manifest) == {}
    rewrite(with_manifest, edit)
    assert re.search(place, one(found(with_manifest), "cuts.jsonl.gz", what))
    fixed = fix_data(with_manifest)
    assert (fixed.written, fixed.removed) == ([], ["cuts.jsonl.gz"])
    assert found(with_manifest) == {} and (with_manifest / ".backup/cuts.jsonl.gz").exists()


def test_a_damaged_or_old_manifest(with_manifest):
    manifest = with_manifest / "cuts.jsonl.gz"
    data = manifest.read_bytes()
    for damaged in (
        b"nonsense",
        data[:-20],
        gzip.compress(b"{\n"),
        gzip.compress(b"\xff\n"),
        data[:200] + bytes(9) + data[209:],
    ):
        manifest.write_bytes(damaged)
        assert one(found(with_manifest), "cuts.jsonl.gz", "a damaged file")
    os.utime(manifest, (1, 1))
    assert found(with_manifest) == {} and "older" in validate_data(with_manifest).notes[0]
    assert fix_data(with_manifest).removed == ["cuts.jsonl.gz"]


def test_a_good_manifest_stays_when_nothing_is_fixed(with_manifest):
    assert fix_data(with_manifest).removed == [] and (with_manifest / "cuts.jsonl.gz").exists()
    reverse("segments")(with_manifest)
    assert fix_data(with_manifest).removed == ["cuts.jsonl.gz"]

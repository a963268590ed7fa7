"""validate-data and fix-data: a good directory, broken in each way that we know."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from svtk.errors import DataError
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.prepare import fix
from svtk.prepare.check_audio import measure
from svtk.prepare.fix import Unfixable, fix_data
from svtk.prepare.validate import validate_data

SPKS = ("ann", "bob", "cat")


def save(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def lines(path):
    return path.read_text().splitlines()


@pytest.fixture
def whole(tmp_path):
    """Six whole recordings of three speakers, and every file that Kaldi knows."""
    tmp_path = tmp_path / "whole"
    tmp_path.mkdir()
    utterances = []
    for number, utt in enumerate(f"{spk}-{i}" for spk in SPKS for i in (1, 2)):
        wav, num_samples = tmp_path / f"{utt}.wav", 1600 * (number + 2)
        soundfile.write(wav, np.full(num_samples, 0.1), 16_000)
        spk = utt[:3]
        utterances.append(Utterance(utt, spk, str(wav), utt, duration=num_samples / 16_000, gender="f"))
    data = write_data_dir(tmp_path / "data", utterances).path
    utts = [u.utt for u in utterances]
    per_utt = {"text": "HELLO", "feats.scp": "f.ark:5", "vad.scp": "v.ark:5", "utt2lang": "en", "utt2uniq": "x"}
    per_utt |= {"utt2warp": "1.1", "utt2num_frames": "20"}
    for name, value in per_utt.items():
        save(data / name, "".join(f"{utt} {value}\n" for utt in utts))
    save(data / "reco2dur", (data / "utt2dur").read_text())
    save(data / "reco2file_and_channel", "".join(f"{utt} {utt} A\n" for utt in utts))
    for name, value in {"cmvn.scp": "c.ark:5", "spk2warp": "0.9"}.items():
        save(data / name, "".join(f"{spk} {value}\n" for spk in SPKS))
    return data


@pytest.fixture
def parts(tmp_path):
    """Two recordings, one of them a pipe, and three segments of each."""
    tmp_path = tmp_path / "parts"
    tmp_path.mkdir()
    utterances = []
    for spk, seconds in (("ann", 2.0), ("bob", 3.0)):
        wav = tmp_path / f"{spk}.wav"
        soundfile.write(wav, np.full(round(16_000 * seconds), 0.1), 16_000)
        source = f"cat {shlex.quote(str(wav))} |" if spk == "bob" else str(wav)
        spans = ((0.0, 0.5), (0.5, 1.25), (1.25, None))
        utterances += [
            Utterance(f"{spk}-{i}", spk, source, f"rec-{spk}", start, end, (end or seconds) - start, "m")
            for i, (start, end) in enumerate(spans)
        ]
    data = write_data_dir(tmp_path / "data", utterances).path
    save(data / "reco2dur", "rec-ann 2.0\nrec-bob 3.0\n")
    return data


def found(data, **options):
    """What is wrong: {(file, what): (count, first place)}."""
    problems = validate_data(data, **options).problems
    assert all(problem.mend and len(problem.places) == min(problem.count, 5) for problem in problems)
    return {(p.file, p.what): (p.count, p.places[0]) for p in problems}


def contents(data):
    return {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}


def test_good_directories_are_valid(whole, parts):
    assert found(whole, check_audio=True, num_workers=1) == {}
    assert found(parts, check_audio=True, num_workers=1) == {}


def test_summary(whole, parts):
    assert validate_data(parts).summary() == f"{parts}: 6 utterances, 2 speakers, 0.00 hours: valid"
    for data, seconds in ((parts, 5.0), (whole, 2.7)):
        for _ in range(2):
            assert validate_data(data).hours == pytest.approx(seconds / 3600)
            (data / "reco2dur").unlink(missing_ok=True)
        (data / "utt2dur").unlink()
        assert validate_data(data).hours is None and "hours" not in validate_data(data).summary()
        assert validate_data(data, check_audio=True, num_workers=1).hours == pytest.approx(seconds / 3600)


def reverse(name):
    def apply(data):
        save(data / name, "".join(f"{line}\n" for line in reversed(lines(data / name))))

    return apply


def append(name, text):
    def apply(data):
        save(data / name, (data / name).read_bytes() + (text if isinstance(text, bytes) else text.encode()))

    return apply


def without(name, number):
    def apply(data):
        kept = lines(data / name)
        del kept[number]
        save(data / name, "".join(f"{line}\n" for line in kept))

    return apply


def put(name, number, text):
    def apply(data):
        changed = lines(data / name)
        changed[number] = text
        save(data / name, "".join(f"{line}\n" for line in changed))

    return apply


def change(name, old, new):
    def apply(data):
        text = (data / name).read_bytes()
        assert old in text
        save(data / name, text.replace(old, new))

    return apply


def remove(name):
    return lambda data: (data / name).unlink()


def bom(name):
    """A byte order mark at the beginning, as Windows' editors write it."""
    return lambda path: (path / name).write_bytes(b"\xef\xbb\xbf" + (path / name).read_bytes())


ORDER = "not sorted under LC_ALL=C"
#: what is done to which directory; the file and what is said of it; the place; utterances left after fix-data
FIXABLE = [
    ("whole", reverse("wav.scp"), "wav.scp", ORDER, r"wav\.scp:2: 'cat-1' stands after 'cat-2'", 6),
    ("whole", reverse("utt2spk"), "utt2spk", ORDER, r"utt2spk:2:", 6),
    ("whole", reverse("spk2utt"), "spk2utt", ORDER, r"spk2utt:2:", 6),
    ("whole", reverse("text"), "text", ORDER, r"text:2:", 6),
    ("parts", reverse("segments"), "segments", ORDER, r"segments:2:", 6),
    ("whole", append("utt2spk", "cat-2 cat\n"), "utt2spk", "a line twice", r"utt2spk:7: as line 6: 'cat-2'", 6),
    ("whole", append("wav.scp", "\n"), "wav.scp", "blank line", r"wav\.scp:7:", 6),
    ("whole", change("text", b"O\nann-2", b"O\r\nann-2"), "text", "carriage return at the end of the line", "t:1:", 6),
    ("whole", bom("utt2spk"), "utt2spk", "byte order mark at the beginning of the file", "utt2spk:1:", 6),
    (
        "whole",
        change("utt2lang", b"cat-2 en\n", b"cat-2 en"),
        "utt2lang",
        "no newline at the end of the file",
        ":6:",
        6,
    ),
    ("whole", without("wav.scp", 2), "wav.scp", "lacks recordings of utt2spk", r"wav\.scp: 'bob-1'", 5),
    ("whole", without("utt2spk", 2), "wav.scp", "has recordings that utt2spk lacks", r"wav\.scp:3: 'bob-1'", 5),
    ("whole", without("text", 0), "text", "lacks utterances of utt2spk", "'ann-1'", 5),
    ("whole", without("feats.scp", 0), "feats.scp", "lacks utterances of utt2spk", "'ann-1'", 5),
    ("whole", without("vad.scp", 0), "vad.scp", "lacks utterances of utt2spk", "'ann-1'", 5),
    ("whole", without("utt2lang", 0), "utt2lang", "lacks utterances of utt2spk", "'ann-1'", 5),
    ("whole", without("utt2uniq", 0), "utt2uniq", "lacks utterances of utt2spk", "'ann-1'", 5),
    ("whole", without("utt2warp", 0), "utt2warp", "lacks utterances of utt2spk", "'ann-1'", 5),
    ("whole", append("text", "dan-1 HI\n"), "text", "has utterances that utt2spk lacks", "text:7: 'dan-1'", 6),
    ("whole", without("spk2gender", 1), "spk2gender", "lacks speakers of utt2spk", "'bob'", 4),
    ("whole", without("cmvn.scp", 1), "cmvn.scp", "lacks speakers of utt2spk", "'bob'", 4),
    ("whole", without("spk2warp", 1), "spk2warp", "lacks speakers of utt2spk", "'bob'", 4),
    (
        "whole",
        append("spk2gender", "dan m\n"),
        "spk2gender",
        "has speakers that utt2spk lacks",
        "spk2gender:4: 'dan'",
        6,
    ),
    ("whole", without("reco2file_and_channel", 5), "reco2file_and_channel", "lacks recordings of utt2spk", "cat-2", 5),
    ("whole", remove("spk2utt"), "spk2utt", "no such file", "spk2utt:", 6),
    ("whole", without("spk2utt", 0), "spk2utt", "does not match utt2spk", "'ann' is missing", 6),
    (
        "whole",
        put("spk2utt", 0, "ann ann-1"),
        "spk2utt",
        "does not match utt2spk",
        r"utt:1: 'ann' differs, as to 'ann-2'",
        6,
    ),
    (
        "whole",
        put("spk2utt", 0, "ann ann-2 ann-1"),
        "spk2utt",
        "does not match utt2spk",
        "in the order of utterances",
        6,
    ),
    (
        "whole",
        put("spk2utt", 0, "ann"),
        "spk2utt",
        "malformed line",
        r"utt:1: found 'ann'; expected 'SPK UTT\.\.\.'",
        6,
    ),
    ("whole", append("spk2utt", "cat cat-1\n"), "spk2utt", "an id with two values", "spk2utt:4:", 6),
    ("whole", without("utt2dur", 0), "utt2dur", "lacks utterances of utt2spk", "'ann-1'", 6),
    ("whole", put("utt2dur", 0, "ann-1 nan"), "utt2dur", "malformed line", "utt2dur:1: found 'ann-1 nan'", 6),
    ("whole", put("utt2dur", 0, "ann-1 0"), "utt2dur", "malformed line", "utt2dur:1:", 6),
    (
        "whole",
        put("utt2dur", 0, "ann-1 1.5"),
        "utt2dur",
        "another duration",
        "utt2dur:1: 'ann-1' has 1.5 s, by reco2dur 0.2",
        6,
    ),
    (
        "parts",
        put("utt2dur", 1, "ann-1 1.5"),
        "utt2dur",
        "another duration",
        "'ann-1' has 1.5 s, by segments 0.75 s",
        6,
    ),
    ("whole", put("utt2num_frames", 0, "ann-1 2.5"), "utt2num_frames", "malformed line", "frames:1:", 6),
    ("whole", put("reco2dur", 0, "ann-1 -1"), "reco2dur", "malformed line", "reco2dur:1:", 6),
    ("parts", without("reco2dur", 0), "reco2dur", "lacks recordings of segments", "'rec-ann'", 6),
    ("parts", append("wav.scp", "rec-cat c.wav\n"), "wav.scp", "has recordings that segments lacks", "wav.scp:3:", 6),
    ("parts", without("wav.scp", 0), "wav.scp", "lacks recordings of segments", "'rec-ann'", 3),
    ("parts", without("segments", 1), "segments", "lacks utterances of utt2spk", "'ann-1'", 5),
    ("parts", without("utt2spk", 1), "segments", "has utterances that utt2spk lacks", "segments:2: 'ann-1'", 5),
]
#: the same for what fix-data leaves to the owner
UNFIXABLE = [
    ("whole", remove("utt2spk"), "utt2spk", "no such file", "utt2spk:"),
    ("whole", lambda data: save(data / "utt2spk", ""), "utt2spk", "no utterances", "utt2spk:"),
    ("whole", remove("wav.scp"), "wav.scp", "no such file", "wav.scp:"),
    ("whole", put("utt2spk", 1, "ann-2"), "utt2spk", "malformed line", "utt2spk:2: found 'ann-2'; expected 'UTT SPK'"),
    ("whole", put("utt2spk", 1, "ann-2 ann x"), "utt2spk", "malformed line", "utt2spk:2:"),
    ("whole", put("wav.scp", 1, "ann-2"), "wav.scp", "malformed line", r"wav.scp:2:"),
    ("whole", put("wav.scp", 1, "ann-2 ~/a.wav"), "wav.scp", "malformed line", r"wav.scp:2: found 'ann-2 ~/a.wav'"),
    (
        "whole",
        append("utt2spk", "cat-2 bob\n"),
        "utt2spk",
        "an id with two values",
        "'cat-2' is 'bob' here, 'cat' in line 6",
    ),
    ("whole", append("wav.scp", "cat-2 other.wav\n"), "wav.scp", "an id with two values", r"wav.scp:7:"),
    ("whole", put("text", 0, "ann-1 <s> HELLO"), "text", "malformed line", "text:1:"),
    ("whole", put("spk2gender", 0, "ann female"), "spk2gender", "malformed line", "spk2gender:1:"),
    ("whole", put("spk2warp", 0, "ann 1.5"), "spk2warp", "malformed line", "spk2warp:1:"),
    ("whole", put("reco2file_and_channel", 0, "ann-1 x C"), "reco2file_and_channel", "malformed line", "channel:1:"),
    ("whole", change("text", b"HELLO\nann-2", b"\xff\nann-2"), "text", "not UTF-8 text", "text:1:"),
    (
        "whole",
        put("utt2lang", 0, "ann\u00a0-1 en"),
        "utt2lang",
        "an id with a white space or control character that",
        ":1:",
    ),
    (
        "whole",
        put("utt2spk", 0, "ann-1 dan"),
        "utt2spk",
        "sorted by utterance it is not sorted by speaker",
        "'ann-2' of 'ann'",
    ),
    ("parts", put("segments", 0, "ann-0 rec-ann 0.5 0.5"), "segments", "malformed line", "segments:1:"),
    ("parts", put("segments", 0, "ann-0 rec-ann -1 0.5"), "segments", "malformed line", "segments:1:"),
    ("parts", put("segments", 0, "ann-0 rec-ann 0 0.5 1"), "segments", "malformed line", "segments:1:"),
    ("parts", put("segments", 0, "ann-0 rec-ann 0 inf"), "segments", "malformed line", "segments:1:"),
    (
        "parts",
        put("segments", 0, "ann-0 rec-ann 0 2.1"),
        "segments",
        "a segment that is not within its recording",
        "ments:1:",
    ),
    (
        "parts",
        put("segments", 2, "ann-2 rec-ann 2 -1"),
        "segments",
        "a segment that is not within its recording",
        "ments:3:",
    ),
]


def one(problems, file, what):
    [place] = [place for key, (_, place) in problems.items() if key[0] == file and key[1].startswith(what)]
    return place


@pytest.mark.parametrize(("which", "damage", "file", "what", "place", "left"), FIXABLE)
def test_what_is_found_and_fixed(request, which, damage, file, what, place, left):
    data = request.getfixturevalue(which)
    damage(data)
    before = contents(data)
    assert re.search(place, one(found(data), file, what))
    fixed = fix_data(data)
    assert found(data) == {} and fixed.utts[0] == left
    assert len(read_data_dir(data).utterances) == left
    after = contents(data)
    backup = contents(data / ".backup")
    replaced = {name: text for name, text in before.items() if after.get(name) != text}
    assert backup == replaced and set(fixed.written + fixed.removed) - {"spk2utt"} == set(replaced) - {"spk2utt"}
    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == [".backup"]
    assert fix_data(data).written == [] and contents(data) == after and contents(data / ".backup") == backup


@pytest.mark.parametrize(("which", "damage", "file", "what", "place"), UNFIXABLE)
def test_what_is_found_and_cannot_be_fixed(request, which, damage, file, what, place):
    data = request.getfixturevalue(which)
    damage(data)
    reverse("spk2utt")(data)  # it could be mended, but is not alone
    before = contents(data)
    assert re.search(place, one(found(data), file, what))
    with pytest.raises(Unfixable, match="nothing changed") as raised:
        fix_data(data)
    assert [p for p in raised.value.problems if p.file == file and p.what.startswith(what)]
    assert not [p for p in raised.value.problems if p.is_fixable]
    assert contents(data) == before and not (data / ".backup").exists()


def test_everything_at_once_is_reported_at_once(whole):
    for damage in (
        reverse("wav.scp"),
        without("text", 0),
        put("spk2gender", 0, "ann female"),
        append("utt2spk", "x y z"),
    ):
        damage(whole)
    files = {file for file, _ in found(whole)}
    assert {"wav.scp", "text", "spk2gender", "utt2spk"} <= files


def test_long_differences_are_cut(whole):
    save(whole / "text", "")
    [problem] = validate_data(whole).problems
    assert problem.block().splitlines() == [
        "text: lacks utterances of utt2spk (6)",
        *(f"  {whole}/text: '{utt}'" for utt in ("ann-1", "ann-2", "bob-1", "bob-2", "cat-1")),
        "  ... and 1 more",
        f"  To mend: add it, or drop it from all files by svtk fix-data {whole}",
    ]
    with pytest.raises(DataError, match=r"no utterance is in all files; nothing changed; found lines: .*text 0"):
        fix_data(whole)


def test_the_order_of_speakers_may_be_any(whole):
    """Kaldi's reason: 's1' and 's1-x' are prefixes of their utterances' ids, and yet not in their order."""
    utts = ["s1-a", "s1-x-b", "s1-z"]
    write_data_dir(whole, [Utterance(u, "s1-x" if "x" in u else "s1", f"/{u}.wav", u) for u in utts])
    for path in whole.iterdir():
        if path.name not in ("utt2spk", "spk2utt", "wav.scp"):
            path.unlink()
    place = one(found(whole), "utt2spk", "sorted by utterance it is not")
    assert place == f"{whole}/utt2spk: 's1-z' of 's1' comes after 's1-x-b' of 's1-x'"
    assert found(whole, spk_sort=False) == {}
    with pytest.raises(Unfixable):
        fix_data(whole)
    assert fix_data(whole, spk_sort=False).written == []


def test_a_directory_without_audio(whole):
    for name in ("wav.scp", "reco2dur", "reco2file_and_channel"):
        (whole / name).unlink()
    assert found(whole, wav=False) == {} and fix_data(whole, wav=False).written == []
    assert list(found(whole)) == [("wav.scp", "no such file")]


def test_one_speaker_is_noted(whole):
    save(whole / "utt2spk", "".join(f"{line.split()[0]} ann\n" for line in lines(whole / "utt2spk")))
    assert validate_data(whole).notes == [f"{whole} has only one speaker: nothing can be trained on it"]


def test_no_such_directory(tmp_path):
    for verb in (validate_data, fix_data):
        with pytest.raises(DataError, match="no such directory"):
            verb(tmp_path / "none")


DAMAGES = st.lists(
    st.sampled_from([row[1] for row in FIXABLE if row[0] == "whole" and row[1] is not None]), min_size=2, max_size=5
)


@settings(max_examples=25, deadline=None)
@given(DAMAGES)
def test_several_damages_are_fixed_or_nothing_is_touched(tmp_path_factory, damages):
    data = write_data_dir(
        tmp_path_factory.mktemp("d"),
        [Utterance(f"{s}-{i}", s, f"/{s}{i}.wav", f"{s}-{i}", duration=1, gender="m") for s in SPKS for i in (1, 2)],
    ).path
    for damage in damages:
        try:
            damage(data)
        except (OSError, IndexError, AssertionError):  # of a file that is not there, or is too short by now
            continue
    before = contents(data)
    try:
        fixed = fix_data(data)
    except DataError:
        assert contents(data) == before
    else:
        assert found(data) == {} and 0 < fixed.utts[0] <= 6


@pytest.mark.parametrize("stop", [1, 3, 11])
def test_a_killed_fix_is_finished_by_the_next(whole, monkeypatch, stop):
    reverse("wav.scp")(whole)
    without("text", 0)(whole)
    without("utt2dur", 5)(whole)
    before = contents(whole)
    replace, count = os.replace, [0]

    def failing(source, target):
        count[0] += os.path.dirname(source).endswith("/.fix.part")
        if count[0] == stop:
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(fix.os, "replace", failing)
    with pytest.raises(DataError, match="cannot write: No space left"):
        fix_data(whole)
    monkeypatch.undo()
    assert contents(whole) != before and (whole / ".fix.part").is_dir()
    assert fix_data(whole).utts[0] == 5
    assert found(whole) == {} and not (whole / ".fix.part").exists()
    after = contents(whole)
    assert {name: text for name, text in before.items() if text != after.get(name)} == contents(whole / ".backup")


# --- the manifest


@pytest.fixture
def with_manifest(parts):
    from svtk.data.cuts import write_cuts

    write_cuts(parts)
    return parts


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


# --- trials


@pytest.mark.parametrize("voxceleb", [False, True])
@pytest.mark.parametrize(
    ("trial", "what", "place"),
    [
        (("ann-1", "bob-1", True), "a label that contradicts utt2spk", ":3: ann-1 bob-1 is target, .* 'ann' and 'bob'"),
        (("ann-1", "ann-2", False), "a trial twice, with both labels", ":3: as line 1: ann-1 ann-2"),
        (("ann-1", "ann-2", True), "a trial twice", ":3: as line 1"),
        (("ann-2", "ann-1", False), "a label that contradicts utt2spk", "is nontarget, the speakers are the same"),
        (("ann-1", "ann-1", True), "an utterance against itself", ":3: ann-1"),
        (("ann-1", "dan-1", False), "an utterance that utt2spk lacks", ":3: 'dan-1'"),
        (("dan-1", "ann-1", False), "an utterance that utt2spk lacks", ":3: 'dan-1'"),
        (("ann-1", "bob", False), "an utterance that utt2spk lacks", ":3: 'bob'"),
        (("bob-1", "cat-1", None), "malformed trial", ":3: found "),
        (("ann", "cat-1", True), "a label that contradicts utt2spk", "'ann' and 'cat'"),
        (("ann", "cat-1", False), None, None),
    ],
)
def test_trials(whole, tmp_path, voxceleb, trial, what, place):
    def line(enroll, test, label):
        if voxceleb:
            return f"{'x' if label is None else int(label)} {enroll} {test}\n"
        return f"{enroll} {test} {'x' if label is None else 'target' if label else 'nontarget'}\n"

    rows = [("ann-1", "ann-2", True), ("ann-1", "bob-2", False), trial]
    save(tmp_path / "trials", "".join(line(*row) for row in rows))
    problems = found(whole, trials=[tmp_path / "trials"])
    if what is None:
        assert problems == {}
    else:
        assert re.search(place, problems[str(tmp_path / "trials"), what][1])


def test_unlabelled_and_several_trial_lists(whole, tmp_path):
    save(tmp_path / "a", "ann-1 bob-1\n")
    save(tmp_path / "b", "ann-1 dan-1\n")
    assert list(found(whole, trials=[tmp_path / "a", tmp_path / "b"])) == [
        (str(tmp_path / "b"), "an utterance that utt2spk lacks")
    ]
    save(tmp_path / "a", "")
    with pytest.raises(DataError, match="empty"):
        validate_data(whole, trials=[tmp_path / "a"])


# --- audio


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


# --- the verbs, as a user runs them


def test_verbs(parts, svtk_main, tmp_path):
    done = svtk_main("validate-data", "--check-audio", "--num-workers", "1", parts)
    assert (done.code, done.stdout) == (0, f"{parts}: 6 utterances, 2 speakers, 0.00 hours: valid\n")
    reverse("utt2spk")(parts)
    put("wav.scp", 0, "rec-ann none.wav")(parts)
    save(tmp_path / "trials", "ann-0 dan-1\n")
    done = svtk_main(
        "validate-data", "--check-audio", "--num-workers=1", "--no-spk-sort", "--trials", tmp_path / "trials", parts
    )
    assert (done.code, done.stdout) == (1, "")
    *blocks, error = done.stderr.splitlines()
    for what in ("utt2spk: not sorted", "wav.scp: audio that cannot be read (1)", "trials: an utterance that"):
        assert any(what in line for line in blocks)
    assert error.startswith(f"Error: {parts}: not valid: 7 problem(s) of 3 kind(s), told above. To mend: svtk fix-data")
    done = svtk_main("fix-data", parts)
    kept = f"{parts}: kept 6 of 6 utterances, 2 of 2 speakers; the old files are in {parts}/.backup\n"
    assert (done.code, done.stdout) == (0, kept)
    assert svtk_main("fix-data", parts).stdout.endswith(": nothing to mend\n")
    append("utt2spk", "bob-2 ann\n")(parts)
    done = svtk_main("fix-data", parts)
    assert done.code == 1 and "utt2spk:7: 'bob-2' is 'ann' here, 'bob' in line 6" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"Error: {parts}: cannot be mended: 1 problem(s) of 1 kind(s)")
    assert svtk_main("validate-data", parts / "none").code == 2

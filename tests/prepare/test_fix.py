"""What is wrong with a data directory is found, and mended or left alone as a whole."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_dirs import SPKS, append, bom, change, contents, found, one, put, remove, reverse, save, without
from svtk.errors import DataError
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.prepare import fix
from svtk.prepare.fix import Unfixable, fix_data

ORDER = "not sorted under LC_ALL=C"
LINE = "malformed line"
LACKS_UTTS, LACKS_SPKS = "lacks utterances of utt2spk", "lacks speakers of utt2spk"
SPK2UTT = "does not match utt2spk"
PER_UTT = ("text", "feats.scp", "vad.scp", "utt2lang", "utt2uniq", "utt2warp")
#: what is done to which directory; the file and what is said of it; the place; utterances left after fix-data
FIXABLE = [
    *(("whole", reverse(name), name, ORDER, f"{name}:2:", 6) for name in ("utt2spk", "spk2utt", "text")),
    ("whole", reverse("wav.scp"), "wav.scp", ORDER, r"wav\.scp:2: 'cat-1' stands after 'cat-2'", 6),
    ("parts", reverse("segments"), "segments", ORDER, "segments:2:", 6),
    ("whole", append("utt2spk", "cat-2 cat\n"), "utt2spk", "a line twice", "utt2spk:7: as line 6: 'cat-2'", 6),
    ("whole", append("wav.scp", "\n"), "wav.scp", "blank line", r"wav\.scp:7:", 6),
    ("whole", change("text", b"O\nann-2", b"O\r\nann-2"), "text", "carriage return at the end of the line", "t:1:", 6),
    ("whole", bom("utt2spk"), "utt2spk", "byte order mark at the beginning of the file", "utt2spk:1:", 6),
    ("whole", change("utt2lang", b"cat-2 en\n", b"cat-2 en"), "utt2lang", "no newline at the end of the", ":6:", 6),
    ("whole", without("wav.scp", 2), "wav.scp", "lacks recordings of utt2spk", r"wav\.scp: 'bob-1'", 5),
    ("whole", without("utt2spk", 2), "wav.scp", "has recordings that utt2spk lacks", r"wav\.scp:3: 'bob-1'", 5),
    *(("whole", without(name, 0), name, LACKS_UTTS, "'ann-1'", 5) for name in PER_UTT),
    ("whole", without("utt2dur", 0), "utt2dur", LACKS_UTTS, "'ann-1'", 6),
    ("whole", append("text", "dan-1 HI\n"), "text", "has utterances that utt2spk lacks", "text:7: 'dan-1'", 6),
    *(("whole", without(name, 1), name, LACKS_SPKS, "'bob'", 4) for name in ("spk2gender", "cmvn.scp", "spk2warp")),
    ("whole", append("spk2gender", "dan m\n"), "spk2gender", "has speakers that utt2spk lacks", "gender:4: 'dan'", 6),
    ("whole", without("reco2file_and_channel", 5), "reco2file_and_channel", "lacks recordings of utt2spk", "cat-2", 5),
    ("whole", remove("spk2utt"), "spk2utt", "no such file", "spk2utt:", 6),
    ("whole", without("spk2utt", 0), "spk2utt", SPK2UTT, "'ann' is missing", 6),
    ("whole", put("spk2utt", 0, "ann ann-1"), "spk2utt", SPK2UTT, "utt:1: 'ann' differs, as to 'ann-2'", 6),
    ("whole", put("spk2utt", 0, "ann ann-2 ann-1"), "spk2utt", SPK2UTT, "in the order of utterances", 6),
    ("whole", put("spk2utt", 0, "ann"), "spk2utt", LINE, r"utt:1: found 'ann'; expected 'SPK UTT\.\.\.'", 6),
    ("whole", append("spk2utt", "cat cat-1\n"), "spk2utt", "an id with two values", "spk2utt:4:", 6),
    ("whole", put("utt2dur", 0, "ann-1 nan"), "utt2dur", LINE, "utt2dur:1: found 'ann-1 nan'", 6),
    ("whole", put("utt2dur", 0, "ann-1 0"), "utt2dur", LINE, "utt2dur:1:", 6),
    (
        "whole",
        put("utt2dur", 0, "ann-1 1.5"),
        "utt2dur",
        "another duration",
        ":1: 'ann-1' has 1.5 s, by reco2dur 0.2",
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
    ("whole", put("utt2num_frames", 0, "ann-1 2.5"), "utt2num_frames", LINE, "frames:1:", 6),
    ("whole", put("reco2dur", 0, "ann-1 -1"), "reco2dur", LINE, "reco2dur:1:", 6),
    ("parts", without("reco2dur", 0), "reco2dur", "lacks recordings of segments", "'rec-ann'", 6),
    ("parts", append("wav.scp", "rec-cat c.wav\n"), "wav.scp", "has recordings that segments lacks", "wav.scp:3:", 6),
    ("parts", without("wav.scp", 0), "wav.scp", "lacks recordings of segments", "'rec-ann'", 3),
    ("parts", without("segments", 1), "segments", LACKS_UTTS, "'ann-1'", 5),
    ("parts", without("utt2spk", 1), "segments", "has utterances that utt2spk lacks", "segments:2: 'ann-1'", 5),
]
OUTSIDE = "a segment that is not within its recording"
#: the same for what fix-data leaves to the owner
UNFIXABLE = [
    ("whole", remove("utt2spk"), "utt2spk", "no such file", "utt2spk:"),
    ("whole", lambda data: save(data / "utt2spk", ""), "utt2spk", "no utterances", "utt2spk:"),
    ("whole", remove("wav.scp"), "wav.scp", "no such file", "wav.scp:"),
    ("whole", put("utt2spk", 1, "ann-2"), "utt2spk", LINE, "utt2spk:2: found 'ann-2'; expected 'UTT SPK'"),
    ("whole", put("utt2spk", 1, "ann-2 ann x"), "utt2spk", LINE, "utt2spk:2:"),
    ("whole", put("wav.scp", 1, "ann-2"), "wav.scp", LINE, "wav.scp:2:"),
    ("whole", put("wav.scp", 1, "ann-2 ~/a.wav"), "wav.scp", LINE, "wav.scp:2: found 'ann-2 ~/a.wav'"),
    ("whole", append("utt2spk", "cat-2 bob\n"), "utt2spk", "an id with two values", "'bob' here, 'cat' in line 6"),
    ("whole", append("wav.scp", "cat-2 other.wav\n"), "wav.scp", "an id with two values", "wav.scp:7:"),
    ("whole", put("text", 0, "ann-1 <s> HELLO"), "text", LINE, "text:1:"),
    ("whole", put("spk2gender", 0, "ann female"), "spk2gender", LINE, "spk2gender:1:"),
    ("whole", put("spk2warp", 0, "ann 1.5"), "spk2warp", LINE, "spk2warp:1:"),
    ("whole", put("reco2file_and_channel", 0, "ann-1 x C"), "reco2file_and_channel", LINE, "channel:1:"),
    ("whole", change("text", b"HELLO\nann-2", b"\xff\nann-2"), "text", "not UTF-8 text", "text:1:"),
    ("whole", put("utt2lang", 0, "ann\u00a0-1 en"), "utt2lang", "an id with a white space or control char", ":1:"),
    (
        "whole",
        put("utt2spk", 0, "ann-1 dan"),
        "utt2spk",
        "sorted by utterance it is not sorted by speaker",
        "'ann-2' of",
    ),
    *(
        ("parts", put("segments", 0, f"ann-0 rec-ann {span}"), "segments", LINE, "segments:1:")
        for span in ("0.5 0.5", "-1 0.5", "0 0.5 1", "0 inf")
    ),
    ("parts", put("segments", 0, "ann-0 rec-ann 0 2.1"), "segments", OUTSIDE, "ments:1:"),
    ("parts", put("segments", 2, "ann-2 rec-ann 2 -1"), "segments", OUTSIDE, "ments:3:"),
]


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

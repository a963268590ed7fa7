"""validate-data as a whole, and the verbs as a user runs them."""

from __future__ import annotations

import os

import pytest

from data_dirs import append, found, lines, one, put, reverse, save, without
from svtk.errors import DataError
from svtk.kaldi.datadir import Utterance, write_data_dir
from svtk.prepare.fix import Unfixable, fix_data
from svtk.prepare.validate import validate_data


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


@pytest.mark.parametrize("verb", ["validate-data", "fix-data"])
@pytest.mark.parametrize("name", ["utt2spk", "cuts.jsonl.gz"])
def test_a_named_pipe_is_not_waited_for(parts, svtk_main, verb, name):
    (parts / name).unlink(missing_ok=True)
    os.mkfifo(parts / name)
    done = svtk_main(verb, parts)
    assert done.code == 1 and f"{name}: not a regular file; found a named pipe" in done.stderr

"""``svtk calibrate`` and ``svtk fuse``, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from svtk.kaldi.trials import read_scores, read_trials
from svtk.score.metrics import cllr
from svtk.score.missing import SIDES

NUM = 1500


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Systems a and b scored on dev (labelled) and test; a is worse for short utterances; utt2dur."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    durations = np.exp(rng.normal(1.5, 0.7, 100))
    Path("utt2dur").write_text("".join(f"u{i} {d:.3f}\n" for i, d in enumerate(durations)))
    for name in ("dev", "test"):
        pairs, labels = rng.integers(0, 100, (NUM, 2)), rng.random(NUM) < 0.3
        words = [f"u{e} u{t}" for e, t in pairs]
        lines = (f"{w} {'target' if label else 'nontarget'}\n" for w, label in zip(words, labels, strict=True))
        Path(f"{name}.trials").write_text("".join(lines))
        shortest = np.log(durations[pairs].min(axis=1))
        a = 0.1 * (2 * labels + rng.normal(size=NUM)) - 0.3 + 0.1 * shortest
        b = 5 * labels + 3 * rng.normal(size=NUM)
        for system, scores in (("a", a), ("b", b)):
            Path(f"{name}.{system}").write_text("".join(f"{w} {s:.6f}\n" for w, s in zip(words, scores, strict=True)))


def cost(scores: str, trials: str) -> float:
    return cllr(read_scores(scores).scores, read_trials(trials).labels)


def test_trained_on_one_list_applied_to_another(svtk_main, place):
    done = svtk_main("calibrate", "dev.a", "dev.trials", "cal")
    assert (done.code, done.stdout) == (0, ""), done.stderr
    written = json.loads(Path("cal").read_text())
    assert written["p_target"] == 0.5 and written["quality"] == []
    assert [item["name"] for item in written["scores"]] == ["dev.a"]
    done = svtk_main("calibrate", "--apply", "cal", "test.a", "test.llr")
    assert (done.code, done.stdout) == (0, ""), done.stderr
    given, llrs = read_scores("test.a"), read_scores("test.llr")
    assert (llrs.enroll, llrs.test) == (given.enroll, given.test)
    expected = written["scores"][0]["weight"] * given.scores + written["offset"]
    np.testing.assert_allclose(llrs.scores, expected, atol=1e-6)
    assert cost("test.llr", "test.trials") < cost("test.a", "test.trials")
    assert svtk_main("calibrate", "--apply=cal", "dev.a", "dev.llr").code == 0
    assert cost("dev.llr", "dev.trials") == pytest.approx(written["trained_on"]["cllr"], abs=1e-5)


def test_trials_in_another_order(svtk_main, place):
    labels = dict(line.rsplit(" ", 1) for line in Path("dev.trials").read_text().splitlines())
    scores = dict(line.rsplit(" ", 1) for line in Path("dev.a").read_text().splitlines())  # each pair once
    Path("s").write_text("".join(f"{pair} {score}\n" for pair, score in scores.items()))
    outputs = []
    for order in (list(labels), sorted(labels)):
        Path("t").write_text("".join(f"{pair} {labels[pair]}\n" for pair in order))
        done = svtk_main("calibrate", "s", "t", "cal")
        assert done.code == 0, done.stderr
        outputs.append(Path("cal").read_text())
    assert outputs[0] == outputs[1]


def test_quality_measures_help_and_have_to_be_given_again(svtk_main, place):
    words = ("--log-quality", "utt2dur")
    assert svtk_main("calibrate", *words, "dev.a", "dev.trials", "cal").code == 0
    written = json.loads(Path("cal").read_text())["quality"][0]
    assert (written["name"], written["log"]) == ("utt2dur", True)
    assert written["low"][0] == pytest.approx(-2, abs=0.6) and written["high"][0] == pytest.approx(0, abs=0.4)
    assert svtk_main("calibrate", *words, "--apply=cal", "test.a", "with").code == 0
    assert svtk_main("calibrate", "dev.a", "dev.trials", "plain").code == 0
    assert svtk_main("calibrate", "--apply=plain", "test.a", "without").code == 0
    assert cost("with", "test.trials") < cost("without", "test.trials") - 0.02
    done = svtk_main("calibrate", "--apply=cal", "test.a", "n")
    assert (
        done.code == 1 and "other quality measures; found none; expected --log-quality utt2dur (1 value" in done.stderr
    )
    done = svtk_main("calibrate", "--apply=cal", "--quality=utt2dur", "test.a", "n")
    assert done.code == 1 and "found utt2dur (1 value(s)); expected --log-quality" in done.stderr
    Path("stats").write_text("".join(f"u{i}  [ {i} 0.5 ]\n" for i in range(99)))
    done = svtk_main("calibrate", "--quality=stats", "dev.a", "dev.trials", "n")
    assert done.code == 1 and "key(s) are not in stats; found 'u99'" in done.stderr and not Path("n").exists()


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_missing_measures_and_scores_skipped(svtk_main, place, monkeypatch, caplog, size):
    """Training and applying are as without the lines left out."""

    def written(name, wanted):
        Path(name).write_text("".join(line for line in Path(name).read_text().splitlines(True) if wanted(line)))

    def run(*words):
        done = svtk_main("calibrate", "--log-quality=utt2dur", *words)
        assert done.code == 0, done.stderr

    def complete(line):
        return not {"u7", "u98"} & set(line.split()[:2])

    monkeypatch.setattr("svtk.kaldi.columns._BYTES", size)
    for name in ("dev.a", "dev.trials"):  # each pair once
        rest = dict(line.rsplit(" ", 1) for line in Path(name).read_text().splitlines())
        Path(name).write_text("".join(f"{pair} {word}\n" for pair, word in rest.items()))
    skip = ("--missing=skip", "--missing-list=missing")
    written("utt2dur", complete)
    written("dev.a", lambda line: "u5" not in line.split())  # as of score --missing skip
    run(*skip, "dev.a", "dev.trials", "skipped")
    assert set(Path("missing").read_text().split("\n")) == {f"{k} {s}" for k in ("u7", "u98") for s in SIDES} | {""}
    num_trials, num_used = (len(Path(name).read_text().splitlines()) for name in ("dev.trials", "dev.a"))
    num_used -= sum(not complete(line) for line in Path("dev.a").read_text().splitlines())
    assert f"dev.trials: {num_used} of {num_trials} trials are learnt from" in caplog.text
    run(*skip, "--apply=skipped", "test.a", "skipped.llr")
    text = Path("dev.a").read_text()
    Path("dev.a").write_text("u7 u7 1\n" + text + "x x 1\n")
    Path("utt2dur").write_text(Path("utt2dur").read_text() + "x 1\n")
    done = svtk_main("calibrate", "--log-quality=utt2dur", *skip, "dev.a", "dev.trials", "n")
    assert done.code == 1 and f"dev.a:{text.count(chr(10)) + 2}: 1 score(s) without a trial" in done.stderr
    Path("dev.a").write_text(text)
    written("dev.a", complete)
    done = svtk_main("calibrate", "--log-quality=utt2dur", "dev.a", "dev.trials", "n")
    assert done.code == 1 and "trial(s) without a score in dev.a" in done.stderr
    written("dev.trials", lambda line: complete(line) and "u5" not in line.split())
    written("test.a", complete)
    run("dev.a", "dev.trials", "whole")
    run("--apply=whole", "test.a", "whole.llr")
    assert Path("skipped").read_text() == Path("whole").read_text()
    assert Path("skipped.llr").read_text() == Path("whole.llr").read_text()


def test_fusion(svtk_main, place):
    done = svtk_main("fuse", "--p-target=0.3", "dev.a", "dev.b", "dev.trials", "fusion")
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert json.loads(Path("fusion").read_text())["p_target"] == 0.3
    assert svtk_main("fuse", "--apply=fusion", "test.a", "test.b", "fused").code == 0
    for system in "ab":
        assert svtk_main("calibrate", f"dev.{system}", "dev.trials", "cal").code == 0
        assert svtk_main("calibrate", "--apply=cal", f"test.{system}", "one").code == 0
        assert cost("fused", "test.trials") < cost("one", "test.trials") - 0.05


def test_streams_blocks_and_no_torch(svtk_main, place, monkeypatch):
    assert svtk_main("fuse", "dev.a", "dev.b", "dev.trials", "fusion").code == 0
    assert svtk_main("fuse", "--apply=fusion", "test.a", "test.b", "fused").code == 0
    program = (
        "import sys\nfrom svtk.cli.main import svtk\nsvtk.main(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'torch', 'torchaudio', 'lhotse', 'scipy'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", program, "fuse", "--apply=fusion", "-", "cat test.b |", "-"]
    done = subprocess.run(words, input=Path("test.a").read_text(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, Path("fused").read_text()), done.stderr
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", 20 * 7)
    assert svtk_main("fuse", "--apply=fusion", "test.a", "test.b", "blocks").code == 0
    assert Path("blocks").read_text() == Path("fused").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:1490], "dev.b:1491: other trials than in dev.a; found the end; expected 'u"),
        (lambda lines: [*lines, "x y 1"], "dev.b:1501: other trials than in dev.a; found 'x y'; expected the end"),
        (lambda lines: [*lines[:9], "x y 1", *lines[10:]], "dev.b:10: other trials than in dev.a; found 'x y'"),
        (lambda lines: [*lines[:9], "x y nan", *lines[10:]], "dev.b:10: malformed score; found 'x y nan'"),
    ],
)
def test_scores_of_other_trials(svtk_main, place, change, message):
    lines = change(Path("dev.b").read_text().splitlines())
    Path("dev.b").write_text("\n".join(lines) + "\n")
    done = svtk_main("fuse", "dev.a", "dev.b", "dev.trials", "n")
    assert done.code == 1 and message in done.stderr and not Path("n").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["calibrate", "dev.a", "cal"], 2, "found 2 file name(s), expected SCORES TRIALS OUT"),
        (["calibrate", "--apply=cal", "dev.a", "dev.trials", "n"], 2, "expected SCORES LLRS after --apply"),
        (["fuse", "dev.a", "dev.trials", "n"], 2, "expected SCORES SCORES... TRIALS OUT"),
        (["calibrate", "--apply=cal", "--p-target=0.1", "dev.a", "n"], 2, "--p-target is for training"),
        (["calibrate", "--p-target=1", "dev.a", "dev.trials", "n"], 2, "--p-target"),
        (["calibrate", "--apply=utt2dur", "dev.a", "n"], 1, "Error: utt2dur: not a calibration"),
        (["fuse", "--apply=cal", "dev.a", "dev.b", "n"], 1, "of other systems; found 2 score file(s); expected dev.a"),
        (["calibrate", "-", "-", "n"], 1, "cannot both be stdin"),
        (["fuse", "--missing-list=m", "dev.a", "dev.b", "dev.trials", "n"], 2, "goes with --missing skip"),
        (
            ["calibrate", "--missing-list=-", "--missing=skip", "--apply=cal", "dev.a", "-"],
            *(1, "LLRS and --missing-list cannot both be stdout"),
        ),
        (["calibrate", "--log-quality=zero", "dev.a", "dev.trials", "n"], 1, "zero:2: malformed quality measure"),
        (["calibrate", "--quality=twice", "dev.a", "dev.trials", "n"], 1, "twice:2: 'u1' stands twice"),
        (["calibrate", "--quality=ragged", "dev.a", "dev.trials", "n"], 1, "found 'u1 1 2'; expected UTT and 1 number"),
        (["calibrate", "test.a", "dev.trials", "n"], 1, "without a trial"),
    ],
)
def test_errors(svtk_main, place, words, code, message):
    Path("cal").write_text(
        '{"p_target": 0.5, "offset": 1, "scores": [{"name": "dev.a", "weight": 2}], "quality": [], "trained_on": {}}'
    )
    Path("zero").write_text("u0 1\nu1 0\n")
    Path("twice").write_text("u1 1\nu1 2\n")
    Path("ragged").write_text("u0 1\nu1 1 2\n")
    done = svtk_main(*words)
    assert done.code == code and message in done.stderr, done.stderr
    assert not Path("n").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"p_target": 1}', '{"offset": NaN}', "{"])
def test_what_is_no_calibration(svtk_main, place, text):
    Path("cal").write_text(text)
    done = svtk_main("calibrate", "--apply=cal", "dev.a", "n")
    assert done.code == 1 and "Error: cal: not a calibration" in done.stderr

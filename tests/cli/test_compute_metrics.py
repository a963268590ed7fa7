"""``svtk compute-metrics``, run as a user runs it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from math import exp, log2
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from svtk.cli.main import svtk

TRIALS = "a b target\na c nontarget\nb c nontarget\nc d target\n"
SCORES = "a b 0.6\na c 0\nb c -0.8\nc d 1\n"


def run(*words: str, text: str | None = None, code: int = 0) -> Result:
    done = CliRunner().invoke(svtk, ["compute-metrics", *words], input=text, prog_name="svtk")
    assert done.exit_code == code, (done.output, done.exception)
    return done


def figures(*words: str, text: str | None = None) -> dict:
    """What --json prints, but for the record of how it was made."""
    found = json.loads(run("--json", *words, text=text).stdout)
    del found["provenance"]
    return found


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("trials").write_text(TRIALS)
    Path("scores").write_text(SCORES)


def test_as_a_user_runs_it():
    Path("scores").write_text("a b 1\na c 2\nb c 0\nc d 3\n")
    words = [sys.executable, "-m", "svtk", "compute-metrics", "scores", "trials"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split()[:3] == ["EER", "50.00", "%"]


def test_json():
    assert figures("--p-target", "0.5", "--p-target=0.01,10,1", "-", "trials", text=SCORES) == {
        "eer": 0.0,
        "eer_threshold": 0.6,
        "eer_convex_hull": 0.0,
        "min_dcf": {"0.5": 0.0, "0.01,10,1": 0.0},
        "min_dcf_threshold": {"0.5": 0.6, "0.01,10,1": 0.6},
        "act_dcf": {"0.5": 0.5, "0.01,10,1": 1.0},
        "cllr": pytest.approx(sum(log2(1 + exp(x)) for x in (-0.6, -1, 0, -0.8)) / 4),
        "min_cllr": 0.0,
        "num_targets": 2,
        "num_nontargets": 2,
    }


FORMS = {
    "in another order": ("c d 1\nb c -0.8\na b 0.6\na c 0\n", TRIALS),
    "VoxCeleb's list": (SCORES, "1 a b\n0 a c\n0 b c\n1 c d\n"),
    "a fourth column": ("a b 0.6 target\na c 0 nontarget\nb c -0.8 0\nc d 1 1\n", None),
    "compute-eer's": ("0.6 target\n0 nontarget\n-0.8 nontarget\n1 target\n", None),
    "tabs": (SCORES.replace(" ", "\t"), TRIALS.replace(" ", "\t")),
    "Windows' line ends": (SCORES.replace("\n", "\r\n"), TRIALS.replace("\n", "\r\n")),
    "a key beyond ASCII": (SCORES.replace("c", "ć"), TRIALS.replace("c ", "ć ").replace(" c", " ć")),
    "no newline at the end": (SCORES.rstrip(), TRIALS.rstrip()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stdin", [False, True])
def test_every_form_of_scores_and_labels_says_the_same(form, stdin):
    expected = figures("scores", "trials")
    scores, trials = FORMS[form]
    Path("other").write_text(scores)
    Path("list").write_text(trials or "")
    lists = ["list"] if trials else []
    assert figures("-" if stdin else "other", *lists, text=scores if stdin else None) == expected


@pytest.mark.parametrize(
    ("scores", "trials", "message"),
    [
        ("a b 1\n", TRIALS, "trials:2: 3 trial(s) without a score in scores; found 'a c', 'b c', 'c d'."),
        (SCORES + "x y 1\n", TRIALS, "scores:5: 1 score(s) without a trial in trials; found 'x y'."),
        (SCORES.replace("0.6", "0.6x"), TRIALS, "scores:1: malformed score; found 'a b 0.6x'"),
        (SCORES.replace("-0.8", "nan"), TRIALS, "scores:3: a score is not a number; found 'b c nan'."),
        (SCORES, "a b\na c\nb c\nc d\n", "trials: the trial list has no labels"),
        (SCORES, TRIALS.replace(" nontarget", " target"), "trials: no nontarget trials; found 4 of the other kind"),
        (SCORES, TRIALS.replace("target", "tgt"), "trials:1: malformed trial; found 'a b tgt'"),
        (SCORES, None, "scores: the scores have no labels"),
        ("a b 1 target\n", TRIALS, "scores: the scores have labels of their own"),
        ("a b 1 target x\n", None, "scores:1: malformed score; found 'a b 1 target x'"),
        ("", TRIALS, "scores: the score file is empty"),
    ],
)
def test_what_cannot_be_computed(scores, trials, message):
    Path("scores").write_text(scores)
    Path("trials").write_text(trials or "")
    done = run("scores", *(["trials"] if trials else []), code=1)
    assert done.stdout == "" and str(done.exception).startswith(message)


@pytest.mark.parametrize("cost", ["0", "1", "1.5", "x", "0.1,1", "0.1,0,1", "0.1,1,inf", "nan"])
def test_a_cost_out_of_range_is_wrong_usage(cost):
    assert "expected a probability" in run("--p-target", cost, "scores", "trials", code=2).stderr


def test_how_the_figures_were_made():
    run("--json", "scores", "trials")
    found = json.loads(run("--json", "-", "trials", "--by", "trials", text=SCORES).stdout)["provenance"]
    assert found["inputs"]["scores"] == {"path": "-", "kind": "stdin"}
    assert found["inputs"]["trials"]["sha256"] == hashlib.sha256(TRIALS.encode()).hexdigest()
    assert found["inputs"]["by_1"]["path"] == "trials" and found["settings"]["costs"] == [[0.05], [0.01], [0.001]]
    text = run("--provenance", "scores", "trials").stdout
    assert text.startswith(run("scores", "trials").stdout)
    assert f"\n  scores: scores (sha256 {hashlib.sha256(SCORES.encode()).hexdigest()[:16]}, unchanged)\n" in text


def speakers_of(num_spks: int = 8, per_spk: int = 3) -> tuple[str, str, str]:
    """Scores, trials and utt2spk of all pairs of utterances."""
    rng = np.random.default_rng(1)
    utts = [f"s{i}-{j}" for i in range(num_spks) for j in range(per_spk)]
    pairs = [(a, b, a[:2] == b[:2]) for n, a in enumerate(utts) for b in utts[n + 1 :]]
    scores = "".join(f"{a} {b} {rng.normal() + 2 * x:.6f}\n" for a, b, x in pairs)
    trials = "".join(f"{a} {b} {'target' if x else 'nontarget'}\n" for a, b, x in pairs)
    return scores, trials, "".join(f"{utt} {utt[:2]}\n" for utt in utts)


@pytest.fixture
def many():
    for name, text in zip(("scores", "trials", "utt2spk"), speakers_of(), strict=True):
        Path(name).write_text(text)
    Path("spk2gender").write_text("".join(f"s{i} {'fm'[i % 2]}\n" for i in range(8)))
    Path("utt2dur").write_text("".join(f"s{i}-{j} {i + j}\n" for i in range(8) for j in range(3)))
    lines = Path("scores").read_text().splitlines()
    Path("worse").write_text(
        "".join(f"{a} {b} {-1 if n % 9 == 0 else s}\n" for n, (a, b, s) in enumerate(map(str.split, lines[::-1])))
    )


def test_intervals(many):
    found = figures("--utt2spk=utt2spk", "--num-bootstrap=50", "scores", "trials")
    low, high = found["interval"]["eer"]
    assert low < found["eer"] < high
    assert found["confidence"] == {"level": 0.95, "num_bootstrap": 50, "seed": 0, "num_spks": 8}
    for name in ("min_dcf", "act_dcf"):
        assert {*found["interval"][name]} == {"0.05", "0.01", "0.001"}
    again = ("--num-bootstrap=50", "scores", "trials")
    assert figures("--utt2spk=cat utt2spk |", *again) == found
    assert figures("--utt2spk=utt2spk", "--seed=1", *again)["interval"] != found["interval"]
    narrow = figures("--utt2spk=utt2spk", "--confidence=0.5", *again)["interval"]["eer"]
    assert low < narrow[0] < narrow[1] < high
    assert found["eer"] == figures("scores", "trials")["eer"]


def test_groups(many):
    words = ("--by=spk2gender", "--by=utt2dur", "--bins=2,5", "--utt2spk=utt2spk", "--num-bootstrap=20")
    found = figures(*words, "scores", "trials")["by"]
    assert list(found) == ["spk2gender", "utt2dur"]
    assert list(found["spk2gender"]) == ["f", "f/m", "m"] and list(found["utt2dur"]) == ["<2", "2-5", ">=5"]
    assert found["spk2gender"]["f/m"] == {"num_targets": 0, "num_nontargets": 144}
    kept = [
        line for line in Path("trials").read_text().splitlines() if all(int(word[1]) % 2 for word in line.split()[:2])
    ]
    Path("men").write_text("\n".join(kept))
    men = figures("--missing=skip", "scores", "men")
    assert men.pop("num_unlisted") == 276 - len(kept) and men.pop("num_unscored") == 0
    group = found["spk2gender"]["m"]
    assert group.pop("interval")["eer"] and group == men
    text = run(*words, "scores", "trials").stdout.splitlines()
    row = next(line for line in text if line.startswith("f/m"))
    assert row.split() == ["f/m", "0", "144", *"-------"]


def test_the_same_draws_on_both_systems(many):
    words = ("--utt2spk=utt2spk", "--num-bootstrap=50", "--compare=worse")
    found = figures(*words, "scores", "trials")
    other = found["compare"]
    assert other["scores"] == "worse" and other["eer"] == figures("worse", "trials")["eer"]
    assert other["difference"]["eer"] == pytest.approx(other["eer"] - found["eer"])
    low, high = other["difference_interval"]["cllr"]
    assert low < other["difference"]["cllr"] < high
    spread = [found["interval"]["cllr"], other["interval"]["cllr"]]
    assert high - low < sum(end - start for start, end in spread)
    itself = figures("--utt2spk=utt2spk", "--num-bootstrap=50", "--compare=scores", "scores", "trials")["compare"]
    assert itself["difference"]["eer"] == 0 and itself["difference_interval"]["eer"] == [0, 0]
    text = run(*words, "scores", "trials").stdout.splitlines()
    assert text[0].split() == ["value", "95", "%", "other", "95", "%", "difference", "95", "%"]
    plain = figures("--compare=worse", "scores", "trials")["compare"]
    assert plain["difference"] == other["difference"] and not {"interval", "difference_interval"} & plain.keys()


def test_compared_scores_of_other_trials(many):
    Path("other").write_text(Path("scores").read_text().replace("s0-0 s0-1 ", "s0-0 s0-0 "))
    assert "1 score(s) without a trial" in str(run("--compare=other", "scores", "trials", code=1).exception)
    rest = Path("scores").read_text().split("\n", 1)[1]
    Path("other").write_text(rest)
    done = run("--missing=skip", "--compare=other", "scores", "trials", code=1)
    assert str(done.exception).startswith("other: other trials than in scores.")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--bins=2", "scores", "trials"), 2, "--bins goes with --by"),
        (("--by=utt2dur", "--bins=5,2", "scores", "trials"), 2, "expected rising numbers"),
        (("--utt2spk=-", "-", "trials"), 1, "SCORES and --utt2spk cannot both be stdin"),
        (("--by=-", "-", "trials"), 1, "SCORES and --by - cannot both be stdin"),
        (("--compare=worse", "scores", "-"), 1, "the trial list is read twice"),
        (("--by=spk2gender", "scores", "trials"), 1, "name the speakers' file with --utt2spk"),
    ],
)
def test_what_does_not_go_together(many, words, code, message):
    done = run(*words, code=code)
    assert message in (done.stderr if code == 2 else str(done.exception))


def test_infinite_figures_are_null_and_inf():
    Path("scores").write_text(SCORES.replace("0.6", "-inf"))
    found = figures("scores", "trials")
    assert found["cllr"] is None and found["min_dcf_threshold"]["0.05"] == 1
    assert run("scores", "trials").stdout.splitlines()[-2].split() == ["Cllr", "inf"]


def test_infinite_figures_have_no_difference(many):
    Path("scores").write_text(speakers_of()[0].replace(speakers_of()[0].split()[2], "-inf", 1))
    found = figures("--utt2spk=utt2spk", "--num-bootstrap=20", "--compare=scores", "scores", "trials")
    assert found["cllr"] is None and found["compare"]["difference"]["cllr"] is None
    assert found["interval"]["cllr"][1] is None and found["compare"]["difference"]["eer"] == 0

"""``svtk score`` and ``report``, run as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from svtk.kaldi.tables import TableWriter


def run(*args: str, cwd, text: str | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "svtk", *args], cwd=cwd, input=text, capture_output=True, text=True)


TRIALS = "a b target\na c nontarget\nb c nontarget\nc d target\n"


@pytest.fixture
def place(tmp_path):
    with TableWriter(f"ark,scp:{tmp_path}/e.ark,{tmp_path}/e.scp") as writer:
        for key, row in {"a": [1, 0], "b": [3, 4], "c": [0, -1], "d": [0, -2]}.items():
            writer.write(key, np.array(row, dtype=np.float32))
    (tmp_path / "trials").write_text(TRIALS)
    return tmp_path


SCORES = "a b 0.600000\na c 0.000000\nb c -0.800000\nc d 1.000000\n"


def test_score_files_and_streams_agree(place):
    done = run("score", "trials", "scp:e.scp", "ark:e.ark", "scores", cwd=place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (place / "scores").read_text() == SCORES
    done = run("score", "-", "scp:e.scp", "scp:e.scp", "-", cwd=place, text=TRIALS)
    assert (done.returncode, done.stdout, done.stderr) == (0, SCORES, "")


def test_mean_is_an_option(svtk_main, place, monkeypatch):
    monkeypatch.chdir(place)
    done = svtk_main("score", "--mean=scp:e.scp", "trials", "scp:e.scp", "scp:e.scp", "-")
    rows = np.array([[1, 0], [3, 4], [0, -1], [0, -2]])
    rows = rows - rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = [rows[i] @ rows[j] for i, j in ((0, 1), (0, 2), (1, 2), (2, 3))]
    assert [float(line.split()[2]) for line in done.stdout.splitlines()] == pytest.approx(expected, abs=1e-6)


def test_a_missing_embedding_leaves_no_scores(svtk_main, place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "trials").write_text(TRIALS + "a q target\nq a target\n")
    done = svtk_main("score", "trials", "scp:e.scp", "scp:e.scp", "scores")
    assert done.code == 1 and done.stdout == ""
    assert done.stderr == (
        "Error: trials:6: 1 enrolment key(s) are not in scp:e.scp; found 'q'. "
        "To mend: extract their embeddings, or leave their trials out with --missing skip\n"
    )
    assert not list(place.glob("scores*"))


def test_report(svtk_main, place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "exp" / "teacher" / "eval_all").mkdir(parents=True)
    (place / "exp" / "teacher" / "eval_all" / "metrics.json").write_text('{"eer": 0.0425, "min_dcf": {"0.05": 0.3}}')
    done = svtk_main("report", "exp")
    assert done.code == 0 and done.stderr == ""
    assert done.stdout.splitlines()[2].split() == ["teacher", "all", "4.25", "0.300", "-", "-", "-", "-"]
    done = svtk_main("report", "--format", "md", "--title", "Synthetic speech", "exp")
    assert done.stdout.splitlines()[0] == "Synthetic speech"
    assert done.stdout.splitlines()[-1].startswith("| teacher | all    |  4.25 |")
    done = svtk_main("report", "nowhere")
    assert (done.code, done.stdout) == (1, "") and done.stderr.startswith("Error: nowhere: no such experiment")


def test_scoring_needs_no_torch(place):
    (place / "exp" / "s" / "eval_t").mkdir(parents=True)
    program = (
        "import sys\nfrom svtk.cli.main import svtk\n"
        "def verb(*args):\n    svtk.main(list(args), standalone_mode=False)\n"
        "verb('score', 'trials', 'scp:e.scp', 'scp:e.scp', 'scores')\n"
        "verb('compute-metrics', 'scores', 'trials')\nverb('report', 'exp')\n"
        "print(sorted({'torch', 'torchaudio', 'lhotse', 'speechbrain', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method=plda",), "--method plda and --plda FILE go together"),
        (("--plda=plda",), "--method plda and --plda FILE go together"),
        (("--num-utts=ark:n", "--no-length-norm"), "--length-norm and --num-utts: for --method plda only"),
        (("--plda-length-norm=none",), "--plda-length-norm: for --method plda only"),
        (("--enroll-mode=max",), "--enroll-mode is for models: give --enroll-spk2utt or --test-spk2utt"),
        (("--method=plda", "--plda=p", "--num-utts=ark:n", "--enroll-spk2utt=s"), "--enroll-spk2utt tells the numbers"),
        (("--missing-list=m",), "--missing-list goes with --missing skip"),
        (("--method=euclid",), "'euclid' is not one of"),
    ],
)
def test_options_that_do_not_go_together(svtk_main, place, words, message):
    done = svtk_main("score", *words, place / "trials", f"scp:{place}/e.scp", f"scp:{place}/e.scp", "-")
    assert (done.code, done.stdout) == (2, "") and message in " ".join(done.stderr.split())


def test_models_plda_and_policies(svtk_main, place, monkeypatch, caplog):
    monkeypatch.chdir(place)
    rng = np.random.default_rng(0)
    with TableWriter("ark:train.ark") as writer:
        for i in range(60):
            writer.write(f"t{i}", (rng.normal(size=2) + 3 * np.array([i % 7, i % 5])).astype(np.float32))
    (place / "utt2spk").write_text("".join(f"t{i} s{i % 35}\n" for i in range(60)))
    done = svtk_main(
        "train-plda", "--mean-out=mean.vec", "--lda-out=lda", "--lda-dim=2", "utt2spk", "ark:train.ark", "plda"
    )
    assert done.code == 0, done.stderr
    (place / "spk2utt").write_text("m a b\nn c\n")
    (place / "trials").write_text("m d target\nn d\tnontarget\nm gone nontarget\nn c target\nm d target\n")
    words = ("score", "--method=plda", "--plda=plda", "--mean=mean.vec", "--transform=lda", "--enroll-spk2utt=spk2utt")
    files = ("trials", "scp:e.scp", "ark:e.ark", "scores")
    done = svtk_main(*words, *files)
    assert done.code == 1 and "trials:3: 1 test key(s) are not in ark:e.ark; found 'gone'" in done.stderr
    written = {}
    for mode in ("mean", "score-mean", "max"):
        done = svtk_main(*words, "--enroll-mode", mode, "--missing=skip", "--missing-list=missing", *files)
        assert (done.code, done.stdout) == (0, ""), done.stderr
        assert "1 trial(s) with the same utterance on both sides, the first in line 4, 'n c'" in caplog.text
        written[mode] = (place / "scores").read_text().splitlines()
        assert [line.split()[:2] for line in written[mode]] == [["m", "d"], ["n", "d"], ["n", "c"], ["m", "d"]]
        assert (place / "missing").read_text() == "gone test\n"
    assert len({lines[0] for lines in written.values()}) == 3  # m is of two utterances
    assert len({lines[1] for lines in written.values()}) == 1  # n of one
    done = svtk_main(*words, "--missing=skip", "--duplicates=error", *files)
    assert done.code == 1 and "trials:5: 1 trial(s) stand there already; found the pair of line 1" in done.stderr
    done = svtk_main(*words, "--missing=skip", "--same-utterance=error", *files)
    assert done.code == 1 and "the same utterance on both sides: line 4, 'n c'" in done.stderr
    done = svtk_main(*words, "--mean=-", "-", *files[1:])
    assert done.code == 1 and "TRIALS and --mean cannot both be stdin" in done.stderr


def test_parts_of_the_list_make_the_whole(svtk_main, place, monkeypatch):
    """run_jobs.sh and cat, for any number of jobs and threads: the same bytes."""
    monkeypatch.chdir(place)
    rng = np.random.default_rng(0)
    with TableWriter("ark:big.ark") as writer:
        for i in range(50):
            writer.write(f"u{i}", rng.normal(size=40).astype(np.float32))
    pairs = rng.integers(0, 50, (501, 2))
    (place / "trials").write_text("".join(f"u{e} u{t} {'non' * int(e != t)}target\n" for e, t in pairs))
    assert svtk_main("score", "trials", "ark:big.ark", "ark:big.ark", "whole").code == 0
    run_jobs = str(Path(__file__).parents[2] / "bin" / "run_jobs.sh")
    score = [sys.executable, "-m", "svtk", "score", "--num-threads=2", "SPLIT", "ark:big.ark", "ark:big.ark"]
    options = ["--nj", "3", "--merge", "scores.JOB", "--check", "lines"]
    done = subprocess.run(
        [run_jobs, *options, "trials", "log/score.JOB.log", *score, "scores.JOB"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert (place / "scores").read_bytes() == (place / "whole").read_bytes()
    assert len((place / "scores.3").read_text().splitlines()) == 167

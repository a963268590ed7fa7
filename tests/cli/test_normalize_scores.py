"""``svtk normalize-scores``, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from svtk.kaldi.tables import TableWriter

SCORES = "u0 u1 0.500000\nu0 u2 -0.250000\nu2 u1 0.125000\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, num_rows in (("u", 3), ("c", 40)):
        with TableWriter(f"ark,scp:{tmp_path}/{name}.ark,{tmp_path}/{name}.scp") as writer:
            for i in range(num_rows):
                writer.write(f"{name}{i}", rng.normal(size=4).astype(np.float32))
    (tmp_path / "scores").write_text(SCORES)
    (tmp_path / "spk2utt").write_text("".join(f"s{i} c{i} c{i + 20}\n" for i in range(20)))
    monkeypatch.chdir(tmp_path)


TABLES = ("scp:u.scp", "scp:u.scp")


def test_files_and_streams_agree_without_torch(svtk_main, place):
    done = svtk_main(
        *("normalize-scores", "--cohort=scp:c.scp", "--top-n", 9, "--stats", "stats", "scores", *TABLES, "normalized")
    )
    assert (done.code, done.stdout) == (0, ""), done.stderr
    text = Path("normalized").read_text()
    assert [line.split()[:2] for line in text.splitlines()] == [line.split()[:2] for line in SCORES.splitlines()]
    assert sorted(line.split()[0] for line in Path("stats").read_text().splitlines()) == ["u0", "u1", "u2"]
    program = (
        "import sys\nfrom svtk.cli.main import svtk\nsvtk.main(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'torch', 'torchaudio', 'lhotse', 'scipy'} & set(sys.modules)"
    )
    words = ["normalize-scores", "--cohort", "ark:cat c.ark |", "--top-n=9", "-", *TABLES, "-"]
    done = subprocess.run([sys.executable, "-c", program, *words], input=SCORES, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, text), done.stderr


@pytest.mark.parametrize("method", ["s-norm", "z-norm", "t-norm"])
def test_other_methods_and_speaker_means(svtk_main, place, method):
    words = ("--cohort=scp:c.scp", "--cohort-spk2utt", "ark:spk2utt", "--mean=scp:c.scp", f"--method={method}")
    done = svtk_main("normalize-scores", *words, "scores", *TABLES, "-")
    assert done.code == 0 and len(done.stdout.splitlines()) == 3, done.stderr
    done = svtk_main("normalize-scores", *words, "--top-n=5", "scores", *TABLES, "-")
    assert done.code == 2 and "--top-n is for as-norm" in done.stderr


def test_missing_keys(svtk_main, place):
    Path("scores").write_text(SCORES + "u0 gone 1\n")
    words = ("normalize-scores", "--cohort=scp:c.scp", "--top-n=9")
    done = svtk_main(*words, "scores", *TABLES, "n")
    assert done.code == 1 and "scores:4: 1 test key(s) are not in scp:u.scp; found 'gone'" in done.stderr
    assert not Path("n").exists()
    done = svtk_main(*words, "--missing-list=m", "--missing=skip", "scores", *TABLES, "-")
    assert done.code == 0 and len(done.stdout.splitlines()) == 3, done.stderr
    assert Path("m").read_text() == "gone test\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--cohort=scp:c.scp", "scores", *TABLES, "n"],
            1,
            "too small; found 40; expected 300. To mend: give a larger",
        ),
        (["scores", *TABLES, "n"], 2, "Missing option '--cohort'"),
        (["--cohort=ark:-", "-", *TABLES, "n"], 1, "--cohort and SCORES cannot both be stdin"),
        (["--cohort=scp:c.scp", "--top-n=1", "scores", *TABLES, "n"], 2, "--top-n"),
        (["--cohort=scp:c.scp", "--top-n=5", "nowhere", *TABLES, "n"], 1, "Error: nowhere: cannot open"),
    ],
)
def test_errors(svtk_main, place, words, code, message):
    done = svtk_main("normalize-scores", *words)
    assert done.code == code and message in done.stderr
    assert not list(Path().glob("n*"))

"""Every verb that reads or writes text (trials, scores, spk2utt, calibrations): by files, stdin, stdout and pipes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from svtk.cli.main import svtk
from svtk.kaldi.tables import TableWriter

UTTS = [f"s{spk}-{i}" for spk in range(3) for i in range(3)]
PAIRS = [(a, b) for n, a in enumerate(UTTS) for b in UTTS[n + 1 :]]
TRIALS = "".join(f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in PAIRS)
TABLES = "scp:e.scp scp:e.scp"


def run(command: list[str], stdin: bytes = b"") -> bytes:
    done = CliRunner().invoke(svtk, command, input=stdin, prog_name="svtk")
    assert done.exit_code == 0, (command, done.exception, done.stderr)
    return done.stdout_bytes


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    with TableWriter("ark,scp:e.ark,e.scp") as writer:
        for utt in UTTS:
            writer.write(utt, rng.normal(size=4).astype(np.float32))
    files = {
        "trials": TRIALS,
        "scores": "".join(f"{a} {b} {rng.normal():.6f}\n" for a, b in PAIRS),
        "other": "".join(f"{a} {b} {rng.normal():.6f}\n" for a, b in PAIRS),
        "measure": "".join(f"{utt} {rng.uniform(1, 9):.3f}\n" for utt in UTTS),
        "spk2utt": "".join(f"s{spk} s{spk}-0 s{spk}-1 s{spk}-2\n" for spk in range(3)),
        "data/utt2spk": "".join(f"{utt} {utt[:2]}\n" for utt in UTTS),
        "data/wav.scp": "".join(f"{utt} {utt}.wav\n" for utt in UTTS),
    }
    Path("data").mkdir()
    for name, text in {**files, "data/spk2utt": files["spk2utt"]}.items():
        Path(name).write_text(text)
    run(["calibrate", "scores", "trials", "calibration"])
    run(["fuse", "scores", "other", "trials", "fusion"])


#: commands that read the file between braces, and write to stdout
READ = [
    f"score {{trials}} {TABLES} -",
    "compute-metrics {scores} trials",
    "compute-metrics scores {trials}",
    f"normalize-scores --top-n=3 --cohort=scp:e.scp {{scores}} {TABLES} -",
    "calibrate {scores} trials -",
    "calibrate scores {trials} -",
    "calibrate --quality={measure} scores trials -",
    "calibrate --log-quality={measure} scores trials -",
    "calibrate --apply={calibration} scores -",
    "calibrate --apply=calibration {scores} -",
    "fuse {scores} other trials -",
    "fuse scores {other} trials -",
    "fuse scores other {trials} -",
    "fuse --apply={fusion} scores other -",
    "fuse --apply=fusion scores {other} -",
    "average-embeddings {spk2utt} scp:e.scp ark,t:-",
    "average-embeddings ark:{spk2utt} scp:e.scp ark,t:-",
    "average-embeddings ark,t:{spk2utt} scp:e.scp ark,t:-",
    "train-plda {spk2utt} scp:e.scp -",
    "validate-data --trials={trials} data",
]
#: commands that write where {} stands
WRITE = [
    f"score trials {TABLES} {{}}",
    f"normalize-scores --top-n=3 --cohort=scp:e.scp scores {TABLES} {{}}",
    "calibrate scores trials {}",
    "calibrate --apply=calibration scores {}",
    "fuse scores other trials {}",
    "fuse --apply=fusion scores other {}",
    "make-trials data {}",
    "train-plda spk2utt scp:e.scp {}",
]


@pytest.mark.parametrize("command", READ)
def test_read(place, command):
    name = re.search(r"{(\w+)}", command)[1]
    text = Path(name).read_bytes()

    def by(form: str) -> bytes:
        """What comes out; a calibration names the files it was trained on, which is no difference here."""
        words = [re.sub(r"{\w+}", form, word) for word in command.split()]
        return re.sub(rb'"name": ".*"', b"", run(words, text if form == "-" else b""))

    expected = by(name)
    assert expected
    assert by("-") == expected
    assert by(f"cat {name} |") == expected


@pytest.mark.parametrize("command", WRITE)
def test_written(place, command):
    words = command.split()[:-1]
    expected = run([*words, "-"])
    assert expected
    for form in ("out", "| cat > out"):
        assert run([*words, form]) == b""
        assert Path("out").read_bytes() == expected
        Path("out").unlink()


@pytest.mark.parametrize("command", [words for words in READ if "ark" not in words])
def test_a_failing_pipe_is_an_error(place, command):
    """Also where it gave the whole file before it failed."""
    words = [re.sub(r"{(\w+)}", r"cat \1; exit 7 |", word) for word in command.split(" ")]
    done = CliRunner().invoke(svtk, words, prog_name="svtk")
    assert "input pipe failed with exit status 7" in str(done.exception)


def test_trials_are_made_of_all_pairs(place):
    assert run(["make-trials", "data", "-"]).decode() == TRIALS

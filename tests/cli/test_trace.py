"""``svtk trace``, on what the scoring verbs leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from table_files import write


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write("ark,scp:e.ark,e.scp", {f"u{i}": rng.normal(size=4).astype(np.float32) for i in range(40)})
    Path("spk2utt").write_text("".join(f"s{i} u{i} u{i + 20}\n" for i in range(20)))
    trials = [(f"u{i}", f"u{j}", "target" if i % 20 == j % 20 else "nontarget") for i in range(40) for j in range(i)]
    Path("trials").write_text("".join(f"{' '.join(trial)}\n" for trial in trials))


def test_from_log_likelihood_ratios_back_to_the_embeddings(svtk_main, place):
    def svtk(*words):
        done = svtk_main(*words)
        assert done.code == 0, done.stderr
        return done.stdout

    svtk("average-embeddings", "spk2utt", "scp:e.scp", "ark,scp:c.ark,c.scp", "ark,t:num_utts")
    svtk("train-plda", "--mean-out=mean.vec", "spk2utt", "scp:e.scp", "plda")
    svtk("adapt-plda", "plda", "scp:e.scp", "adapted")
    svtk(
        "score", "--method=plda", "--plda=adapted", "--mean=mean.vec", "trials", "scp:e.scp", "scp:e.scp", "plda_scores"
    )
    svtk("score", "trials", "scp:e.scp", "scp:e.scp", "scores")
    svtk("normalize-scores", "--cohort=scp:c.scp", "--top-n=5", "scores", "scp:e.scp", "scp:e.scp", "normalized")
    svtk("fuse", "normalized", "plda_scores", "trials", "fusion")
    svtk("fuse", "--apply=fusion", "normalized", "plda_scores", "llrs")
    text = svtk("trace", "llrs")
    told = [line.split()[1] for line in text.splitlines() if line.strip().startswith("svtk ")]
    verbs = ["fuse", "normalize-scores", "score", "average-embeddings", "score", "train-plda", "adapt-plda", "fuse"]
    assert sorted(told) == sorted(verbs)  # each step once, though the normalised scores count twice
    assert "top_n=5" in text and "changed since" not in text
    chain = json.loads(svtk("trace", "--json", "llrs"))
    cohort = chain["inputs"]["scores_1"][0]["inputs"]["cohort"][0]
    assert cohort["record"]["settings"]["length_normalize"] is False
    made = ("c.ark", "c.scp", "num_utts", "mean.vec", "plda", "adapted")
    made += ("plda_scores", "scores", "normalized", "fusion", "llrs")
    assert sorted(path.name for path in Path().glob("*.json")) == sorted(f"{name}.provenance.json" for name in made)


def test_a_pipeline_leaves_no_record(place):
    """Scores come from stdin and a pipe and go to stdout; what follows records what it knows."""
    svtk = f"{sys.executable} -m svtk"
    words = f"{svtk} score - 'ark:cat e.ark |' scp:e.scp - < trials | {svtk} calibrate - trials calibration"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [path.name for path in Path().glob("*.json")] == ["calibration.provenance.json"]
    record = json.loads(Path("calibration.provenance.json").read_text())
    assert record["command"] == ["svtk", "calibrate", "-", "trials", "calibration"]
    assert record["inputs"]["scores_1"] == {"path": "-", "kind": "stdin"}
    assert record["settings"]["p_target"] == 0.5


def test_no_such_file(svtk_main, place):
    done = svtk_main("trace", "no/such")
    assert (done.code, done.stderr) == (1, "Error: no/such: no such file\n")

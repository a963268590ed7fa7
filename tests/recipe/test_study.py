"""egs/voxceleb/local/study.sh: its tiny version as a user runs it, killed and taken up again; its matrix and tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.recipe

LOCAL = Path(__file__).resolve().parents[2] / "egs/voxceleb/local"
ENVIRONMENT = {**os.environ, "SVTK_PYTHON": sys.executable}


def study(where: Path, *options: str) -> list[str]:
    return ["bash", str(LOCAL / "study.sh"), "--data", str(where / "data"), "--exp", str(where / "exp"), *options]


def ask(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, LOCAL / "study.py", *map(str, words)], capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The tiny study, killed with all its processes while its first run was at work, and then started again."""
    where = tmp_path_factory.mktemp("study")
    words = study(where, "--smoke", "true", "--nj", "2")
    with open(where / "first.log", "w") as log:
        first = subprocess.Popen(words, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
        begun = where / "exp/sv_mixer_none/seed0.attempts"
        end = time.monotonic() + 300
        while not begun.exists() and first.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert begun.exists(), (where / "first.log").read_text()
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert not list((where / "exp").glob("results/*.json"))
    again = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    return where, again


def test_every_run_leaves_its_result(done):
    where, again = done
    results = where / "exp/results"
    assert {file.name for file in results.iterdir()} == {
        *("compare.json", "sv_mixer_none.seed0.json", "transformer_none.seed0.json")
    }
    assert "no --whisper: runs taught by whisper are left out" in again.stderr
    result = json.loads((results / "sv_mixer_none.seed0.json").read_text())
    assert result["attempts"] == 2 and result["cpu_seconds"] is None  # of the killed attempt nothing is known
    assert result["train"]["epochs"] == 2 and result["config"]["student"]["hidden_dim"] == 32
    assert result["size"]["parameters"] > 0 and result["device"].startswith("cpu")
    for trials in ("test", "test_same_sex"):
        metrics = result["metrics"][trials]
        low, high = metrics["interval"]["eer"]
        assert 0 <= low <= metrics["eer"] <= high <= 1
    assert len((results / "sv_mixer_none.seed0.json").read_bytes()) < 20_000


def test_differences_are_the_first_minus_the_second(done):
    results = done[0] / "exp/results"
    eer = {
        name: json.loads((results / f"{name}.seed0.json").read_text())["metrics"]["test"]["eer"]
        for name in ("sv_mixer_none", "transformer_none")
    }
    record = next(r for r in json.loads((results / "compare.json").read_text()) if r["trials"] == "test")
    assert (record["first"], record["second"], record["seed"]) == ("sv_mixer_none", "transformer_none", 0)
    assert record["difference"]["eer"] == pytest.approx(eer["sv_mixer_none"] - eer["transformer_none"])


def test_the_tables(done):
    lines = done[1].stdout.splitlines()
    cells = next(line for line in lines if line.startswith("| transformer_none |")).split(" | ")
    result = json.loads((done[0] / "exp/results/transformer_none.seed0.json").read_text())
    assert cells[1] == "1" and cells[2] == f"{100 * result['metrics']['test']['eer']:.2f}"
    assert any(line.startswith("| sv_mixer_none − transformer_none | test | 1 |") for line in lines)


def test_a_matrix_that_changed_after_its_results_is_refused(done, tmp_path):
    results, matrix = done[0] / "exp/results", yaml.safe_load((LOCAL / "study_smoke.yaml").read_text())
    words = ("all", LOCAL.parents[2] / "conf", tmp_path / "exp", results)
    assert ask("configs", LOCAL / "study_smoke.yaml", *words).returncode == 0
    matrix["runs"]["sv_mixer_none"]["change"]["lr"] = 1.0
    (tmp_path / "matrix.yaml").write_text(yaml.safe_dump(matrix))
    refused = ask("configs", tmp_path / "matrix.yaml", *words)
    assert refused.returncode == 1 and refused.stderr.startswith("Error: ") and "sv_mixer_none.seed0" in refused.stderr


class TestMatrix:
    def test_seeds_go_before_names(self):
        lines = ask("list", LOCAL / "study.yaml", "main", 0).stdout.splitlines()
        assert len(lines) == 20 and lines[0] == "sv_mixer_none 0 none" and lines[4] == "sv_mixer_none 1 none"

    def test_every_run_has_a_configuration_its_verb_takes(self, tmp_path):
        from svtk.config import from_mapping, load_config
        from svtk.train.distill import DistillConfig, kd_components
        from svtk.train.options import resolve

        done = ask("configs", LOCAL / "study.yaml", "all", LOCAL.parents[2] / "conf", tmp_path, tmp_path / "none")
        assert done.returncode == 0, done.stderr
        files = sorted(tmp_path.glob("*/config.yaml"))
        assert len(files) > 30
        for file in files:
            config = from_mapping(DistillConfig, load_config(file), path=file)
            resolve(config, file)
            kd_components(config, file)
            assert config.valid_every == config.max_epochs, file  # the last epoch's model is the result

    @pytest.mark.parametrize(
        ("run", "found"),
        [
            ({"groups": ["main"], "seedz": 2}, "'seedz'"),
            ({"groups": ["main"], "kd": "magic", "teacher": "whisper"}, "no kd 'magic'"),
            ({"groups": ["main"], "teacher": "whisper"}, "does not go with teacher whisper"),
            ({"groups": ["main"], "against": "nothing"}, "'nothing', which is no run"),
        ],
    )
    def test_a_wrong_one_is_one_error_line(self, tmp_path, run, found):
        (tmp_path / "m.yaml").write_text(yaml.safe_dump({"kds": {"none": []}, "runs": {"a": run}}))
        result = ask("list", tmp_path / "m.yaml", "all", 0)
        assert result.returncode == 1 and result.stderr.startswith("Error: ") and found in result.stderr

    def test_no_such_group(self):
        result = ask("list", LOCAL / "study.yaml", "mian", 0)
        assert result.returncode == 1 and "beyond" in result.stderr

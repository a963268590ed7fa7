"""egs/voxceleb/local/study.sh: its tiny version as a user runs it, killed and taken up again; its matrix and tables."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
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


def tables(matrix: Path, results: Path, *words: object) -> subprocess.CompletedProcess:
    """study_report.py MATRIX RESULTS [MARKDOWN_FILE [PAGE]]."""
    arguments = [sys.executable, LOCAL / "study_report.py", matrix, results, *words]
    return subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=200)


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
    assert {file.name for file in results.iterdir()} == {*("sv_mixer_none.seed0.json", "transformer_none.seed0.json")}
    assert "no --whisper: runs taught by whisper are left out" in again.stderr
    result = json.loads((results / "sv_mixer_none.seed0.json").read_text())
    assert result["attempts"] == 2 and result["cpu_seconds"] is None  # of the killed attempt nothing is known
    assert result["train"]["epochs"] == 2 and result["config"]["student"]["hidden_dim"] == 32
    assert result["size"]["parameters"] > 0 and result["device"].startswith("cpu")
    for trials in ("test", "test_same_sex"):
        metrics = result["metrics"][trials]
        low, high = metrics["interval"]["eer"]
        assert 0 <= low <= metrics["eer"] <= high <= 1
        assert all(len(result["draws"][trials][figure].split()) == 500 for figure in ("eer", "min_dcf"))
    assert len((results / "sv_mixer_none.seed0.json").read_bytes()) < 20_000


def test_a_teacher_and_what_it_teaches(done, wavlm_dir, tmp_path):
    """Its targets, its backend, how well it verifies and a student; a call after that makes nothing again."""
    words = ["bash", str(LOCAL / "study.sh"), "--data", f"{done[0]}/data", "--exp", str(tmp_path)]
    words += ["--smoke", "true", "--whisper", wavlm_dir, "--only", "sv_mixer_last"]
    first = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr
    results = {file.name: json.loads(file.read_text()) for file in (tmp_path / "results").iterdir()}
    assert set(results) == {"teacher_whisper.json", "sv_mixer_last.seed0.json"}
    assert all(0 <= result["metrics"]["test"]["eer"] <= 1 for result in results.values())
    assert all("hidden_mse" in epoch for epoch in results["sv_mixer_last.seed0.json"]["train"]["history"])
    assert "| whisper | 1 of 1 |" in first.stdout and not list(tmp_path.glob("runs.*"))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "results").iterdir()}
    again = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "results").iterdir()}


def test_the_tables(done):
    where, again = done
    lines = again.stdout.splitlines()
    results = {
        name: json.loads((where / f"exp/results/{name}.seed0.json").read_text())
        for name in ("sv_mixer_none", "transformer_none")
    }
    cells = next(line for line in lines if line.startswith("| transformer_none |")).split(" | ")
    eer = {name: 100 * result["metrics"]["test"]["eer"] for name, result in results.items()}
    assert cells[1] == "1 of 1" and cells[2] == f"{eer['transformer_none']:.2f}"
    cells = next(line for line in lines if line.startswith("| sv_mixer_none − transformer_none | test |")).split(" | ")
    assert cells[2] == "1, 1" and cells[3] == f"{eer['sv_mixer_none'] - eer['transformer_none']:.2f}"  # the first minus
    assert cells[6] == "one seed"  # which says nothing about seeds
    assert "2 of 3 runs are there. Missing, with their seeds: sv_mixer_last (0)." in lines


def test_the_report_needs_no_scores(done, tmp_path):
    shutil.copytree(done[0] / "exp/results", tmp_path / "results")
    (tmp_path / "R.md").write_text("before\n<!-- study: begin -->\nold\n<!-- study: end -->\nafter\n")
    options = ("--matrix", LOCAL / "study_smoke.yaml", "--results", tmp_path / "results", "--report", "true")
    options += ("--into", tmp_path / "R.md", "--page", tmp_path / "pages/study.html")
    again = subprocess.run(
        study(tmp_path / "none", *map(str, options)), env=ENVIRONMENT, capture_output=True, text=True, timeout=100
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout == done[1].stdout
    text = (tmp_path / "R.md").read_text()
    assert text.startswith("before\n") and text.endswith("-->\nafter\n") and "old" not in text
    assert again.stdout.strip() in text
    page = (tmp_path / "pages/study.html").read_text()
    assert "sv_mixer_none − transformer_none" in page and "Runs that are missing" in page
    assert 'data-series="transformer_none"' in page and page.count("<svg") == 3  # runs, cost, differences


def test_unequal_seeds_are_compared_by_their_means(done, tmp_path):
    result = json.loads((done[0] / "exp/results/sv_mixer_none.seed0.json").read_text())
    (tmp_path / "results").mkdir()
    for name, values in (("sv_mixer_none", (0.11, 0.13, 0.15)), ("transformer_none", (0.2,))):
        for seed, eer in enumerate(values):
            for metrics in result["metrics"].values():
                metrics["eer"] = eer
            changed = json.dumps({**result, "name": name, "seed": seed, "revision": f"{seed}123456789ab+"})
            (tmp_path / f"results/{name}.seed{seed}.json").write_text(changed)
    made = tables(LOCAL / "study_smoke.yaml", tmp_path / "results")
    assert made.returncode == 0, made.stderr
    rows = [line.strip("| ").split(" | ") for line in made.stdout.splitlines() if " − " in line and "| test |" in line]
    assert rows[0][2:4] == ["3, 1", "-7.00"] and rows[0][5:7] == ["-9.00 -7.00 -5.00", "open"]
    origins = [line for line in made.stdout.splitlines() if line.startswith("- ")]
    assert [line.split(", ")[0] for line in origins] == ["- 0123456789+", "- 1123456789+", "- 2123456789+"]
    assert origins[0].endswith(": sv_mixer_none 0, transformer_none 0")
    low, high = map(float, rows[0][4].split(" … "))
    assert (low + high) / 2 == pytest.approx(-7, abs=0.01)
    assert high - low >= 2 * 4.3027 * 2 * (1 + 1 / 3) ** 0.5 - 0.02  # Student's t with the 2 degrees of the three seeds


def test_changes_of_a_run_stand_beside_it_the_best_first(done, tmp_path):
    """And not among the differences, of which there would be too many to read."""
    matrix = yaml.safe_load((LOCAL / "study_smoke.yaml").read_text())
    result = json.loads((done[0] / "exp/results/sv_mixer_none.seed0.json").read_text())
    (tmp_path / "results").mkdir()
    (tmp_path / "results/sv_mixer_none.seed0.json").write_text(json.dumps(result))
    for name, gain in (("other", 0.0), ("worse", -0.02), ("better", 0.01)):
        matrix["runs"][name] = {"groups": ["main"], "seeds": 1}
        if name != "other":
            matrix["runs"][name]["against"] = "sv_mixer_none"
        changed = json.loads(json.dumps(result))
        for metrics in changed["metrics"].values():
            metrics["eer"] -= gain
        (tmp_path / f"results/{name}.seed0.json").write_text(json.dumps({**changed, "name": name}))
    del matrix["runs"]["transformer_none"], matrix["compare"]
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(matrix, sort_keys=False))
    made = tables(tmp_path / "m.yaml", tmp_path / "results", "", tmp_path / "page.html")
    assert made.returncode == 0, made.stderr
    table = [line.strip("| ").split(" | ") for line in made.stdout.splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in table] == ["run", "---", "sv_mixer_none", "better", "worse", "other"]
    change = table[0].index("change of EER, points: test")
    assert [cells[change] for cells in table[2:]] == ["–", "-1.00", "2.00", "–"]
    assert [cells[change + 4] for cells in table[2:]] == ["–", "sv_mixer_none", "sv_mixer_none", "–"]
    page = (tmp_path / "page.html").read_text()
    assert "change of EER" in page and page.index("better") < page.index("worse")


def test_results_of_other_trials_are_not_compared(done, tmp_path):
    shutil.copytree(done[0] / "exp/results", tmp_path / "results")
    file = tmp_path / "results/transformer_none.seed0.json"
    result = json.loads(file.read_text())
    result["metrics"]["test"]["num_targets"] += 1
    file.write_text(json.dumps(result))
    refused = tables(LOCAL / "study_smoke.yaml", tmp_path / "results")
    assert refused.returncode == 1 and "transformer_none.seed0 was measured with other trials" in refused.stderr


def test_another_corpus_wants_another_place(done, tmp_path):
    """Else its tables would mix both."""
    (tmp_path / "other").mkdir()
    words = study(done[0], "--matrix", str(LOCAL / "study_smoke.yaml"), "--corpus-dir", str(tmp_path / "other"))
    refused = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and refused.stdout == ""
    assert f"was made with {done[0]}/data/corpus, not with {tmp_path}/other. To mend: " in refused.stderr


def test_results_md_shows_the_results_that_are_kept():
    results = LOCAL.parent / "results/study"
    made = tables(LOCAL / "study.yaml", results)
    assert made.returncode == 0, made.stderr
    text = (LOCAL.parent / "RESULTS.md").read_text(encoding="utf-8")
    shown = text.split("<!-- study: begin -->")[1].split("<!-- study: end -->")[0]
    assert shown.strip() == made.stdout.strip(), (
        "local/study.sh --report true --results results/study --into RESULTS.md"
    )


def test_draws_of_other_scores_are_not_taken(done, tmp_path):
    shutil.copytree(done[0] / "exp/results", tmp_path / "results")
    file = tmp_path / "results/transformer_none.seed0.json"
    result = json.loads(file.read_text())
    del result["draws"]
    result["metrics"]["test"]["eer"] += 0.01
    file.write_text(json.dumps(result))
    said = ask("draws", tmp_path / "results", done[0] / "exp", done[0] / "data").stderr
    assert "transformer_none.seed0.json" in said and "another run's scores" in said
    assert json.loads(file.read_text()) == result


def test_a_file_without_marks_stays_as_it_is(done, tmp_path):
    (tmp_path / "R.md").write_text("none\n")
    refused = tables(LOCAL / "study_smoke.yaml", done[0] / "exp/results", tmp_path / "R.md")
    assert refused.returncode == 1 and "study: begin" in refused.stderr and refused.stdout == ""
    assert (tmp_path / "R.md").read_text() == "none\n"


def test_a_matrix_that_changed_after_its_results_is_refused(done, tmp_path):
    results, matrix = done[0] / "exp/results", yaml.safe_load((LOCAL / "study_smoke.yaml").read_text())
    words = ("all", LOCAL.parents[2] / "conf", tmp_path / "exp", results)
    assert ask("configs", LOCAL / "study_smoke.yaml", *words).returncode == 0
    shutil.copytree(LOCAL.parents[2] / "conf", tmp_path / "conf")
    with open(tmp_path / "conf/study_transformer.yaml", "a") as base:
        base.write("weight_decay: 0.5\n")
    refused = ask("configs", LOCAL / "study_smoke.yaml", "all", tmp_path / "conf", tmp_path / "exp", results)
    assert refused.returncode == 1 and "transformer_none.seed0" in refused.stderr
    matrix["runs"]["sv_mixer_none"]["change"]["lr"] = 1.0
    (tmp_path / "matrix.yaml").write_text(yaml.safe_dump(matrix))
    refused = ask("configs", tmp_path / "matrix.yaml", *words)
    assert refused.returncode == 1 and refused.stderr.startswith("Error: ") and "sv_mixer_none.seed0" in refused.stderr


@pytest.fixture(scope="module")
def statistics():
    spec = importlib.util.spec_from_file_location("study_statistics", LOCAL / "study_statistics.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


class TestIntervals:
    """study_statistics.py, with means over speakers in the place of error rates."""

    @pytest.mark.parametrize(("of_speakers", "of_seeds"), [(1.0, 0.0), (1.0, 0.2), (0.3, 0.2), (0.0, 0.2)])
    @pytest.mark.parametrize("num_seeds", [2, 5])
    def test_95_in_100_hold_the_true_mean(self, statistics, num_seeds, of_speakers, of_seeds):
        num_spks, repeats, truth = 40, 800, 0.7
        rng = np.random.default_rng(num_seeds)
        draws = rng.multinomial(num_spks, np.full(num_spks, 1 / num_spks), size=200) / num_spks
        held = 0
        for _ in range(repeats):
            shared = truth + of_speakers * rng.standard_normal(num_spks)  # a speaker's part, in every seed's model
            of_each = shared + of_seeds * rng.standard_normal((num_seeds, 1)) + 0.1 * rng.standard_normal(num_spks)
            found = statistics.estimate(of_each.mean(axis=1).tolist(), of_each @ draws.T, num_spks)
            held += found.low <= truth <= found.high
        assert 0.93 <= held / repeats <= 0.995

    @pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 5), (3, 5)])
    @pytest.mark.parametrize(("of_speakers", "of_seeds"), [(1.0, 0.2), (0.0, 0.2)])
    def test_95_in_100_hold_a_difference_of_unequal_seeds(self, statistics, first, second, of_speakers, of_seeds):
        """The variance between seeds is that of other rows."""
        num_spks, repeats, truth = 40, 800, 0.7
        rng = np.random.default_rng(first)
        draws = rng.multinomial(num_spks, np.full(num_spks, 1 / num_spks), size=200) / num_spks
        held = 0
        for _ in range(repeats):
            pooled = statistics.pool([*(of_seeds * rng.standard_normal((4, 5))), [0.3]])
            assert pooled.freedom == 16
            shared = rng.standard_normal(num_spks)  # how hard a speaker is for all systems
            systems = []
            for count, mean in ((first, truth), (second, 0.0)):
                of_system = mean + shared + of_speakers * rng.standard_normal(num_spks) / 2**0.5
                systems.append(of_system + of_seeds * rng.standard_normal((count, 1)))
            values = [system.mean(axis=1).tolist() for system in systems]
            found = statistics.difference_of_means(*values, [system @ draws.T for system in systems], num_spks, pooled)
            held += found.low <= truth <= found.high
        assert 0.93 <= held / repeats <= 0.995

    def test_one_seed_borrows_the_others_variance(self, statistics):
        same = np.full((1, 50), 0.1)  # speakers change nothing
        pooled = statistics.pool([[0.0, 0.2], [0.5], [1.0, 1.0, 1.0]])
        assert pooled == statistics.Pooled(pytest.approx(0.02 / 3), 3)
        found = statistics.estimate([0.1], same, 40, pooled)
        assert found.deviation is None and found.over_seeds
        assert found.high - found.mean == pytest.approx(3.1824 * (0.02 / 3) ** 0.5, rel=1e-4)  # 3 degrees
        alone = statistics.estimate([0.1], same, 40, statistics.pool([[0.5], []]))
        assert alone.high == pytest.approx(alone.mean) and not alone.over_seeds
        two = statistics.estimate([0.0, 0.2], np.full((2, 50), 0.1), 40, pooled)
        assert two.high - two.mean == pytest.approx(3.1824 * (0.02 / 3 / 2) ** 0.5, rel=1e-4)  # one rule for all

    def test_seeds_count(self, statistics):
        same = np.full((3, 50), 0.1)  # speakers change nothing
        found = statistics.estimate([0.0, 0.1, 0.2], same, 40)
        assert found.mean == pytest.approx(0.1) and found.deviation == pytest.approx(0.1)
        assert found.high - found.mean == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)  # Student's t, 2 degrees

    def test_draws_survive_their_words(self, statistics):
        draws = np.array([0.04262, np.nan, 0.0, 1.0])
        words = statistics.to_words(draws)
        assert words == "4262 - 0 100000"
        np.testing.assert_allclose(statistics.from_words(words), draws)


class TestMatrix:
    def test_seeds_go_before_names(self):
        lines = ask("list", LOCAL / "study.yaml", "main", 0).stdout.splitlines()
        assert len(lines) == 20 and lines[0] == "sv_mixer_none 0 none" and lines[4] == "sv_mixer_none 1 none"

    def test_a_run_of_no_seeds_is_made_where_asked_for(self):
        for seeds, expected in ((0, []), (1, ["sphereface2 0 none"])):
            assert ask("list", LOCAL / "study.yaml", "beyond", seeds, "sphereface2").stdout.splitlines() == expected

    def test_more_seeds_than_the_matrix_says(self):
        lines = ask("list", LOCAL / "study.yaml", "beyond", 2, "ema").stdout.splitlines()
        assert lines == ["ema 0 none", "ema 1 none"]

    @pytest.mark.parametrize(("matrix", "least", "crop"), [("study", 40, "1.5"), ("study_large", 8, "3.0")])
    def test_every_run_has_a_configuration_its_verb_takes(self, tmp_path, matrix, least, crop):
        from svtk.config import from_mapping, load_config
        from svtk.train.distill import DistillConfig, kd_components
        from svtk.train.options import resolve

        matrix, conf = LOCAL / f"{matrix}.yaml", LOCAL.parents[2] / "conf"
        done = ask("configs", matrix, "all", conf, tmp_path, tmp_path / "none")
        assert done.returncode == 0, done.stderr
        files = sorted(tmp_path.glob("*/config.yaml"))
        assert len(files) >= least
        for file in files:
            config = from_mapping(DistillConfig, load_config(file), path=file)
            resolve(config, file)
            kd_components(config, file)
            last_only = config.valid_every == config.max_epochs or config.average_last
            assert last_only, file  # nothing is chosen by the validation speakers
            run = json.loads(file.with_name("run.json").read_text())
            kinds = {"dvector" if loss["name"].startswith("embedding") else "whisper" for loss in run["kd"]}
            assert kinds == {teacher.removesuffix("_tuned") for teacher in run["teacher"].split("+")} - {"none"}, file
        assert ask("crop", matrix, conf).stdout == f"{crop}\n"

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

    def test_only_some_runs(self):
        lines = ask("list", LOCAL / "study.yaml", "main", 2, "transformer_none,sv_mixer_last").stdout.splitlines()
        assert [line.split()[:2] for line in lines] == [
            [name, seed] for seed in "01" for name in ("transformer_none", "sv_mixer_last")
        ]
        result = ask("list", LOCAL / "study.yaml", "main", 2, "sv_mixer_tuned")
        assert result.returncode == 1 and "group main has no run 'sv_mixer_tuned'" in result.stderr

    def test_no_such_group(self):
        result = ask("list", LOCAL / "study.yaml", "mian", 0)
        assert result.returncode == 1 and "beyond" in result.stderr

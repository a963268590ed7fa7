"""egs/voxceleb/run.sh, stage by stage, each in a process of its own, on a corpus of seconds.

The tests of :class:`TestStages` stand in the order of the stages, and each goes on from the files of the last.
"""

from __future__ import annotations

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

from run_sh import CONF, RUN, command, commands, run, run_stage, start
from svtk.kaldi.datadir import read_data_dir
from svtk.kaldi.tables import ScpReader, TableWriter, read_table, read_vectors
from svtk.kaldi.trials import read_scores, read_trials

pytestmark = pytest.mark.recipe

SYSTEMS = ("teacher", "sv_mixer", "transformer", "sv_mixer_linear")
TRIALS = ("test", "test_same_sex")
KINDS = ("", "_as_norm")  # of scores


def snapshot(where: Path) -> dict[str, int]:
    """File -> modification time, of all that matters: not logs, nor the report, which is of the systems asked for."""
    return {
        str(path.relative_to(where)): path.stat().st_mtime_ns
        for path in sorted(where.rglob("*"))
        if path.is_file() and "log" not in path.parts and not path.name.startswith("report.")
    }


@pytest.fixture(scope="class")
def where(tmp_path_factory):
    return tmp_path_factory.mktemp("recipe")


class TestStages:
    def test_0_corpus(self, where):
        run_stage(where, 0, "--corpus-opts", "--num-spks 9 --num-test-spks 4 --utts-per-spk 3")
        corpus = where / "data/corpus"
        assert len(list((corpus / "train").iterdir())) == 5 and len(list((corpus / "test").iterdir())) == 4
        assert len(list(corpus.rglob("t*/*/*.flac"))) == 27
        log = (where / "exp/log/make_demo_corpus.log").read_text().splitlines()
        assert log[0].startswith("# svtk make-demo-corpus --seed 0 --num-spks 9 ")
        assert log[-1].startswith("# ended with status 0 ")

    def test_1_data(self, where):
        run_stage(where, 1)
        sizes = {name: read_data_dir(where / "data" / name) for name in ("train", "valid", "test")}
        assert {name: len(data.utterances) for name, data in sizes.items()} == {"train": 9, "valid": 6, "test": 12}
        assert not set(sizes["train"].utt2spk.values()) & set(sizes["valid"].utt2spk.values())
        assert all((where / "data" / name / "cuts.jsonl.gz").exists() for name in sizes)
        assert len(read_trials(where / "data/trials/valid")) == 15
        assert len(read_trials(where / "data/trials/test")) == 66
        assert 12 < len(read_trials(where / "data/trials/test_same_sex")) < 66

    def test_2_noise(self, where):
        run_stage(where, 2)
        for kind in ("noise", "rirs"):
            assert read_data_dir(where / "data/noise" / kind).utterances

    def test_3_speech_activity(self, where):
        _, stderr = run_stage(where, 3)
        assert "all of each utterance is used" in stderr and commands(stderr) == []
        before = snapshot(where)
        for detector in ("energy", "kaldi"):
            _, stderr = run_stage(where, 3, "--vad", detector)
            assert commands(stderr) == ["detect-speech"] * 3
            for name, count in (("train", 9), ("valid", 6), ("test", 12)):
                decisions = [row.mean() for _, row in read_table(f"scp:{where}/data/{name}/vad.scp")]
                assert len(decisions) == count and 0.1 < np.mean(decisions) < 1
        assert commands(run_stage(where, 3, "--vad", "kaldi")[1]) == []
        for path in where.rglob("vad*"):  # the stages below go on without
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert snapshot(where) == before

    def test_4_teacher(self, where):
        _, stderr = run_stage(where, 4)
        assert commands(stderr) == ["train-teacher", "extract-targets"]
        assert (where / "exp/teacher/model.safetensors").exists()
        assert json.loads((where / "exp/teacher/train.json").read_text())["epochs"] == 2
        assert (where / "exp/targets/layer2.scp").read_text().count("\n") == 9
        assert (where / "exp/targets/utt2num_frames").read_text().count("\n") == 9

    def test_4_and_5_targets_of_some_utterances(self, where, tmp_path):
        """Two jobs, which share the disk; the student learns from all utterances."""
        shutil.copytree(where / "exp/teacher", tmp_path / "teacher")
        some = ["--exp", str(tmp_path), "--student", "sv_mixer", "--nj", "2", "--targets-max-gib", "BUDGET"]
        size = sum(f.stat().st_size for f in (where / "exp/targets").glob("*.ark"))
        some[-1] = f"{size / 2 / 2**30:.12f}"
        run_stage(where, 4, *some)
        assert 2 <= (tmp_path / "targets/layer2.scp").read_text().count("\n") < 9
        run_stage(where, 5, *some)
        log = (tmp_path / "log/distill_sv_mixer.log").read_text()
        assert "9 utterances" in log and (tmp_path / "sv_mixer/model.safetensors").exists()

    def test_4_and_5_the_layers_that_the_students_need(self, where, tmp_path):
        """Another KD loss makes the targets anew, another learning rate does not."""
        conf, low = tmp_path / "conf", tmp_path / "conf/demo_distill_low.yaml"
        shutil.copytree(CONF, conf)
        shutil.copytree(where / "exp/teacher", tmp_path / "teacher")
        base = "base: demo_distill_sv_mixer.yaml\n"
        low.write_text(base + "kd_losses: [{name: hidden_mse}]\n")
        some = ["--exp", str(tmp_path), "--conf-dir", str(conf), "--student", "transformer low"]
        assert commands(run_stage(where, 4, *some)[1]) == ["train-teacher", "extract-targets"]
        low.write_text(base + "lr: 0.01\nkd_losses: [{name: hidden_mse}]\n")
        assert commands(run_stage(where, 4, *some)[1]) == ["train-teacher"]
        low.write_text(base + "kd_losses: [{name: distilhubert}]\n")
        assert commands(run_stage(where, 4, *some)[1]) == ["train-teacher", "extract-targets"]
        run_stage(where, 5, *some)
        assert json.loads((tmp_path / "targets/targets.json").read_text())["layers"] == [1, 2]
        assert (tmp_path / "low/model.safetensors").exists()

    def test_4_and_5_from_shards(self, where, tmp_path):
        """Made once; the targets are still those of the utterances, wherever their audio lies."""
        some = ["--exp", str(tmp_path), "--student", "sv_mixer", "--shards", "true"]
        try:
            assert commands(run_stage(where, 4, *some)[1]) == ["make-shards", "train-teacher", "extract-targets"]
            assert commands(run_stage(where, 4, *some)[1]) == ["train-teacher"]
            run_stage(where, 5, *some)
        finally:
            shutil.rmtree(where / "data/train_shards", ignore_errors=True)
        note = (tmp_path / "sv_mixer/run.yaml").read_text()
        assert "data/train_shards" in note and (tmp_path / "sv_mixer/model.safetensors").exists()

    def test_5_a_killed_distillation_resumes(self, where):
        process = start(command(where, "--stage", "5", "--stop-stage", "5"), start_new_session=True)
        checkpoints = where / "exp/sv_mixer/checkpoints"
        try:
            deadline = time.monotonic() + 300
            while not list(checkpoints.glob("CKPT+*/CKPT.yaml")):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        assert not (where / "exp/sv_mixer/model.safetensors").exists()
        _, stderr = run_stage(where, 5)
        assert commands(stderr) == ["distill", "distill"]
        assert "resuming after epoch" in (where / "exp/log/distill_sv_mixer.log").read_text()
        assert "resuming" not in (where / "exp/log/distill_transformer.log").read_text()
        history = json.loads((where / "exp/sv_mixer/train.json").read_text())["history"]
        assert [record["epoch"] for record in history] == list(range(1, 31))
        assert (where / "exp/transformer/model.safetensors").exists()

    def test_6_another_backend(self, where):
        run_stage(where, 6)
        assert (where / "exp/sv_mixer_linear/model.safetensors").exists()

    def test_7_embeddings(self, where):
        run_stage(where, 7)
        utts = {u.utt for u in read_data_dir(where / "data/test").utterances}
        sizes = {}
        for name in SYSTEMS:
            keys, vectors = read_vectors(f"scp:{where}/exp/{name}/embeddings_test.scp")
            assert set(keys) == utts
            sizes[name] = vectors.shape[1]
        assert sizes == {"teacher": 16, "sv_mixer": 16, "transformer": 16, "sv_mixer_linear": 12}

    def test_the_number_of_jobs_changes_nothing(self, where, tmp_path):
        """Targets and embeddings of the teacher, made by one job above, again by two in another directory."""
        for name in ("teacher", "sv_mixer"):
            shutil.copytree(where / "exp" / name, tmp_path / name)
        for path in (tmp_path / "teacher").glob("embeddings_*"):
            path.unlink()
        two = ["--exp", str(tmp_path), "--student", "sv_mixer", "--backend", "none", "--nj", "2"]
        run_stage(where, 4, *two)
        _, stderr = run_stage(where, 7, *two)
        assert commands(stderr) == ["extract-embeddings"]
        for name in ("targets", "embeddings_teacher_test"):
            assert len(list((tmp_path / "log").glob(f"extract_{name}.?.log"))) == 2
        assert (where / "exp/teacher/embeddings_test.ark").exists()  # one job writes under the final name itself
        assert not (tmp_path / "teacher/embeddings_test.ark").exists()
        for name in ("targets/utt2num_frames", "targets/targets.json"):
            assert (tmp_path / name).read_text() == (where / "exp" / name).read_text().replace(
                str(where / "exp"), str(tmp_path)
            )
        for table in ("targets/layer2.scp", "teacher/embeddings_test.scp"):
            ours, others = (ScpReader(str(root / table)) for root in (tmp_path, where / "exp"))
            assert list(ours) == list(others)
            for key in ours:
                np.testing.assert_array_equal(ours[key], others[key])

    def test_8_scores(self, where):
        run_stage(where, 8)
        for name in SYSTEMS:
            for trials in TRIALS:
                listed = read_trials(where / "data/trials" / trials)
                scores = read_scores(where / "exp" / name / f"eval_{trials}" / "scores")
                assert (scores.enroll, scores.test) == (listed.enroll, listed.test)

    def test_9_metrics(self, where):
        stdout, stderr = run_stage(where, 9)
        assert commands(stderr) == ["compute-metrics"] * 8 + ["report"] * 3
        for name in SYSTEMS:
            for trials in TRIALS:
                metrics = json.loads((where / "exp" / name / f"eval_{trials}" / "metrics.json").read_text())
                assert 0 <= metrics["eer"] <= 1 and {"0.05", "0.01"} <= set(metrics["min_dcf"])
                low, high = metrics["interval"]["eer"]
                assert 0 <= low <= high <= 1 and metrics["confidence"]["num_spks"] == 4
        table = [line.split()[0] for line in stdout.splitlines() if "test" in line]
        assert table == list(SYSTEMS) * 2  # though no sizes are known yet
        page = (where / "exp/report.html").read_text()
        assert all(name in page for name in (*SYSTEMS, *TRIALS)) and "<svg" in page
        assert (where / "exp/report.md").read_text().count("\n|") > 8

    def test_a_number_is_traced_to_the_training_data(self, where):
        """From metrics.json to the corpus, each step as it was; what was changed is told."""

        def trace(*words: str) -> dict:
            words = [sys.executable, "-m", "svtk", "trace", "--json", *words]
            return json.loads(subprocess.run(words, check=True, capture_output=True, text=True, cwd=RUN.parent).stdout)

        place = where / "exp/sv_mixer_linear/eval_test"
        chain = trace(str(place / "metrics.json"))
        verbs = []
        for name in ("scores", "enroll", "model", "student", "targets", "teacher"):
            verbs.append(chain["record"]["command"][1])
            (chain,) = chain["inputs"][name]
            assert chain["state"] in ("unchanged", "")  # "": run.yaml has its own way to tell
        verbs.append(chain["record"]["command"][1])
        assert verbs[:4] == ["compute-metrics", "score", "extract-embeddings", "train-backend"]
        assert verbs[4:] == ["distill", "extract-targets", "train-teacher"]
        assert chain["run"]["seed"] == 0 and chain["inputs"]["train"][0]["path"].endswith("data/train")
        assert trace(str(place))["record"] is None

    def test_10_table(self, where):
        stdout, _ = run_stage(where, 10)
        assert stdout == (where / "exp/report.txt").read_text()
        assert stdout.startswith("Synthetic speech")
        rows = [line.split() for line in stdout.splitlines()]
        for name in SYSTEMS:
            size = json.loads((where / "exp" / name / "size.json").read_text())
            assert size["parameters"] > 0 and size["macs"] > 0
            assert [row[1] for row in rows if row[:1] == [name]] == list(TRIALS)
        assert all("-" not in row for row in rows if row[:1] and row[0] in SYSTEMS)

    def test_10_export_and_speed(self, where):
        options = ["--student", "sv_mixer", "--backend", "none", "--export", "true"]
        stdout, stderr = run_stage(where, 10, *options)
        assert commands(stderr) == ["export", "export", "benchmark", *["report"] * 3]
        assert "transformer" not in (where / "exp/report.html").read_text()  # another choice of systems is another page
        assert stdout == (where / "exp/report.txt").read_text()
        names = ["teacher", "sv_mixer", "sv_mixer/onnx", "sv_mixer/int8"]
        rows = [line.split() for line in (where / "exp/benchmark.txt").read_text().splitlines()[1:]]
        assert [row[0] for row in rows] == [str(where / "exp" / name) for name in names]
        for name, precision in zip(names, ("float32", "float32", "float32", "int8"), strict=True):
            [result] = json.loads((where / "exp" / name / "benchmark.json").read_text())["results"]
            assert result["rtf"] > 0 and result["precision"] == precision
        before = snapshot(where)
        _, stderr = run_stage(where, 10, *options)
        assert commands(stderr) == ["report"] and snapshot(where) == before
        program, verb, *files = stderr.splitlines()[-1].split("two recordings of one speaker: ")[1].split()
        assert verb == "verify" and all(Path(file).exists() for file in (program, *files))  # as seen from here
        assert len({Path(file).parent for file in files[1:]}) == 1 and len(files) == 3

    def test_normalised_and_calibrated_scores(self, where, tmp_path):
        """Beside those of above, in another directory; the teacher's further embeddings are made up."""
        for name in ("teacher", "sv_mixer"):
            shutil.copytree(where / "exp" / name, tmp_path / name)
        rng = np.random.default_rng(0)
        for name in ("train", "valid"):
            to = tmp_path / f"teacher/embeddings_{name}"
            with TableWriter(f"ark,scp:{to}.ark,{to}.scp") as writer:
                for u in read_data_dir(where / "data" / name).utterances:
                    writer.write(u.utt, rng.normal(size=16).astype(np.float32))
        options = ["--exp", str(tmp_path), "--student", "sv_mixer", "--backend", "none"]
        options += ["--score-norm", "as-norm", "--calibrate", "true"]
        status, stdout, stderr = run(where, "--stage", "7", "--stop-stage", "9", *options)
        assert status == 0, stderr
        of_a_system = ["score", *["normalize-scores"] * 3, *["calibrate"] * 6]  # lists: valid, and those of above
        expected = ["extract-embeddings"] * 2 + of_a_system * 2 + ["compute-metrics"] * 12 + ["report"] * 3
        assert sorted(commands(stderr)) == sorted(expected)
        rows = [line.split()[:2] for line in stdout.splitlines()[-8:]]
        assert sorted(rows) == sorted([n, t + kind] for n in ("teacher", "sv_mixer") for t in TRIALS for kind in KINDS)
        for name in ("teacher", "sv_mixer"):
            for kind in KINDS:
                calibration = json.loads((tmp_path / name / f"valid{kind}/calibration").read_text())
                scores, llrs = (read_scores(tmp_path / name / f"eval_test{kind}" / f) for f in ("scores", "llrs"))
                expected = calibration["scores"][0]["weight"] * scores.scores + calibration["offset"]
                np.testing.assert_allclose(llrs.scores, expected, rtol=1e-5, atol=1e-5)
            own = (tmp_path / name / "calibration.json").read_bytes()
            assert own == (tmp_path / name / "valid/calibration").read_bytes()
        status, _, stderr = run(where, "--stage", "7", "--stop-stage", "9", *options)
        assert status == 0 and commands(stderr) == ["report"], stderr
        figures = [json.loads((tmp_path / f"teacher/eval_test/metrics{of}.json").read_text()) for of in ("", "_llrs")]
        assert figures[0]["eer"] == pytest.approx(figures[1]["eer"]) and figures[0]["cllr"] != figures[1]["cllr"]

    def test_a_rerun_changes_nothing(self, where):
        before = snapshot(where)
        status, stdout, stderr = run(where, "--corpus-opts", "--num-spks 9 --num-test-spks 4 --utts-per-spk 3")
        assert status == 0, stderr
        assert snapshot(where) == before
        assert stdout == (where / "exp/report.txt").read_text()
        made_again = {"make-demo-corpus", "train-teacher", "distill", "train-backend", "report"}
        assert set(commands(stderr)) == made_again  # these see for themselves that they are done

    def test_what_hangs_on_a_changed_file_is_made_again(self, where):
        trials = where / "data/trials/test"
        lines = trials.read_text().splitlines(keepends=True)
        trials.write_text("".join(lines[:40]))
        status, stdout, stderr = run(where, "--stage", "7", "--stop-stage", "9")
        assert status == 0, stderr
        assert commands(stderr) == ["score"] * 4 + ["compute-metrics"] * 4 + ["report"] * 3
        assert all(len(read_scores(where / "exp" / name / "eval_test/scores")) == 40 for name in SYSTEMS)

    @pytest.mark.parametrize(
        ("options", "name"),
        [
            (["--student", "sv_mixer no_such"], "distill_no_such"),
            (["--backend", "no_such"], "backend_no_such"),
            (["--conf-dir", "no_such"], "teacher"),
        ],
    )
    def test_what_has_no_configuration_is_refused_before_hours_are_spent(self, where, options, name):
        status, _, stderr = run(where, "--stage", "4", "--stop-stage", "6", *options)
        assert status == 1
        assert f"demo_{name}.yaml: no such configuration" in stderr.splitlines()[-1]
        assert commands(stderr) == []

    def test_another_setting_in_the_same_place_is_refused(self, where):
        status, _, stderr = run(where, "--stage", "5", "--stop-stage", "5", "--seed", "7")
        assert status == 1
        assert "Error: " in stderr and "found a difference in seed" in stderr

    def test_large_margin_fine_tuning_and_a_further_evaluation_set(self, where, tmp_path):
        """A system of its own; trials with data of their own, on which the systems are tested."""
        wavs = sorted((where / "data/corpus/test").rglob("*.flac"))
        (tmp_path / "VoxSRC2023_val").mkdir()
        for name, path in zip("abc", wavs[:3], strict=True):
            (tmp_path / f"VoxSRC2023_val/{name}.flac").symlink_to(path)
        (tmp_path / "VoxSRC2023_val.txt").write_text("1 a.wav b.wav\n0 a.wav c.wav\n")
        _, stderr = run_stage(where, 1, "--eval-sets", f"voxsrc23={tmp_path}")
        assert commands(stderr) == ["prepare-eval-set"]
        for name in TRIALS:
            (where / "data/trials" / name).unlink()
        options = ["--student", "sv_mixer", "--backend", "none", "--lmft", "true"]
        status, stdout, stderr = run(where, "--stage", "6", "--stop-stage", "9", *options)
        assert status == 0, stderr
        verbs = ("extract-embeddings", "score", "compute-metrics")
        assert commands(stderr) == ["fine-tune", *(verb for verb in verbs for _ in range(3)), *["report"] * 3]
        assert json.loads((where / "exp/sv_mixer_lmft/train.json").read_text())["epochs"] == 1
        rows = [line.split() for line in stdout.splitlines()]
        assert [row[0] for row in rows if row[1:2] == ["voxsrc23"]] == ["teacher", "sv_mixer", "sv_mixer_lmft"]

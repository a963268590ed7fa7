"""svtk extract-targets, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from svtk.kaldi.tables import ScpReader


def test_as_a_user_runs_it(wavlm_dir, corpus, tmp_path, monkeypatch):
    words = ["extract-targets", "--teacher", wavlm_dir, "--layers=0,last", "--min-duration", "0.5", corpus.train, "out"]
    done = subprocess.run([sys.executable, "-m", "svtk", *words], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "teacher targets: 16 utterances, layers [0, 2], 0.00 GiB (free " in done.stderr
    assert "Warning" not in done.stderr and "frozen" not in done.stderr
    monkeypatch.chdir(tmp_path)
    assert {len(ScpReader(f"out/layer{layer}.scp")) for layer in (0, 2)} == {16}
    assert json.loads((tmp_path / "out/targets.json").read_text())["layers"] == [0, 2]


def test_a_teacher_described_by_a_yaml_file(svtk_main, wavlm_dir, corpus, tmp_path):
    (tmp_path / "teacher.yaml").write_text(f"name: wavlm\nsource: {wavlm_dir}\n")
    words = ["--layers", "last", "--min-duration", "0.5", corpus.train]
    for name, teacher in (("a", tmp_path / "teacher.yaml"), ("b", wavlm_dir)):
        done = svtk_main("extract-targets", "--teacher", teacher, *words, tmp_path / name)
        assert (done.code, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "a/layer2.ark").read_bytes() == (tmp_path / "b/layer2.ark").read_bytes()
    infos = [json.loads((tmp_path / name / "targets.json").read_text()) for name in "ab"]
    assert infos[0]["weights"] == infos[1]["weights"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--teacher", "/no/such"], 1, "/no/such: no such directory, and not to be had from the hub"),
        (["--teacher", "corpus"], 1, "no readable config.json"),
        (["--teacher", "/no/such.yaml"], 1, "/no/such.yaml: cannot read configuration: No such file or directory"),
        (["--teacher", "wavlm", "--layers", "7"], 1, "no such layer; found '7'; expected 0 ... 2, last or all"),
        (["--teacher", "wavlm", "--compress", "zip"], 2, "'zip' is not one of 'none', 'auto', 'two-byte'"),
        (["--teacher", "wavlm", "--min-duration", "0"], 2, "--min-duration"),
        ([], 2, "Missing option '--teacher'"),
    ],
)
def test_wrong_arguments(svtk_main, wavlm_dir, corpus, tmp_path, options, code, message):
    given = {"wavlm": wavlm_dir, "corpus": corpus.train}
    done = svtk_main("extract-targets", *(given.get(x, x) for x in options), corpus.train, tmp_path / "out")
    assert (done.code, done.stdout) == (code, "") and message in done.stderr
    assert code == 2 or (done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1)
    assert not os.path.exists(tmp_path / "out/targets.json")

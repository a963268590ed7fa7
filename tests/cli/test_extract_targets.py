"""svtk extract-targets, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

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


@pytest.fixture
def distill_config(tmp_path):
    """A configuration of distill with so long crops and these KD losses, a YAML file."""

    def write(crop_duration, *kd_losses):
        file = tmp_path / f"distill{len(list(tmp_path.glob('distill*')))}.yaml"
        small = {"name": "sv_mixer", "num_layers": 1, "hidden_dim": 8, "group_dim": 4}
        config = {"crop_duration": crop_duration, "student": small, "kd_losses": list(kd_losses)}
        file.write_text(yaml.safe_dump(config))
        return f"--distill-config={file}"

    return write


@pytest.mark.parametrize(
    ("kd_losses", "layers"),
    [
        ([{"name": "hidden_mse"}], [2]),
        ([{"name": "distilhubert"}], [1, 2]),
        (
            [{"name": "hidden_mse", "teacher_layer": 0, "normalize": "corpus"}, {"name": "cosine", "weight": 0.5}],
            [0, 2],
        ),
        ([{"name": "embedding_cosine"}], []),
        ([], []),
    ],
)
def test_what_a_configuration_needs(svtk_main, wavlm_dir, corpus, tmp_path, distill_config, kd_losses, layers):
    words = ["extract-targets", "--teacher", wavlm_dir, distill_config(0.5, *kd_losses), corpus.train, tmp_path / "out"]
    done = svtk_main(*words, "--print-options")
    options = f"--layers {','.join(map(str, layers)) or 'none'} --min-duration 0.5\n"
    assert (done.code, done.stdout) == (0, options) and not (tmp_path / "out").exists()
    done = svtk_main(*words)
    assert (done.code, done.stdout) == (0, ""), done.stderr
    info = json.loads((tmp_path / "out/targets.json").read_text())
    assert (info["layers"], info["min_duration"]) == (layers, 0.5)
    done = svtk_main("extract-targets", "--teacher", wavlm_dir, *options.split(), corpus.train, tmp_path / "out")
    assert (done.code, done.stderr) == (0, "")  # others in the same place would be refused


def test_what_several_configurations_need(svtk_main, wavlm_dir, corpus, tmp_path, distill_config):
    first, second = distill_config(0.5, {"name": "cosine", "teacher_layer": 0}), distill_config(0.5, {"name": "cosine"})
    longer = distill_config(1.0)
    words = [
        "extract-targets",
        "--teacher",
        wavlm_dir,
        "--print-options",
        corpus.train,
        tmp_path / "out",
        first,
        second,
    ]
    assert svtk_main(*words).stdout == "--layers 0,2 --min-duration 0.5\n"
    done = svtk_main(*words, longer)
    assert (done.code, done.stdout) == (1, "") and "crops of several durations" in done.stderr
    assert all(file.removeprefix("--distill-config=") in done.stderr for file in (first, longer))


@pytest.mark.parametrize("option", ["--layers=last", "--min-duration=0.5"])
def test_a_configuration_and_what_it_says(svtk_main, wavlm_dir, corpus, tmp_path, distill_config, option):
    words = ["--teacher", wavlm_dir, distill_config(0.5), option, corpus.train, tmp_path / "out"]
    done = svtk_main("extract-targets", *words)
    assert done.code == 2 and f"{option.partition('=')[0]} is what --distill-config says" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--teacher", "/no/such"], 1, "/no/such: no such directory, and not to be had from the hub"),
        (["--teacher", "corpus"], 1, "no readable config.json"),
        (["--teacher", "/no/such.yaml"], 1, "/no/such.yaml: cannot read configuration: No such file or directory"),
        (["--teacher", "wavlm", "--layers", "7"], 1, "no such layer; found '7'; expected 0 ... 2, last, all or none"),
        (["--teacher", "wavlm", "--distill-config", "/no/such"], 2, "'/no/such'"),
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

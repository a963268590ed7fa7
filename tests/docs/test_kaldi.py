"""docs/kaldi.md, every block of shell in its order, as a new user would type it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest

from svtk.cli.main import svtk
from svtk.kaldi.datadir import read_data_dir

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/kaldi.md").read_text()
PROGRAMS = (
    *("copy-vector", "ivector-mean", "ivector-subtract-global-mean", "ivector-normalize-length"),
    *("ivector-compute-dot-products", "ivector-compute-plda", "ivector-copy-plda", "ivector-plda-scoring"),
)


def blocks(section: int) -> list[str]:
    body = re.search(rf"^## {section}\. .*?(?=^## )", PAGE + "\n## ", re.M | re.S)[0]
    return re.findall(r"^```sh\n(.*?)^```", body, re.M | re.S)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, corpus, student_dir):
    """A directory of a Kaldi recipe: pipes in wav.scp, segments in data/train, a trained model, Kaldi on PATH."""
    place = tmp_path_factory.mktemp("recipe")
    (place / "exp").mkdir()
    shutil.copytree(student_dir, place / "exp/sv_mixer")
    for name, source in (("train", corpus.train), ("test", corpus.valid)):
        (place / "data" / name).mkdir(parents=True)
        utterances = read_data_dir(source).utterances

        def write(file, lines, name=name):
            (place / "data" / name / file).write_text("".join(line + "\n" for line in lines))

        write("wav.scp", (f"{u.utt}.rec cat {u.wav} |" for u in utterances))
        write("segments", (f"{u.utt} {u.utt}.rec 0.05 {u.duration:.2f}" for u in utterances))
        write("utt2spk", (f"{u.utt} {u.spk}" for u in utterances))
        spks = sorted({u.spk for u in utterances})
        write("spk2utt", (f"{spk} {' '.join(u.utt for u in utterances if u.spk == spk)}" for spk in spks))
    shutil.copy(corpus.trials, place / "data/test/trials")
    (place / "bin").mkdir()
    for program in (*PROGRAMS, "svtk"):
        script = f"{Path(__file__).with_name('kaldi_tools.py')} {program}" if program != "svtk" else "-m svtk"
        executable(place / "bin" / program, f'exec {sys.executable} {script} "$@"')
    executable(place / "bin/run.pl", f'exec {ROOT}/utils/run_local.sh "$@"')
    return place


def executable(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def run(block: str, place: Path) -> str:
    """Run one block; gives its stdout."""
    path = f"{place / 'bin'}:{ROOT / 'bin'}:{ROOT / 'utils'}:{os.environ['PATH']}"
    words = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(words, cwd=place, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def vectors(rspecifier: str) -> dict[str, np.ndarray]:
    with kaldi_native_io.SequentialFloatVectorReader(rspecifier) as reader:
        return {key: np.array(vector) for key, vector in reader}


def test_embeddings_for_the_plda_you_have(recipe, monkeypatch):
    extract, *rest = blocks(1)
    assert run(extract, recipe) == ""
    made = [file.name for file in (recipe / "exp/test").iterdir() if file.suffix != ".json"]
    assert sorted(made) == ["embedding.ark", "embedding.scp"]
    stdout = run("".join(rest), recipe)  # one shell, since a block goes on with the variables of those before
    assert re.findall(r"^(EER(?= +\d)|minDCF [\d.]+|trials)", stdout, re.M) == [
        *("EER", "minDCF 0.01", "trials"),
        *("EER", "minDCF 0.05", "minDCF 0.01", "minDCF 0.001", "trials"),
    ]
    monkeypatch.chdir(recipe)
    scores = [np.loadtxt(f"exp/test/{name}", usecols=2) for name in ("dot_products", "scores")]
    np.testing.assert_allclose(scores[0], scores[1] * 6, rtol=1e-3, atol=1e-4)  # embeddings of 6
    ratios = [np.loadtxt(f"exp/test/{name}", usecols=2) for name in ("plda_scores", "svtk_plda_scores")]
    np.testing.assert_allclose(ratios[0], ratios[1], rtol=1e-4, atol=1e-4)
    means = [vectors(f"ark:exp/train/{name}.ark") for name in ("spk", "svtk_spk")]
    assert list(means[0]) == list(means[1]) == ["s0", "s1", "s2", "s3"]
    for spk in means[0]:
        np.testing.assert_allclose(means[0][spk], means[1][spk], rtol=1e-5, atol=1e-7)
    counts = [Path(f"exp/train/{name}").read_text() for name in ("num_utts", "svtk_num_utts")]
    assert counts[0] == counts[1] == "s0 4 \ns1 4 \ns2 4 \ns3 4 \n"


def test_someone_elses_embeddings(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    their = recipe / "their"
    their.mkdir()
    rng = np.random.default_rng(3)
    speakers = {f"spk{n}": rng.standard_normal(8) for n in range(4)}
    rows = {f"{spk}-{i}": row + 0.1 * rng.standard_normal(8) for spk, row in speakers.items() for i in range(3)}
    with kaldi_native_io.FloatVectorWriter("ark,scp:their/enroll.ark,their/enroll.scp") as writer:
        for utt in (utt for utt in rows if utt[-1] != "2"):
            writer.write(utt, rows[utt].astype(np.float32))
    text = "".join(f"{u}  [ {' '.join(f'{x:.5f}' for x in row)} ]\n" for u, row in rows.items() if u[-1] == "2")
    (their / "test.txt.gz").write_bytes(gzip.compress(text.encode()))
    (their / "spk2utt").write_text("".join(f"{spk} {spk}-0 {spk}-1\n" for spk in speakers))
    pairs = [(a, b) for a in speakers for b in speakers]
    trials = "".join(f"{a} {b}-2 {'target' if a == b else 'nontarget'}\n" for a, b in pairs)
    (their / "trials").write_text(trials)
    files, streams = blocks(2)
    assert json.loads(run(files, recipe))["eer"] == 0
    for (a, b), line in zip(pairs, (their / "scores").read_text().splitlines(), strict=True):
        mean, other = (rows[f"{a}-0"] + rows[f"{a}-1"]) / 2, rows[f"{b}-2"]
        cosine = mean @ other / np.linalg.norm(mean) / np.linalg.norm(other)
        assert line.split()[:2] == [a, f"{b}-2"] and float(line.split()[2]) == pytest.approx(cosine, abs=1e-4)
    assert run(streams, recipe).split()[:3] == ["EER", "0.00", "%"]


def test_a_job_array(recipe, monkeypatch):
    run("".join(blocks(3)), recipe)
    monkeypatch.chdir(recipe)
    one, two = (vectors(f"scp:exp/{name}/embedding.scp") for name in ("array", "merged"))
    assert list(one) == list(two) == [line.split()[0] for line in Path("data/train/utt2spk").read_text().splitlines()]
    for utt in one:
        np.testing.assert_array_equal(one[utt], two[utt])
    assert len(list(Path("exp/array/log").glob("extract.[12].log"))) == 2


def test_the_table_names_verbs_and_scripts_that_are_there():
    table = PAGE.split("## Which verb")[1].split("## ")[0]
    names = {
        word for row in re.findall(r"^\| (`.*?`) \|", table, re.M) for word in re.findall(r"`([^`\s]+)[^`]*`", row)
    }
    scripts = {name for name in names if name.endswith(".sh")}
    assert len(scripts) == 4 and len(names) > 12
    assert names - scripts <= set(svtk.list_commands(None))
    assert all((ROOT / name).exists() or (ROOT / "utils" / name).exists() for name in scripts)

"""What egs/voxceleb/run.sh says to what it cannot do."""

from __future__ import annotations

import subprocess

import pytest

from run_sh import RUN, run

pytestmark = pytest.mark.recipe


@pytest.mark.parametrize(
    ("corpus", "options", "found"),
    [
        ("voxceleb", ["--stage", "0"], "--corpus voxceleb needs --vox1 DIR"),
        ("voxceleb", ["--stage", "1"], "--corpus voxceleb needs --vox1 DIR and --vox2 DIR"),
        ("voxceleb", ["--vox1", "/no/such"], "--vox1 /no/such: no such directory"),
        ("folder", [], "--corpus folder needs --corpus-dir ROOT"),
        ("folder", ["--corpus-dir", "/no/such"], "/no/such/train: no such directory. To mend: lay the corpus out as"),
        ("demo", ["--stage", "1"], "has no train and test folders. To mend: run stage 0 first (--stage 0)"),
        ("demo", ["--stage", "4"], "data/train/wav.scp is missing. To mend: run stage 1 first (--stage 1)"),
        ("demo", ["--stage", "5"], "data/train/wav.scp is missing. To mend: run stage 1 first (--stage 1)"),
        ("demo", ["--stage", "8"], "no trial lists in"),
        ("demo", ["--stage", "10"], "exp/teacher/model.safetensors is missing. To mend: run stage 4 first (--stage 4)"),
        ("demo", ["--teacher", "./no/such"], "--teacher ./no/such: no such directory"),
        ("demo", ["--eval-sets", "vcmix=no/such"], "--eval-sets: no/such: no such directory"),
        ("demo", ["--stage", "6", "--lmft", "true"], "data/train/wav.scp is missing. To mend: run stage 1 first"),
    ],
)
def test_what_is_missing_is_named(tmp_path, corpus, options, found):
    status, stdout, stderr = run(tmp_path, *options, corpus=corpus)
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert (status, stdout) == (1, "")
    assert len(errors) == 1 and found in errors[0]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--corpus", "timit"], "no corpus 'timit'; expected demo, folder or voxceleb"),
        (["--stage", "four"], "--stage and --stop-stage are whole numbers"),
        (["--no-such", "1"], "no option --no-such"),
        (["exp"], "found 'exp', expected options only"),
        (["--student", ""], "--student needs at least one name"),
        (["--nj", "0"], "--nj and --num-threads are whole numbers of at least 1"),
        (["--num-threads", "all"], "--nj and --num-threads are whole numbers of at least 1"),
        (["--cmd", ""], "option --cmd is empty"),
        (["--eval-sets", "voxsrc23"], "--eval-sets: found 'voxsrc23', expected NAME=DIR with NAME one of voxsrc22"),
        (["--eval-sets", "voxsrc23=. sitw=."], "--eval-sets: found 'sitw=.'"),
        (["--lmft", "yes"], "--lmft"),
        (["--score-norm", "s-norm"], "--score-norm: found 's-norm', expected none or as-norm"),
    ],
)
def test_wrong_usage(tmp_path, options, found):
    status, stdout, stderr = run(tmp_path, *options)
    assert (status, stdout) == (2, "")
    assert stderr.startswith("Error: ") and found in stderr and stderr.count("\n") == 1


def test_help_names_every_option():
    done = subprocess.run(["bash", str(RUN), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for name in ("stage", "stop-stage", "corpus", "corpus-dir", "teacher", "student", "vox1", "seed", "device"):
        assert f"\n  --{name} " in done.stdout

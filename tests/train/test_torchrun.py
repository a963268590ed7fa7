"""bin/run_distributed.sh, as a user runs it: torchrun on two machines, which here are one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from svtk.models.speaker_model import load_model

RUN = Path(__file__).resolve().parents[2] / "bin/run_distributed.sh"
CONFIG = {
    **{"crop_duration": 0.5, "batch_size": 8, "max_epochs": 1, "kd_losses": []},
    "frontend": {"name": "waveform_conv", "channels": 6},
    "student": {"name": "sv_mixer", "num_layers": 1, "hidden_dim": 8, "group_dim": 4},
    "backend": {"name": "linear", "embedding_dim": 6},
}
#: starts what Slurm's would on every node, and says so
SRUN = """#!/usr/bin/env bash
echo "srun $*" > "$(dirname "$0")/asked"
while [[ $1 == --* ]]; do
  case $1 in --*=*) shift ;; --nodes) nodes=$2; shift 2 ;; *) shift 2 ;; esac
done
for ((i = 1; i < nodes; i++)); do "$@" & done
"$@" && wait
"""


def run(*words, **environment):
    environment = {**os.environ, "SVTK_PYTHON": sys.executable, **environment}
    return subprocess.run([str(RUN), *words], env=environment, capture_output=True, text=True, timeout=300)


def test_two_nodes_of_slurm(corpus, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/bash\necho localhost\nsleep 0.2\necho other\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    done = run(
        *("--num-nodes", "2", str(RUN.parent / "svtk"), "distill", "--config", str(tmp_path / "config.yaml")),
        *("--train", corpus.train, "--valid", corpus.valid, "--valid-trials", corpus.trials, str(tmp_path / "m")),
        PATH=f"{programs}:{os.environ['PATH']}",
        SLURM_JOB_ID=str(os.getpid()),
        SLURM_JOB_NODELIST="localhost,other",
        SLURM_CPUS_PER_TASK="3",
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    asked = (programs / "asked").read_text()
    assert asked.startswith("srun --nodes 2 --ntasks 2 --ntasks-per-node 1 --kill-on-bad-exit=1 --cpus-per-task 3 ")
    assert "16 utterances of 4 speakers, 2 steps an epoch, 2 process(es)" in done.stderr
    assert done.stderr.count("epoch 1/1: sv ") == 1  # the first process's
    assert json.loads((tmp_path / "m/train.json").read_text())["epochs"] == 1
    assert load_model(tmp_path / "m").embedding_dim == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "found no command"),
        (("--ngpu", "0", "svtk"), "whole numbers of at least 1"),
        (("--num-nodes", "2", "svtk"), "need a Slurm job, or --master HOST:PORT. To mend: sbatch or salloc --nodes 2"),
    ],
)
def test_wrong_usage(words, message):
    environment = {"SLURM_JOB_ID": ""}
    done = run(*words, **environment)
    assert done.returncode != 0 and message in done.stderr

"""``--no-pipes``: no command that stands in data is run, whatever file it stands in, in this process or a worker."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from svtk.cli.main import svtk

#: verbs that read the text files of a data directory, but neither run nor write what wav.scp names
TEXT_ONLY = {"fix-data", "make-trials"}


@pytest.fixture(autouse=True)
def pipes_again(monkeypatch):
    monkeypatch.setenv("SVTK_NO_PIPES", "")  # the option sets it for the process; this puts it back


@pytest.fixture
def trap(corpus, tmp_path):
    """A copy of the corpus' validation directory whose first wav.scp line is a command that leaves a trace."""
    data = tmp_path / "data"
    shutil.copytree(corpus.valid, data, ignore=shutil.ignore_patterns("cuts*"))
    (data / "utt2dur").unlink()
    utt, wav = (data / "wav.scp").read_text().splitlines()[0].split(None, 1)
    command = f"touch {tmp_path}/ran; cat {shlex.quote(wav)} |"
    rest = (data / "wav.scp").read_text().splitlines()[1:]
    (data / "wav.scp").write_text("\n".join([f"{utt} {command}", *rest, ""]))
    return data


def takes_data(parameter: click.Parameter) -> bool:
    """Whether it names a table, a data directory or a recording to read, by what the user is told of it."""
    name = f"{parameter.human_readable_name} {parameter.metavar}"
    named = re.search(r"RSPECIFIER|DATA_DIR|\.wav", name) or "data directory" in (
        getattr(parameter, "help", None) or ""
    )
    is_output = isinstance(parameter.type, click.Path) and not parameter.type.exists
    return bool(named) and not is_output


def test_every_verb_that_reads_audio_or_tables_has_it():
    context = click.Context(svtk)
    verbs = {name: svtk.get_command(context, name).params for name in svtk.list_commands(context)}
    readers = {name for name, parameters in verbs.items() if any(map(takes_data, parameters))}
    assert {"distill", "extract-embeddings", "score", "validate-data"} | TEXT_ONLY <= readers
    having = {name for name, parameters in verbs.items() if any("--no-pipes" in p.opts for p in parameters)}
    assert having == readers - TEXT_ONLY


def test_a_command_in_wav_scp(trap, tmp_path, student_dir, svtk_main):
    for source in (trap, f"scp:{trap}/wav.scp"):
        done = svtk_main("extract-embeddings", "--no-pipes", student_dir, source, "ark:/dev/null")
        assert done.code == 1 and "cannot read audio of 'v0-0': input pipes are refused" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_it_runs_without_the_option(trap, tmp_path, student_dir, svtk_main):
    assert svtk_main("extract-embeddings", student_dir, trap, "ark:/dev/null").code == 0
    assert (tmp_path / "ran").exists()


def test_a_command_in_the_manifest(trap, tmp_path, student_dir, svtk_main, monkeypatch):
    from svtk.data import audio
    from svtk.data.cuts import load_utterances

    load_utterances(trap)
    (tmp_path / "ran").unlink()
    monkeypatch.setattr(audio, "_recent_pipes", audio._RecentPipes())  # as in a new process
    with gzip.open(trap / "cuts.jsonl.gz", "rt") as file:
        assert json.loads(file.readline())["recording"]["sources"][0]["type"] == "command"
    done = svtk_main("extract-embeddings", "--no-pipes", student_dir, trap, "ark:/dev/null")
    assert done.code == 1 and "input pipes are refused" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_command_in_a_script_file(tmp_path, svtk_main):
    (tmp_path / "emb.ark").write_text("a  [ 1 0 ]\nb  [ 0 1 ]\n")
    Path(tmp_path / "emb.scp").write_text(f"a touch {tmp_path}/ran; echo '[ 1 0 ]' |\n")
    (tmp_path / "trials").write_text("a b\n")
    scp, ark = f"scp:{tmp_path}/emb.scp", f"ark:{tmp_path}/emb.ark"
    done = svtk_main("score", "--no-pipes", tmp_path / "trials", scp, ark, "-")
    assert done.code == 1 and "input pipes are refused" in done.stderr and done.stdout == ""
    assert not (tmp_path / "ran").exists()
    assert svtk_main("score", "--no-pipes", tmp_path / "trials", ark, ark, "-").code == 0


def test_noise_and_the_workers_of_training(corpus, tmp_path, monkeypatch, trap):
    import torch

    from svtk.data.augment import Augmenter, Config
    from svtk.data.crops import CropDataset, EpochSampler
    from svtk.data.cuts import load_utterances
    from svtk.errors import AudioError
    from svtk.kaldi.streams import refuse_pipes

    utterances = load_utterances(trap)
    shutil.copytree(trap, tmp_path / "noise" / "noise")
    (tmp_path / "ran").unlink()
    refuse_pipes()
    noisy = Augmenter(tmp_path / "noise", Config(prob=1.0))
    dataset = CropDataset(utterances, 8000, augmenter=noisy)
    batches = torch.utils.data.DataLoader(
        dataset, batch_sampler=EpochSampler(dataset, 9), num_workers=1, collate_fn=CropDataset.collate
    )
    [error] = list(batches)
    assert isinstance(error, AudioError) and "input pipes are refused" in str(error)
    assert not (tmp_path / "ran").exists()

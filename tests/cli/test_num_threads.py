"""``--num-threads``: on every verb that computes with torch, and it reaches torch."""

from __future__ import annotations

import importlib

import click
import pytest
import torch
from click.testing import CliRunner

from svtk.cli._options import num_threads_option


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@click.command()
@num_threads_option
def show():
    click.echo(torch.get_num_threads())


def test_it_reaches_torch(threads):
    assert CliRunner().invoke(show, ["--num-threads", str(threads + 2)]).output == f"{threads + 2}\n"


@pytest.mark.parametrize("args", [[], ["--num-threads", "0"]])
def test_absent_or_0_leaves_the_environments(threads, args):
    assert CliRunner().invoke(show, args).output == f"{threads}\n"


@pytest.mark.parametrize("value", ["-1", "two"])
def test_a_number_that_cannot_be_is_wrong_usage(value):
    assert CliRunner().invoke(show, ["--num-threads", value]).exit_code == 2


@pytest.mark.parametrize("verb", ["extract_embeddings", "extract_targets", "distill", "train_teacher", "train_backend"])
def test_the_verbs_that_compute_have_it(verb):
    command = importlib.import_module(f"svtk.cli.{verb}").command
    assert "--num-threads" in [name for parameter in command.params for name in parameter.opts]

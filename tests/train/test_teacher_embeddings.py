"""Distillation from embeddings that another system has made of the training utterances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from svtk.data.cuts import load_cuts
from svtk.errors import ConfigError, DataError, ModelError
from svtk.kaldi.tables import TableWriter

NO_TEACHER = {"teacher": None, "noise": None}
CONFIG = Path(__file__).resolve().parents[2] / "conf/folder_distill_sv_mixer_embedding.yaml"
COSINE = "kd_losses=[{name: embedding_cosine, weight: 2}]"


@pytest.fixture
def vectors(corpus):
    """A direction of each speaker and a little of each utterance: what a good system would say."""
    rng = np.random.default_rng(4)
    speakers = {f"s{i}": rng.standard_normal(5) for i in range(4)}
    return {
        cut.id: (speakers[cut.supervisions[0].speaker] + 0.1 * rng.standard_normal(5)).astype(np.float32)
        for cut in load_cuts(corpus.train)
    }


@pytest.fixture
def write(tmp_path):
    """Write a table and give its rspecifier."""

    def go(vectors, name="vectors", options=""):
        with TableWriter(f"ark{options},scp:{tmp_path}/{name}.ark,{tmp_path}/{name}.scp") as writer:
            for utt, vector in vectors.items():
                writer.write(utt, vector)
        return f"scp:{tmp_path}/{name}.scp"

    return go


def test_embeddings_hidden_states_and_speakers_together(distil, tmp_path, vectors, write, history, wavlm_dir):
    kd = (
        "kd_losses=[{name: hidden_mse, weight: 0.5}, {name: embedding_cosine, weight: 2},"
        " {name: embedding_relational, weight: 3}, {name: embedding_relational, relation: distance, weight: 0}]"
    )
    model = distil(tmp_path / "m", kd, teacher=wavlm_dir, teacher_embeddings=write(vectors))
    for record in history(model):
        total = record["sv"] + 0.5 * record["hidden_mse"] + 2 * record["embedding_cosine"]
        assert record["loss"] == pytest.approx(total + 3 * record["embedding_relational"], rel=1e-5)
        assert record["embedding_relational_3"] > 0
    assert not any("projection" in name for name in (model / "config.yaml").read_text().split())


@pytest.mark.parametrize("kd", [COSINE, "kd_losses=[{name: embedding_relational}]"])
def test_embeddings_alone_need_no_teacher_and_are_learned(distil, tmp_path, vectors, write, history, kd):
    settings = (kd, "sv_weight=0", "max_epochs=12", "lr=5e-3", "student.dropout=0", "batch_size=8")
    records = history(distil(tmp_path / "m", *settings, **NO_TEACHER, teacher_embeddings=write(vectors)))
    name = "embedding_cosine" if kd == COSINE else "embedding_relational"
    last = sum(record[name] for record in records[-3:]) / 3  # few pairs an epoch: one epoch alone is chance
    assert "sv" not in records[0] and last < 0.8 * records[0][name]


def test_each_crop_has_its_utterances_embedding(distil, tmp_path, vectors, write, history):
    """In whatever order the table lists them, and with others among them; by scp, archive or text."""
    run = (COSINE, "max_epochs=1", "num_workers=1")
    first = history(distil(tmp_path / "a", *run, **NO_TEACHER, teacher_embeddings=write(vectors)))
    others = {"z": np.ones(5, np.float32), **dict(reversed(vectors.items()))}
    write(others, "others")
    again = history(distil(tmp_path / "b", *run, **NO_TEACHER, teacher_embeddings=f"ark:{tmp_path}/others.ark"))
    shifted = dict(zip(vectors, [*list(vectors.values())[5:], *list(vectors.values())[:5]], strict=True))
    wrong = history(distil(tmp_path / "c", *run, **NO_TEACHER, teacher_embeddings=write(shifted, "shifted")))
    assert first[0]["embedding_cosine"] == again[0]["embedding_cosine"] != wrong[0]["embedding_cosine"]


def test_a_resume_is_the_same_bit_by_bit(distil, tmp_path, vectors, write, monkeypatch, stop_at):
    """The learned projection comes back, too."""
    run = {"teacher_embeddings": write(vectors), "checkpoint_steps": 1, **NO_TEACHER}
    distil(tmp_path / "whole", COSINE, **run)

    def stop():
        raise InterruptedError

    stop_at(2, 3, stop)
    with pytest.raises(InterruptedError):
        distil(tmp_path / "m", COSINE, **run)
    monkeypatch.undo()
    distil(tmp_path / "m", COSINE, **run)
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in ("m", "whole")}) == 1


def test_other_embeddings_are_another_run(distil, tmp_path, vectors, write):
    run = (COSINE, "max_epochs=1")
    distil(tmp_path / "m", *run, **NO_TEACHER, teacher_embeddings=write(vectors))
    noted = yaml.safe_load((tmp_path / "m/run.yaml").read_text())["inputs"]["teacher_embeddings"]
    assert noted["path"] == f"{tmp_path}/vectors.scp" and len(noted["sha256"]) == 64
    before = (tmp_path / "m/model.safetensors").stat().st_mtime_ns
    distil(tmp_path / "m", *run, **NO_TEACHER, teacher_embeddings=write(vectors))
    assert (tmp_path / "m/model.safetensors").stat().st_mtime_ns == before
    vectors["s0-0"] = vectors["s0-0"] + 1
    with pytest.raises(ModelError, match=r"found a difference in inputs\.teacher_embeddings"):
        distil(tmp_path / "m", *run, **NO_TEACHER, teacher_embeddings=write(vectors))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s1-2": None}, r"1 utterance\(s\) have no teacher embedding, first 's1-2'; expected one vector for each"),
        ({"s1-2": np.full(5, np.nan)}, r"1 teacher embedding\(s\) .* first that of 's1-2'; found NaN or infinity"),
        ({"s1-2": np.zeros(5)}, r"have no direction, first that of 's1-2'; found zeros"),
        ({"s1-2": np.ones(6)}, r"entry 's1-2' does not fit; found shape \(6,\); expected a vector of 5"),
    ],
)
def test_embeddings_that_do_not_serve(distil, tmp_path, vectors, write, change, message):
    table = {utt: vector for utt, vector in {**vectors, **change}.items() if vector is not None}
    with pytest.raises(DataError, match=rf"vectors\.scp: .*{message}"):
        distil(tmp_path / "m", COSINE, **NO_TEACHER, teacher_embeddings=write(table))
    assert not (tmp_path / "m/model.safetensors").exists()


def test_what_is_missing_and_what_is_not_wanted(distil, tmp_path, vectors, write):
    with pytest.raises(ConfigError, match="'embedding_cosine' needs teacher embeddings. To mend: give --teacher-emb"):
        distil(tmp_path / "m", COSINE, **NO_TEACHER)
    with pytest.raises(ConfigError, match=r"no loss of kd_losses compares embeddings; found --teacher-embeddings scp:"):
        distil(tmp_path / "m", teacher_embeddings=write(vectors))
    with pytest.raises(ConfigError, match="distillation needs --teacher, --targets or both"):
        kd = "kd_losses=[{name: embedding_cosine}, {name: hidden_mse}]"
        distil(tmp_path / "m", kd, **NO_TEACHER, teacher_embeddings=write(vectors))


def test_the_folder_configuration_through_the_command_line(svtk_main, tmp_path, corpus, vectors, write):
    """Made small, but otherwise as it is."""
    small = (
        *("crop_duration=0.5", "batch_size=8", "max_epochs=1", "frontend.channels=8", "student.hidden_dim=8"),
        *("student.num_layers=1", "student.group_dim=4", "backend.channels=16", "backend.aggregate_channels=16"),
    )
    ran = svtk_main(
        *("distill", "--config", CONFIG, "--train", corpus.train),
        *("--valid", corpus.valid, "--valid-trials", corpus.trials, "--teacher-embeddings", write(vectors)),
        *(word for setting in small for word in ("--set", setting)),
        *("--no-tensorboard", tmp_path / "m"),
    )
    assert ran.code == 0, ran.stderr
    header = (tmp_path / "m/train.csv").read_text().splitlines()[0].split(",")
    assert {"sv", "embedding_cosine", "embedding_relational"} <= set(header)

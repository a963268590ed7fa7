"""Teacher targets: what is written, how much, for whom, and once only."""

from __future__ import annotations

import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from svtk.data.audio import read_audio, repeat_to
from svtk.data.cuts import load_cuts, load_utterances
from svtk.data.targets import Targets
from svtk.errors import AudioError, ConfigError, DataError
from svtk.extract import targets as module
from svtk.extract.targets import extract_targets, parse_layers
from svtk.kaldi.datadir import Utterance, read_data_dir, read_map, write_data_dir
from svtk.kaldi.tables import ScpReader, read_table
from svtk.models.teacher import load_teacher

FRAMES = {f"s{s}-{i}": frames for s in range(4) for i, frames in enumerate((24, 24, 44, 66))}


def expected(wavlm_dir, corpus):
    """``{utt: states}`` from the teacher itself; short utterances are repeated to 0.5 s."""
    teacher, states = load_teacher(wavlm_dir), {}
    for item in load_utterances(corpus.train):
        wav = repeat_to(read_audio(item.wav), 8000)
        states[item.utt] = [state[0].numpy() for state in teacher(torch.from_numpy(wav)[None])]
    return states


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("last", [3]),
        ("all", [0, 1, 2, 3]),
        ("0,last", [0, 3]),
        ("2, 0", [0, 2]),
        ("-1,3", [3]),
        ("-4", [0]),
        ("none", []),
    ],
)
def test_layers(text, layers):
    assert parse_layers(text, 4) == layers


@pytest.mark.parametrize("text", ["4", "-5", "first", "", "1,,2", "1.0"])
def test_layers_that_are_not_there(text):
    with pytest.raises(ConfigError, match=r"no such layer; found '.*'; expected 0 \.\.\. 3, last, all or none"):
        parse_layers(text, 4)


def test_what_is_written(wavlm_dir, corpus, tmp_path):
    out = tmp_path / "new/targets"
    extract_targets(wavlm_dir, corpus.train, out, layers="0,last", min_duration=0.5)
    tables = [f"{kind}layer{layer}.{suffix}" for kind in ("", "cmvn_") for layer in (0, 2) for suffix in ("ark", "scp")]
    assert {f.name for f in out.iterdir()} == {*tables, "utt2num_frames", "targets.json"}
    assert read_map(out / "utt2num_frames") == {utt: str(frames) for utt, frames in sorted(FRAMES.items())}
    for utt, states in expected(wavlm_dir, corpus).items():
        for layer in (0, 2):
            matrix = ScpReader(str(out / f"layer{layer}.scp"))[utt]
            assert matrix.shape == (FRAMES[utt], 12) and matrix.dtype == np.float32
            np.testing.assert_allclose(matrix, states[layer], rtol=0, atol=1e-6)
    assert [key for key, _ in read_table(f"ark:{out}/layer2.ark")] == list(FRAMES)
    info = Targets(out, [0, 2]).info
    assert (info.hidden_dim, info.num_hidden, info.layers, info.min_duration) == (12, 3, [0, 2], 0.5)


@pytest.mark.parametrize(("compress", "bytes_a_value", "error"), [("auto", 1, 0.05), ("two-byte", 2, 1e-3)])
def test_compressed(wavlm_dir, corpus, tmp_path, compress, bytes_a_value, error):
    extract_targets(wavlm_dir, corpus.train, tmp_path, compress=compress, min_duration=0.5)
    size = (tmp_path / "layer2.ark").stat().st_size
    values = sum(FRAMES.values()) * 12
    assert values * bytes_a_value < size < values * bytes_a_value + len(FRAMES) * 250  # heads, a column each
    reader = ScpReader(str(tmp_path / "layer2.scp"))
    for utt, states in expected(wavlm_dir, corpus).items():
        span = states[2].max() - states[2].min()
        assert np.abs(reader[utt] - states[2]).max() < error * span


@pytest.mark.parametrize("compress", ["none", "auto"])
def test_statistics(wavlm_dir, corpus, tmp_path, compress):
    """Of all frames as the teacher gave them; the parts of two jobs add up to them."""
    extract_targets(wavlm_dir, corpus.train, tmp_path, layers="0,last", compress=compress, min_duration=0.5)
    exact = expected(wavlm_dir, corpus)
    for layer in (0, 2):
        frames = np.concatenate([states[layer] for states in exact.values()]).astype(np.float64)
        mean, variance = Targets(tmp_path, []).statistics(layer)
        np.testing.assert_allclose(mean, frames.mean(0), atol=1e-5)
        np.testing.assert_allclose(variance, frames.var(0), rtol=1e-4)
        stats = ScpReader(str(tmp_path / f"cmvn_layer{layer}.scp"))
        assert list(stats) == list(FRAMES) and stats["s0-3"].shape == (2, 13) and stats["s0-3"][0, -1] == 66
    with pytest.raises(DataError, match="no statistics of layer 1. To mend: run svtk extract-targets into another"):
        Targets(tmp_path, []).statistics(1)


@pytest.fixture
def teacher_of(tmp_path):
    """A tiny teacher of a family, saved as Hugging Face saves it."""

    def save(family):
        sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        conv = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
        large = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
        torch.manual_seed(3)
        if family.startswith("whisper"):
            small = {"d_model": 12, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
            config = transformers.WhisperConfig(**small, max_source_positions=50)
            WhisperEncoder(config).save_pretrained(tmp_path / family)
            return str(tmp_path / family)
        name, large = family.partition("-")[0], large if family.endswith("large") else {}
        config = getattr(transformers, f"{name}Config")(**sizes, **conv, **large)
        getattr(transformers, f"{name}Model")(config).save_pretrained(tmp_path / family)
        return str(tmp_path / family)

    return save


@pytest.mark.parametrize(
    "family", ["WavLM-large", "Hubert-large", "Wav2Vec2-large", "WavLM-base", "Hubert-base", "Data2VecAudio", "whisper"]
)
def test_several_utterances_at_once_are_as_one_by_one(teacher_of, corpus, tmp_path, family, monkeypatch):
    """Padded where padding is masked; else those of one length: eight here last 0.5 s, once repeated."""
    teacher = teacher_of(family)
    extract_targets(teacher, corpus.train, tmp_path / "one", layers="all", min_duration=0.5)
    sizes, lengths, pad = [], set(), module.pad_sequence

    def counted(wavs, **words):
        sizes.append(len(wavs))
        lengths.add(len({len(wav) for wav in wavs}))
        return pad(wavs, **words)

    monkeypatch.setattr(module, "pad_sequence", counted)
    extract_targets(teacher, corpus.train, tmp_path / "many", layers="all", min_duration=0.5, batch_duration=6.8)
    assert sum(sizes) == 16 and max(sizes) == 8 and len(sizes) <= 5
    assert max(lengths) == (2 if "large" in family else 1)
    for layer in range(3):
        one, many = (ScpReader(str(tmp_path / name / f"layer{layer}.scp")) for name in ("one", "many"))
        assert list(one) == list(many) == list(FRAMES)
        for utt in FRAMES:
            assert one[utt].shape == many[utt].shape
            np.testing.assert_allclose(many[utt], one[utt], rtol=0, atol=5e-5)
    means = [Targets(tmp_path / name, []).statistics(2)[0] for name in ("one", "many")]
    np.testing.assert_allclose(*means, atol=1e-5)


def test_batches():
    items = [SimpleNamespace(utt=str(i), num_samples=size) for i, size in enumerate((5, 3, 9, 3, 20, 2, 6))]

    def sizes(least, most, mixed):
        return [[item.num_samples for item in batch] for batch in module._batches(items, least, most, mixed)]

    assert sizes(4, 0, True) == [[5], [3], [9], [3], [20], [2], [6]]
    assert sizes(4, 12, True) == [[2, 3, 3], [5, 6], [9], [20]]
    assert sizes(4, 12, False) == [[2, 3, 3], [5], [6], [9], [20]]


def test_less_precision(wavlm_dir, corpus, tmp_path):
    extract_targets(wavlm_dir, corpus.train, tmp_path, min_duration=0.5, precision="bf16")
    reader, states = ScpReader(str(tmp_path / "layer2.scp")), expected(wavlm_dir, corpus)
    worst = max(np.abs(reader[utt] - states[utt][2]).max() for utt in FRAMES)
    assert reader["s0-0"].dtype == np.float32 and 1e-4 < worst < 0.3
    with pytest.raises(DataError, match="found a difference in precision"):
        extract_targets(wavlm_dir, corpus.train, tmp_path, min_duration=0.5)
    with pytest.raises(ConfigError, match="fp16 needs a GPU; found --device cpu. To mend: give --precision bf16"):
        extract_targets(wavlm_dir, corpus.train, tmp_path / "other", precision="fp16")


def test_as_many_as_fit(wavlm_dir, corpus, tmp_path, caplog):
    """The first ones, just within what was given; again it is complete; more is another directory."""
    out, gib = tmp_path / "out", 20_000 / 2**30
    with caplog.at_level("INFO"):
        extract_targets(wavlm_dir, corpus.train, out, layers="1,2", min_duration=0.5, max_gib=gib)
        extract_targets(wavlm_dir, corpus.train, out, layers="1,2", min_duration=0.5, max_gib=gib)
    kept = list(ScpReader(str(out / "layer2.scp")))
    assert "teacher targets: 5 utterances of 16, layers [1, 2]" in caplog.text and "nothing to do" in caplog.text
    assert kept == list(FRAMES)[:5] == list(read_map(out / "utt2num_frames"))
    used = sum(f.stat().st_size for f in out.glob("*.ark"))
    assert 0.8 * 20_000 < used <= 20_000
    with pytest.raises(DataError, match="no utterance's teacher targets fit; found --max-gib 1e-07; expected at least"):
        extract_targets(wavlm_dir, corpus.train, tmp_path / "none", min_duration=0.5, max_gib=1e-7)
    with pytest.raises(DataError, match="a difference in utterances"):
        extract_targets(wavlm_dir, corpus.train, out, layers="1,2", min_duration=0.5)


def test_not_enough_disk_is_said_beforehand(wavlm_dir, corpus, tmp_path, monkeypatch):
    needed = sum(FRAMES.values()) * 12 * 4 * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(
        DataError, match="not enough disk for the teacher targets; found 0.00 GiB free.*--compress.*--max-gib"
    ):
        extract_targets(wavlm_dir, corpus.train, tmp_path, layers="all", min_duration=0.5)
    assert list(tmp_path.iterdir()) == []
    extract_targets(wavlm_dir, corpus.train, tmp_path, layers="1,2", min_duration=0.5)


def test_how_much_is_said_beforehand(wavlm_dir, corpus, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**33))
    with caplog.at_level("INFO"):
        extract_targets(wavlm_dir, corpus.train, tmp_path, min_duration=0.5)
    assert "teacher targets: 16 utterances, layers [2], 0.00 GiB (free 8.0 GiB)" in caplog.text


def count_reads(monkeypatch):
    reads = []
    monkeypatch.setattr(module, "read_audio", lambda *args: reads.append(args[0]) or read_audio(*args))
    return reads


@pytest.mark.parametrize("layers", ["last", "all"])
def test_killed_and_resumed(wavlm_dir, corpus, tmp_path, killed, monkeypatch, layers):
    """What was written is kept, and the end is that of a run that was not killed."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    extract_targets(wavlm_dir, corpus.train, whole, layers=layers, min_duration=0.5)

    def work():
        torch.set_num_threads(1)
        reads = []

        def read(*args):
            reads.append(args)
            if len(reads) == 12:
                for writer in broken.glob("*.part"):
                    assert writer.stat().st_size >= 0
                os.kill(os.getpid(), signal.SIGKILL)
            return read_audio(*args)

        module.read_audio = read
        extract_targets(wavlm_dir, corpus.train, broken, layers=layers, min_duration=0.5)

    killed(work)
    assert not list(broken.glob("*.scp")) and not list(broken.glob("*.ark")) and not (broken / "targets.json").exists()
    reads = count_reads(monkeypatch)
    extract_targets(wavlm_dir, corpus.train, broken, layers=layers, min_duration=0.5)
    assert 0 < len(reads) < 16  # some were there
    assert {f.name for f in broken.iterdir()} == {f.name for f in whole.iterdir()}
    for file in whole.glob("*.ark"):
        assert (broken / file.name).read_bytes() == file.read_bytes()
    assert (broken / "targets.json").read_text() == (whole / "targets.json").read_text()


def test_a_rerun_does_nothing(wavlm_dir, corpus, tmp_path, monkeypatch, caplog):
    extract_targets(wavlm_dir, corpus.train, tmp_path, min_duration=0.5)
    times = {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    reads = count_reads(monkeypatch)
    with caplog.at_level("INFO"):
        extract_targets(wavlm_dir, corpus.train, tmp_path, min_duration=0.5)
    assert reads == [] and {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()} == times
    assert "teacher targets are complete; nothing to do" in caplog.text


def test_others_in_the_same_place_are_refused(wavlm_dir, corpus, tmp_path):
    out = tmp_path / "out"
    extract_targets(wavlm_dir, corpus.train, out, min_duration=0.5)
    for what, change in (
        ("layers", {"layers": "all"}),
        ("min_duration", {"min_duration": 0.6}),
        ("compress", {"compress": "auto"}),
        ("utterances", {"data_dir": corpus.valid}),
    ):
        words = {"teacher": wavlm_dir, "data_dir": corpus.train, "min_duration": 0.5, **change}
        with pytest.raises(
            DataError, match=rf"out: the directory holds other teacher targets; found a difference in {what}"
        ):
            extract_targets(out_dir=out, **words)


def test_another_teacher_under_the_same_name_is_refused(wavlm_dir, corpus, tmp_path):
    from safetensors.torch import load_file, save_file

    teacher = shutil.copytree(wavlm_dir, tmp_path / "teacher")
    extract_targets(str(teacher), corpus.train, tmp_path / "out", min_duration=0.5)
    weights = load_file(teacher / "model.safetensors")
    weights["encoder.layer_norm.bias"] = weights["encoder.layer_norm.bias"] + 1
    save_file(weights, teacher / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match="found a difference in weights"):
        extract_targets(str(teacher), corpus.train, tmp_path / "out", min_duration=0.5)


def test_what_an_earlier_run_on_other_data_left_is_not_kept(wavlm_dir, corpus, tmp_path, monkeypatch):
    """The same directory name, prepared anew with one utterance less."""
    data = tmp_path / "data"
    utterances = read_data_dir(corpus.train).utterances
    write_data_dir(data, utterances)
    reads = []

    def fail(*args):
        reads.append(args)
        if len(reads) == 8:
            raise AudioError("stop", path=args[0])
        return read_audio(*args)

    monkeypatch.setattr(module, "read_audio", fail)
    with pytest.raises(AudioError):
        extract_targets(wavlm_dir, str(data), tmp_path / "out", min_duration=0.5)
    assert (tmp_path / "out/layer2.ark.part").exists()
    (data / "cuts.jsonl.gz").unlink()
    write_data_dir(data, utterances[1:])
    extract_targets(wavlm_dir, str(data), tmp_path / "out", min_duration=0.5)
    assert [key for key, _ in read_table(f"scp:{tmp_path}/out/layer2.scp")] == [u.utt for u in utterances[1:]]


def test_an_unreadable_file(wavlm_dir, corpus, tmp_path):
    good, bad = read_data_dir(corpus.train).utterances[0], tmp_path / "bad.wav"
    shutil.copy(good.wav, bad)
    write_data_dir(tmp_path / "data", [good, Utterance("bad", "bad", str(bad), "bad")])
    load_cuts(tmp_path / "data")
    bad.write_bytes(bad.read_bytes()[:20])
    with pytest.raises(AudioError, match=r"bad\.wav: cannot read audio"):
        extract_targets(wavlm_dir, str(tmp_path / "data"), tmp_path / "out", min_duration=0.5)
    assert {f.suffix for f in (tmp_path / "out").iterdir()} <= {".part", ".json"}
    assert not (tmp_path / "out/targets.json").exists()


def test_whisper_hears_more_than_its_positions(tmp_path, corpus):
    """An utterance that is longer is heard in windows; every frame is there once."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
    WhisperEncoder(WhisperConfig(**sizes, max_source_positions=50)).save_pretrained(tmp_path / "whisper")
    extract_targets(str(tmp_path / "whisper"), corpus.train, tmp_path / "out", min_duration=0.5)
    assert Targets(tmp_path / "out", [1]).read("s0-3", 0, 66)[1].shape == (66, 8)  # 1.337 s; positions last 1 s


def test_targets_json(wavlm_dir, corpus, tmp_path):
    extract_targets(wavlm_dir, corpus.train, tmp_path, min_duration=0.5)
    info = json.loads((tmp_path / "targets.json").read_text())
    assert info["teacher"] == wavlm_dir and len(info["weights"]) == 64

"""Teachers give transformers' own hidden states, stay frozen, and never run on weights that are not theirs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    HubertForCTC,
    Wav2Vec2FeatureExtractor,
    WavLMForXVector,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from svtk.errors import ConfigError, ModelError
from svtk.models.teacher import load_teacher, teacher_spec
from svtk.registry import names
from svtk.teachers import wavlm

FAMILY = ["wavlm", "hubert", "wav2vec2", "data2vec_audio"]


def their_states(model, directory, wav):
    """transformers' own way: its feature extractor, then its model; the last state is that after the last norm."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(directory)
    values = np.stack(extractor(list(wav.numpy()), sampling_rate=16_000)["input_values"])
    with torch.no_grad():
        output = model(torch.from_numpy(values), output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def assert_same(found, expected, atol=1e-5):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


def test_every_teacher_is_tested_here():
    assert names("teachers") == sorted([*FAMILY, "whisper"])


@pytest.mark.parametrize(
    ("name", "large"), [*((name, False) for name in FAMILY), *((name, True) for name in FAMILY[:3])]
)
@pytest.mark.parametrize("do_normalize", [True, False])
def test_hidden_states_are_transformers(save, name, large, do_normalize):
    model, directory = save(name, large=large, do_normalize=do_normalize)
    with torch.no_grad():  # of the encoder's last norm too
        model.encoder.layer_norm.weight.uniform_(0.5, 2)
    model.save_pretrained(directory)
    teacher = load_teacher(directory)
    assert (teacher.hidden_dim, teacher.num_hidden) == (16, 3)
    wav = torch.randn(3, 8000) * torch.tensor([[0.5], [0.05], [0.002]]) + 0.01  # quiet speech too
    # data2vec's seven layer norms make 1e-5 of a rounding error in the normalised wav: so far is either from float64
    atol = 3e-5 if name == "data2vec_audio" else 1e-5
    assert_same(teacher(wav), their_states(model, directory, wav), atol)
    for length in (8000, 8079, 8080, 16_000):
        assert teacher(torch.randn(1, length))[0].shape[1] == teacher.num_frames(length)


@pytest.mark.parametrize("name", FAMILY)
def test_weights_in_half_precision_are_used_in_float32(save, name):
    model, directory = save(name, dtype=torch.float16)
    teacher, wav = load_teacher(directory), 0.1 * torch.randn(1, 8000)
    assert {p.dtype for p in teacher.parameters()} == {torch.float32}
    assert_same(teacher(wav), their_states(model, directory, wav))


def test_hidden_states_are_whispers(save_whisper):
    """transformers insists on as much audio as there are positions; we then agree with it."""
    encoder, directory = save_whisper(seconds=2)
    teacher, wav = load_teacher(directory), 0.1 * torch.randn(2, 32_000)
    features = WhisperFeatureExtractor(chunk_length=2)(list(wav.numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = encoder(features["input_features"], output_hidden_states=True)
    found = teacher(wav)
    assert (teacher.hidden_dim, teacher.num_hidden) == (16, 3) and found[0].shape == (2, 100, 16)
    for mine, theirs in zip(found, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)  # the log-mel differs by as much
    with torch.no_grad():
        assert_same(teacher.encode(features["input_features"]), expected.hidden_states)
    torch.testing.assert_close(found[-1], expected.last_hidden_state, rtol=0, atol=1e-4)


def test_whisper_hears_less_than_thirty_seconds(save_whisper):
    """A shorter wav takes the first positions: as an encoder that has no others."""
    encoder, directory = save_whisper(seconds=2)
    teacher = load_teacher(directory)
    for length in (8000, 8159, 8160, 8320, 32_000):
        assert teacher(torch.randn(1, length))[0].shape[1] == teacher.num_frames(length)
    features = torch.randn(1, 80, 100)
    encoder.config.max_source_positions = 50
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[:50])
    with torch.no_grad():
        assert_same(teacher.encode(features), encoder(features, output_hidden_states=True).hidden_states)


@pytest.mark.parametrize("num_mels", [80, 128])
def test_whisper_padded_is_transformers_own(save_whisper, num_mels):
    """Shorter audio as Whisper was trained: padded with silence, and the hidden states cut to its length."""
    encoder, directory = save_whisper(seconds=2, num_mel_bins=num_mels)
    wav = 0.1 * torch.randn(2, 20_000)
    extractor = WhisperFeatureExtractor(feature_size=num_mels, chunk_length=2)
    features = extractor(list(wav.numpy()), sampling_rate=16_000, return_tensors="pt")["input_features"]
    assert features.shape == (2, num_mels, 200)
    with torch.no_grad():
        expected = encoder(features, output_hidden_states=True).hidden_states
    padded = yaml_teacher(directory, pad=True)
    assert torch.allclose(padded.log_mel(torch.nn.functional.pad(wav, (0, 12_000))), features, atol=1e-4)
    found = padded(wav)
    assert len(found) == 3 and padded.num_frames(20_000) == 63
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs[:, :63], rtol=0, atol=1e-4)
    unpadded = yaml_teacher(directory, pad=False)(wav)
    assert unpadded[-1].shape == found[-1].shape and (unpadded[-1] - found[-1]).abs().max() > 1e-3


def yaml_teacher(directory, **options):
    """Through a YAML file beside the model, whose source is relative to it."""
    file = directory.parent / "teacher.yaml"
    file.write_text(json.dumps({"name": "whisper", "source": directory.name, **options}))
    return load_teacher(file)


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("length", [32_000, 32_159, 32_160, 40_000, 64_000, 64_160, 75_555])
def test_whisper_hears_longer_audio_in_windows(save_whisper, length, pad):
    """Windows of the positions' length; the last one ends with the wav and gives only what is new."""
    _, directory = save_whisper(seconds=2)
    teacher, wav = yaml_teacher(directory, pad=pad), 0.1 * torch.randn(2, length)
    found, frames = teacher(wav), teacher.num_frames(length)
    assert [state.shape for state in found] == [(2, frames, 16)] * 3
    for layer in range(3):
        rebuilt = []
        for start in range(0, length - 32_159, 32_000):
            rebuilt.append(teacher(wav[:, start : start + 32_000])[layer])
        done = sum(part.shape[1] for part in rebuilt)
        if done < frames:
            last = teacher(wav[:, (frames - 100) * 320 :])[layer]
            assert last.shape[1] == 100
            rebuilt.append(last[:, 100 - (frames - done) :])
        torch.testing.assert_close(torch.cat(rebuilt, 1), found[layer], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("part", ["whole", "without the head"])
def test_the_encoder_of_a_whole_whisper(tmp_path, part, dtype):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 50, "pad_token_id": 0}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    config = WhisperConfig(**sizes, **heads, **ids, suppress_tokens=None, begin_suppress_tokens=None)
    whole = WhisperForConditionalGeneration(config).eval().to(dtype)
    (whole if part == "whole" else whole.model).save_pretrained(tmp_path)
    teacher = load_teacher(tmp_path)
    mine = dict(teacher.encoder.named_parameters())
    assert mine.keys() == dict(whole.model.encoder.named_parameters()).keys()
    for name, theirs in whole.model.encoder.named_parameters():
        torch.testing.assert_close(mine[name], theirs.float())


@pytest.mark.parametrize("name", [*FAMILY, "whisper"])
def test_a_frozen_teacher_never_learns(save, save_whisper, name):
    _, directory = save_whisper() if name == "whisper" else save(name)
    teacher = load_teacher(directory)
    assert teacher.train() is teacher
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    wav = torch.randn(1, 8000, requires_grad=True)
    assert not any(state.requires_grad for state in teacher(wav))
    nothing = torch.nn.Sequential(teacher).train()
    assert not any(module.training for module in nothing[0].modules())


@pytest.mark.parametrize("name", [*FAMILY, "whisper"])
def test_one_that_is_trained_learns(save, save_whisper, name):
    _, directory = save_whisper() if name == "whisper" else save(name, layerdrop=0.0)
    teacher = load_teacher(directory, frozen=False).train()
    assert all(module.training for module in teacher.modules())
    sum(state.square().mean() for state in teacher(torch.randn(2, 8000))).backward()
    still = {n for n, p in teacher.named_parameters() if p.grad is None}
    assert all("masked_spec_embed" in n or "embed_positions" in n for n in still), still


@pytest.mark.parametrize("name", FAMILY)
def test_saved_again_it_is_the_same(save, tmp_path, name):
    _, directory = save(name, do_normalize=False)
    teacher, wav = load_teacher(directory), torch.randn(1, 8000)
    teacher.save_pretrained(str(tmp_path / "again"))
    assert {f.name for f in (tmp_path / "again").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }
    assert_same(load_teacher(tmp_path / "again")(wav), teacher(wav))


def test_whisper_saved_again_is_the_same(save_whisper, tmp_path):
    _, directory = save_whisper(num_mel_bins=128)
    teacher, wav = load_teacher(directory), torch.randn(1, 8000)
    teacher.save_pretrained(str(tmp_path / "again"))
    assert json.loads((tmp_path / "again/preprocessor_config.json").read_text())["feature_size"] == 128
    assert_same(load_teacher(tmp_path / "again")(wav), teacher(wav))


def test_a_new_wavlm():
    torch.manual_seed(8)
    new = wavlm.NewModel(hidden_dim=16, num_layers=2, num_heads=2, ffn_dim=24, conv_channels=8)
    teacher = wavlm.create(new)
    assert (teacher.hidden_dim, teacher.num_hidden, teacher.frozen) == (16, 3, False)
    assert teacher.num_frames(48_000) == 149 and teacher.normalize_wav
    assert all(p.requires_grad for p in teacher.parameters())
    torch.manual_seed(8)
    again = wavlm.create(new)
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), again.parameters(), strict=True))


# Weights under other names, which are the same weights


def test_weights_of_a_model_with_a_head(save, tmp_path):
    """The heads of other tasks are left out; a prefix such as ``hubert.`` is no other architecture."""
    for name, whole_class in (("hubert", HubertForCTC), ("wavlm", WavLMForXVector)):
        model, directory = save(name)
        whole = whole_class(model.config).eval()
        whole.save_pretrained(directory)
        assert any(key.startswith(f"{name}.") for key in load_file(directory / "model.safetensors"))
        wav = torch.randn(1, 8000)
        assert_same(load_teacher(directory)(wav), their_states(getattr(whole, name), directory, wav))


@pytest.mark.parametrize("name", FAMILY[:3])
def test_weights_with_the_old_names_of_weight_norm(save, name):
    """As on the hub: ``weight_g`` and ``weight_v``, and no mask embedding, which only pretraining uses."""
    model, directory = save(name)
    file = directory / "model.safetensors"
    renamed = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = {}
    for key, value in load_file(file).items():
        for new, old in renamed.items():
            key = key.replace(new, old)
        weights[key] = value
    assert sum(key.endswith(("weight_g", "weight_v")) for key in weights) == 2
    del weights["masked_spec_embed"]
    save_file(weights, file, {"format": "pt"})
    wav = torch.randn(1, 8000)
    assert_same(load_teacher(directory)(wav), their_states(model, directory, wav))


@pytest.mark.parametrize("name", [*FAMILY, "whisper"])
@pytest.mark.parametrize("form", ["pytorch_model.bin", "shards", "shards of .bin"])
def test_other_forms_of_the_weights(save, save_whisper, name, form):
    """Pickled (tensors alone are read), and in several files, as the hub has Whisper large."""
    model, directory = save_whisper() if name == "whisper" else save(name)
    wav, expected = 0.1 * torch.randn(1, 8000), load_teacher(directory)
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    if form == "shards":
        model.save_pretrained(directory, max_shard_size="10KB")
        assert len(list(directory.glob("model-*.safetensors"))) > 1
    elif form == "pytorch_model.bin":
        torch.save(weights, directory / "pytorch_model.bin")
    else:
        keys = sorted(weights)
        halves = {"pytorch_model-00001-of-00002.bin": keys[::2], "pytorch_model-00002-of-00002.bin": keys[1::2]}
        for file, part in halves.items():
            torch.save({key: weights[key] for key in part}, directory / file)
        index = {"metadata": {}, "weight_map": {key: file for file, part in halves.items() for key in part}}
        (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert_same(load_teacher(directory)(wav), expected(wav))


def test_a_pickle_that_would_run_code(save, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    _, directory = save("wavlm")
    (directory / "model.safetensors").unlink()
    torch.save({"encoder": Evil()}, directory / "pytorch_model.bin")
    with pytest.raises(ModelError, match="saved: cannot load the teacher"):
        load_teacher(directory)
    assert not (tmp_path / "ran").exists()


# What cannot be loaded


@pytest.mark.parametrize("name", FAMILY[:3])
@pytest.mark.parametrize("other", FAMILY)
def test_weights_of_another_architecture(save, name, other):
    """transformers would only warn, and leave random what it does not find."""
    _, directory = save(other)
    config = (directory / "config.json").read_text()
    save(name)
    weights = load_file(directory / "model.safetensors")
    (directory / "config.json").write_text(config)  # says *other*; the weights are *name*'s
    wanted_but_missing = other == "data2vec_audio" or (other == "wavlm" and name != "wavlm")
    if not wanted_but_missing:  # all that HuBERT and wav2vec 2.0 need is there, under the same names
        load_teacher(directory)
        weights = {k: v for k, v in weights.items() if not k.startswith("encoder.layers.1.")}
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"weights of another architecture: 'encoder\.(layers\.[01]|pos_conv)[\w.]+' is missing"
    ):
        load_teacher(directory)


@pytest.mark.parametrize("name", FAMILY)
def test_no_weight_of_ours_at_all(save, name):
    _, directory = save(name)
    save_file({"embeddings.weight": torch.zeros(3)}, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="weights of another architecture"):
        load_teacher(directory)


@pytest.mark.parametrize("name", [*FAMILY, "whisper"])
def test_weights_of_another_size(save, save_whisper, name):
    _, directory = save_whisper() if name == "whisper" else save(name)
    config = json.loads((directory / "config.json").read_text())
    config["encoder_ffn_dim" if name == "whisper" else "intermediate_size"] = 32
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot load the teacher") as raised:
        load_teacher(directory)
    assert "\n" not in str(raised.value)


def test_a_whisper_without_a_layer(save_whisper):
    _, directory = save_whisper()
    file = directory / "model.safetensors"
    weights = {k: v for k, v in load_file(file).items() if "layers.1.fc1.weight" not in k}
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"'layers\.1\.fc1\.weight' is missing"):
        load_teacher(directory)


@pytest.mark.parametrize("name", [*FAMILY, "whisper"])
def test_torn_or_missing_weights(save, save_whisper, name):
    _, directory = save_whisper() if name == "whisper" else save(name)
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="saved: cannot load the teacher: "):
        load_teacher(directory)
    file.unlink()
    with pytest.raises(ModelError, match="saved: cannot load the teacher: .*model.safetensors"):
        load_teacher(directory)


@pytest.mark.parametrize(
    ("name", "large", "normalized"),
    [*((name, False, name != "wavlm") for name in FAMILY), *((name, True, True) for name in FAMILY[:3])],
)
def test_no_preprocessor(save, caplog, name, large, normalized):
    """Then the architecture tells, and so does the log."""
    _, directory = save(name, large=large, do_normalize=normalized)
    expected, wav = load_teacher(directory), 0.05 * torch.randn(1, 8000) + 0.01
    (directory / "preprocessor_config.json").unlink()
    teacher = load_teacher(directory)
    assert teacher.normalize_wav == normalized
    assert_same(teacher(wav), expected(wav))
    said = "normalised to zero mean and unit variance" if normalized else "left as it is"
    assert f"no preprocessor_config.json; the wav is {said}" in caplog.text
    teacher.save_pretrained(str(directory / "again"))
    assert load_teacher(directory / "again").normalize_wav == normalized


def test_a_torn_preprocessor(save):
    _, directory = save("wavlm")
    (directory / "preprocessor_config.json").write_text('{"do_norm')
    with pytest.raises(ModelError, match=r"saved: cannot load the teacher: .*preprocessor_config\.json"):
        load_teacher(directory)


def test_another_model_type(save):
    _, directory = save("wavlm")
    (directory / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        ModelError, match="no teacher of this architecture; found 'bert'; expected data2vec_audio, hubert, wav2vec2, "
    ):
        load_teacher(directory)


@pytest.mark.parametrize("text", ["{", "[]", '"wavlm"', "\x00"])
def test_an_unreadable_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match="no readable config.json"):
        teacher_spec(tmp_path)


def test_a_directory_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="no readable config.json; expected a Hugging Face model or an svtk teacher"):
        teacher_spec(tmp_path)


@pytest.mark.parametrize("source", ["no/such/directory", "nobody/no-such-model", "/no/such"])
def test_neither_a_directory_nor_on_the_hub(source):
    with pytest.raises(ModelError, match="no such directory, and not to be had from the hub") as raised:
        teacher_spec(source)
    assert str(raised.value).startswith(f"{source}: ") and "\n" not in str(raised.value)


# An svtk MODEL_DIR is a teacher too


def model_dir(path, source, **changes):
    config = {"kind": "teacher", "window": 0.5, "backend": {"name": "linear"}, "teacher": {"name": "wavlm"}}
    config["teacher"] = {**config["teacher"], **({} if source is None else {"source": str(source)})}
    path.mkdir(exist_ok=True)
    (path / "config.yaml").write_text(json.dumps({**config, **changes}))
    return path


def test_the_encoder_of_a_model_dir(save, tmp_path):
    _, directory = save("wavlm")
    where = model_dir(tmp_path / "model", "encoder")
    directory.rename(where / "encoder")
    assert teacher_spec(where) == {"name": "wavlm", "source": str(where / "encoder")}
    assert load_teacher(where).hidden_dim == 16
    elsewhere = model_dir(tmp_path / "other", where / "encoder")
    assert teacher_spec(elsewhere)["source"] == str(where / "encoder")
    assert teacher_spec(model_dir(tmp_path / "hub", "microsoft/wavlm-large"))["source"] == "microsoft/wavlm-large"


def test_a_students_model_dir_is_no_teacher(tmp_path):
    where = model_dir(
        tmp_path / "model", "x", kind="student", frontend={"name": "log_mel"}, student={"name": "sv_mixer"}
    )
    with pytest.raises(ModelError, match="not a teacher; found a student"):
        teacher_spec(where)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"teacher": None}, "a teacher needs 'teacher'"), ({"kind": "model"}, "wrong value for 'kind'")],
)
def test_a_model_dir_with_a_wrong_config(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        teacher_spec(model_dir(tmp_path / "model", "x", **changes))


# A YAML file


def test_a_yaml_file(save, tmp_path):
    _, directory = save("data2vec_audio")
    (tmp_path / "teacher.yaml").write_text("name: data2vec_audio\nsource: saved\n")
    assert teacher_spec(tmp_path / "teacher.yaml") == {"name": "data2vec_audio", "source": str(directory)}
    assert load_teacher(tmp_path / "teacher.yaml").hidden_dim == 16
    (tmp_path / "hub.yaml").write_text("base: teacher.yaml\nsource: facebook/data2vec-audio-base\n")
    assert teacher_spec(tmp_path / "hub.yaml")["source"] == "facebook/data2vec-audio-base"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: wavlm", "missing key 'teacher.source'"),
        ("source: x", "'teacher' needs a name"),
        ("{name: wavlm2, source: x}", "no component 'wavlm2' in teachers"),
        ("{name: wavlm, source: x, pad: true}", "unknown key 'teacher.pad'"),
        ("{", "not valid YAML"),
    ],
)
def test_a_wrong_yaml_file(tmp_path, text, message):
    (tmp_path / "teacher.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"teacher.yaml:.*{message}"):
        teacher_spec(tmp_path / "teacher.yaml")


def test_a_model_dir_without_a_source(tmp_path):
    with pytest.raises(ConfigError, match="missing key 'teachers.source'"):
        load_teacher(model_dir(tmp_path / "model", None))

"""Windows over utterances of any length, and a MODEL_DIR that gives back what was saved."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from svtk import onednn
from svtk.errors import AudioError, ConfigError, ModelError
from svtk.models.embedding import embed_utterances
from svtk.models.speaker_model import ModelConfig, SpeakerModel, StudentSpec, build_model, load_model, save_model
from svtk.registry import configure, names

FRONTENDS = {"waveform_conv": {"name": "waveform_conv", "channels": 8}, "log_mel": {"name": "log_mel", "channels": 8}}
LAYOUT = {"frequencies": 4, "channels": 4, "stages": [{"reduction": 4}, {"stride": 2, "num_blocks": 1}]}
BACKENDS = {
    "linear": {"name": "linear", "embedding_dim": 6},
    "ecapa_tdnn": {
        **{"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 16, "attention_channels": 8},
        **{"se_channels": 8, "embedding_dim": 6},
    },
    "ecapa_dense": {
        **{"name": "ecapa_dense", "channels": 16, "aggregate_channels": 16, "attention_channels": 8},
        **{"se_channels": 8, "embedding_dim": 6},
    },
    "mhfa": {"name": "mhfa", "num_heads": 2, "compression_dim": 4, "embedding_dim": 6},
    "redimnet": {"name": "redimnet", "layout": LAYOUT, "embedding_dim": 6},
    "redimnet_fusion": {"name": "redimnet_fusion", "layout": LAYOUT, "num_injected": 1, "embedding_dim": 6},
}
STUDENT = {"name": "sv_mixer", "num_layers": 2, "hidden_dim": 16, "group_dim": 8, "expansion": 2}
LENGTHS = [8000, 8001, 8320, 9000, 15_680, 15_681, 16_000, 23_456, 40_000]


def build(frontend="waveform_conv", backend="linear", seed=15, **options) -> SpeakerModel:
    torch.manual_seed(seed)
    spec = StudentSpec(
        crop_duration=0.5, frontend=FRONTENDS[frontend], student={**STUDENT, **options}, backend=BACKENDS[backend]
    )
    return build_model(spec.model_config()).eval()


def wavs(lengths):
    torch.manual_seed(16)
    return [0.1 * torch.randn(length) for length in lengths]


class Clock(nn.Module):
    """An encoder whose hidden states are the places of their frames, read off wavs that count their samples."""

    hidden_dim, num_hidden = 1, 2

    def num_frames(self, num_samples):
        return (num_samples - 400) // 320 + 1

    def forward(self, wav):
        places = wav[:, ::320][:, : self.num_frames(wav.shape[1])] / 320
        return [places[..., None], -places[..., None]]


@pytest.mark.parametrize("num_samples", [8000, 8319, 8320, 8640, 15_680, 16_000, 23_000, 40_000, 161_234])
def test_stitched_hidden_states_cover_every_frame_once(num_samples):
    model = SpeakerModel(build().config, Clock(), nn.Identity())
    assert (model.window_samples, model.window_frames) == (8000, 24)
    frames = 24 + (num_samples - 8000) // 320
    [states] = model.hidden_cover([torch.arange(float(num_samples))])
    assert states[0].shape == (frames, 1)
    assert states[0][:, 0].tolist() == list(range(frames)) and states[1][:, 0].tolist() == [-t for t in range(frames)]


def test_hidden_states_of_several_utterances_are_not_mixed_up():
    model = SpeakerModel(build().config, Clock(), nn.Identity())
    found = model.hidden_cover([torch.arange(float(n)) + 320_000 * i for i, n in enumerate(LENGTHS)], batch_size=3)
    for index, (states, length) in enumerate(zip(found, LENGTHS, strict=True)):
        assert (states[0][:, 0] - 1000 * index).tolist() == list(range(24 + (length - 8000) // 320))


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_window_is_the_forward_pass(frontend, backend):
    model, [wav] = build(frontend, backend), wavs([8000])
    with torch.no_grad():
        hidden, expected = model(wav[None])
    assert [tuple(h.shape) for h in hidden] == [(1, model.window_frames, 16)] * 3
    torch.testing.assert_close(model.embed_cover([wav]), expected, rtol=0, atol=1e-6)
    [states] = model.hidden_cover([wav])
    for mine, theirs in zip(states, hidden, strict=True):
        torch.testing.assert_close(mine, theirs[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_cover_pools_over_the_whole_utterance(frontend):
    """Two windows by hand: the second, aligned with the end, gives only what the first did not."""
    model, [wav] = build(frontend), wavs([12_800])
    frames = model.window_frames
    with torch.no_grad():
        first, second = model.encoder(wav[None, :8000]), model.encoder(wav[None, 4800:])
        joined = [torch.cat([a, b[:, frames - 15 :]], dim=1) for a, b in zip(first, second, strict=True)]
        expected = model.backend(joined)
    torch.testing.assert_close(model.embed_cover([wav]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_samples", [8000, 8100, 8320, 15_680, 23_000])
def test_a_forward_pass_covers_crops_of_any_length(num_samples):
    """As embed_cover does, and with gradients to every sample that a window holds."""
    model, some = build(), torch.stack(wavs([num_samples] * 3)).requires_grad_()
    hidden, embedding = model(some)
    torch.testing.assert_close(embedding, model.embed_cover(list(some.detach())), rtol=0, atol=1e-5)
    for mine, theirs in zip(hidden, zip(*model.hidden_cover(list(some.detach())), strict=True), strict=True):
        torch.testing.assert_close(mine, torch.stack(theirs), rtol=0, atol=1e-5)
    embedding.sum().backward()
    covered = 8000 + (num_samples - 8000) // 320 * 320
    assert some.grad[:, covered - 320 : covered].any(dim=1).all() and not some.grad[:, covered:].any()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("windows", ["cover", "crops"])
@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_embedding_does_not_depend_on_its_batch(frontend, backend, windows):
    model, some = build(frontend, backend), wavs(LENGTHS)
    embed = getattr(model, f"embed_{windows}")
    together = embed(some, batch_size=8)
    assert together.shape == (len(LENGTHS), 6)
    for row, wav in zip(together, some, strict=True):
        torch.testing.assert_close(embed([wav], batch_size=1)[0], row, rtol=0, atol=1e-5)
    torch.testing.assert_close(embed(some[::-1], batch_size=3).flip(0), together, rtol=0, atol=1e-5)
    assert (together[0] - together[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("num_crops", [1, 2, 10])
@pytest.mark.parametrize("num_samples", [8000, 8005, 23_456])
def test_crops_are_evenly_spaced_and_averaged(num_crops, num_samples):
    model, [wav] = build(), wavs([num_samples])
    count = min(num_crops, num_samples - 8000 + 1)
    starts = [round(i * (num_samples - 8000) / max(1, count - 1)) for i in range(count)]
    assert len(set(starts)) == count and (count == 1 or starts[-1] == num_samples - 8000)
    with torch.no_grad():
        rows = [model(wav[None, s : s + 8000])[1][0] for s in starts]
    expected = sum(row / row.norm() for row in rows) / count
    torch.testing.assert_close(model.embed_crops([wav], num_crops)[0], expected, rtol=0, atol=1e-6)


def test_the_product_of_two_is_the_mean_of_the_hundred_pair_scores():
    model, (a, b) = build(), wavs([20_000, 30_001])

    def rows(wav):
        starts = [round(i * (len(wav) - 8000) / 9) for i in range(10)]
        with torch.no_grad():
            return [model(wav[None, s : s + 8000])[1][0] for s in starts]

    scores = [torch.cosine_similarity(x, y, dim=0).item() for x in rows(a) for y in rows(b)]
    left, right = model.embed_crops([a, b], 10)
    assert len(scores) == 100 and (left @ right).item() == pytest.approx(sum(scores) / 100, abs=1e-5)


def write(path, samples):
    soundfile.write(path, samples, 16_000)
    return str(path)


def test_embeddings_of_files(tmp_path, caplog):
    """In the order given, parts of files too; a short utterance is repeated to one window, and the log says so."""
    model, rng = build(), np.random.default_rng(17)
    items, expected = [], []
    for index, length in enumerate([3000, *LENGTHS, 7999]):
        samples = (rng.uniform(-0.5, 0.5, length) * 32768).astype(np.int16)
        items.append((f"u{index}", write(tmp_path / f"{index}.wav", samples), 0, None))
        samples = np.tile(samples, 3)[: max(length, 8000)] if length < 8000 else samples
        expected.append(model.embed_cover([torch.from_numpy(samples / np.float32(32768))])[0].numpy())
    with caplog.at_level(logging.INFO):
        found = dict(embed_utterances(model, items, batch_size=4))
    assert list(found) == [item[0] for item in items]
    np.testing.assert_allclose(np.stack(list(found.values())), np.stack(expected), rtol=0, atol=1e-5)
    assert "2 utterance(s) shorter than one window of 0.50 s were repeated to fill it" in caplog.text
    whole = soundfile.read(items[-2][1], dtype="float32")[0]
    [(_, part)] = embed_utterances(model, [("part", items[-2][1], 5000, 9000)], windows="crops", num_crops=3)
    row = model.embed_crops([torch.from_numpy(whole[5000:14_000])], 3)[0]
    np.testing.assert_allclose(part, row.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", None])
def test_a_file_that_cannot_be_read(tmp_path, content):
    good = write(tmp_path / "good.wav", np.zeros(9000))
    if content is not None:
        (tmp_path / "bad.wav").write_bytes(content)
    items = [(f"u{i}", good, 0, None) for i in range(5)] + [("bad", str(tmp_path / "bad.wav"), 0, None)]
    with pytest.raises(AudioError, match=r"bad\.wav: cannot read audio"):
        list(embed_utterances(build(), items, batch_size=2))


def test_a_backend_that_hears_the_wav_hears_all_of_it():
    """In cover, the whole utterance and not its windows; the last samples, beyond the last frame, count as well."""
    model, [wav] = build(backend="redimnet_fusion"), wavs([23_456])
    [states] = model.hidden_cover([wav])
    with torch.no_grad():
        expected = model.backend([state[None] for state in states], wav[None])
    torch.testing.assert_close(model.embed_cover([wav]), expected, rtol=0, atol=1e-6)
    assert (model.embed_cover([wav[:20_000]]) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("student", names("students"))
@pytest.mark.parametrize("backend", names("backends"))
def test_every_student_with_every_backend(student, backend):
    """At a width that is not the paper's, and over more than one window."""
    torch.manual_seed(22)
    options = {"hidden_dim": 16, "num_layers": 2}
    config = configure("students", {"name": student}).config
    small = {"group_dim": 8, "num_heads": 2, "ffn_dim": 24}
    options.update({key: value for key, value in small.items() if hasattr(config, key)})
    spec = StudentSpec(0.5, FRONTENDS["waveform_conv"], {"name": student, **options}, BACKENDS[backend])
    model = build_model(spec.model_config())
    hidden, embedding = model(torch.randn(3, 8000))
    assert [tuple(h.shape) for h in hidden] == [(3, 24, 16)] * 3 and embedding.shape == (3, 6)
    (embedding * torch.randn(3, 6)).sum().backward()
    silent = {n for n, p in model.encoder.named_parameters() if p.grad is None or not p.grad.any()}
    assert not silent
    assert torch.isfinite(model.eval().embed_cover(wavs([8000, 20_000]))).all()


# A MODEL_DIR


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_round_trip(tmp_path, frontend, backend):
    model = build(frontend, backend)
    for buffer in model.buffers():  # batch norm's running statistics are weights too
        if buffer.dtype.is_floating_point and buffer.dim() == 1 and len(buffer) == 16:
            buffer.uniform_(0.5, 2)
    save_model(model, tmp_path / "new/dir")
    assert {f.name for f in (tmp_path / "new/dir").iterdir()} == {"config.yaml", "model.safetensors"}
    loaded = load_model(tmp_path / "new/dir")
    assert not loaded.training and loaded.config == model.config
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert torch.equal(loaded.embed_cover(wavs([9000])), model.embed_cover(wavs([9000])))


def test_config_yaml_has_every_default(tmp_path):
    save_model(build(), tmp_path)
    mapping = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert mapping["format"] == 1 and mapping["kind"] == "student" and mapping["window"] == 0.5
    assert mapping["student"]["lgm"] == "parallel" and mapping["frontend"]["kernels"] == [10, 3, 3, 3, 3, 2, 2]


def saved(tmp_path, **changes):
    """A MODEL_DIR whose config.yaml is another than that of its weights."""
    save_model(build(), tmp_path)
    mapping = yaml.safe_load((tmp_path / "config.yaml").read_text())
    for key, value in changes.items():
        mapping[key] = (
            {**mapping[key], **value} if isinstance(value, dict) and isinstance(mapping[key], dict) else value
        )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(mapping))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {"num_layers": 3}}, r"'encoder\.student\.blocks\.2\.time_norm\.weight' is missing"),
        ({"student": {"num_layers": 1}}, r"'encoder\.student\.blocks\.1\.[\w.]+' is unexpected|layer_sum\.logits'"),
        ({"student": {"msm": False}}, r"'encoder\.student\.blocks\.0\.channel_mixing\.half_rate\.\w+' is unexpected"),
        ({"student": {"expansion": 4}}, r"'encoder\.student\.[\w.]+'; found shape \([\d, ]+\); expected \([\d, ]+\)"),
        (
            {"frontend": {"channels": 4}},
            r"'encoder\.frontend\.convs\.0\.weight'; found shape \(8, 1, 10\); expected \(4,",
        ),
        ({"window": 0.7}, r"'encoder\.student\.blocks\.0\.time_mixing\.token\.up\.weight'"),
        ({"backend": {"embedding_dim": 7}}, r"'backend\.linear\.weight'; found shape \(6, 32\); expected \(7, 32\)"),
    ],
)
def test_weights_of_another_architecture(tmp_path, changes, message):
    with pytest.raises(ModelError, match=rf"model\.safetensors: weights of another architecture: {message}"):
        load_model(saved(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "wrong value for 'format'; found 2; expected one of 1"),
        ({"kind": "studnet"}, "wrong value for 'kind'; found 'studnet'"),
        ({"student": None}, "a student needs 'student'"),
        ({"windw": 3.0}, "unknown key 'windw'. To mend: did you mean 'window'?"),
        ({"window": 0}, "window must be positive"),
        ({"window": 0.03}, r"the window is too short; found 0\.03 s, 1 frame\(s\)"),
        ({"student": {"name": "mixer"}}, "no component 'mixer' in students. To mend: did you mean 'sv_mixer'"),
        ({"student": {"layers": 2}}, "unknown key 'student.layers'. To mend: did you mean 'num_layers'?"),
        ({"backend": "linear"}, "wrong value for 'backend'; found 'linear'; expected a mapping"),
    ],
)
def test_a_wrong_config(tmp_path, changes, message):
    with pytest.raises(ConfigError) as raised:
        load_model(saved(tmp_path, **changes) if "windw" not in changes else with_key(tmp_path, changes))
    assert str(raised.value).startswith(f"{tmp_path}/config.yaml: ") and message.replace("\\", "") in str(raised.value)


def with_key(tmp_path, changes):
    save_model(build(), tmp_path)
    with open(tmp_path / "config.yaml", "a") as file:
        file.write(yaml.safe_dump(changes))
    return tmp_path


def test_not_a_model_directory(tmp_path):
    with pytest.raises(ModelError, match="not a model directory; found no config.yaml"):
        load_model(tmp_path)
    save_model(build(), tmp_path)
    file = tmp_path / "model.safetensors"
    for content in (file.read_bytes()[:-8], b"", b"pickle"):
        file.write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.safetensors: cannot read weights"):
            load_model(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot read weights"):
        load_model(tmp_path)


def test_weights_in_half_precision(tmp_path):
    save_model(build(), tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(file).items()}, file)
    model = load_model(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.embed_cover(wavs([9000])), build().embed_cover(wavs([9000])), rtol=0, atol=1e-2)


def test_saving_over_another_model_is_whole(tmp_path, monkeypatch):
    """Stopped while it writes, the old weights are there."""
    save_model(build(seed=1), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def full(tensors, path, metadata=None):
        Path(path).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("svtk.weights.save_file", full)
    with pytest.raises(OSError):
        save_model(build(seed=2), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


# A frozen encoder, and a teacher


def test_a_frozen_encoder_does_not_learn():
    model = build("waveform_conv", "ecapa_tdnn")
    model.freeze_encoder()
    model.train()
    assert model.backend.training and not any(m.training for m in model.encoder.modules())
    _, embedding = model(torch.randn(4, 8000))
    embedding.square().sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert any(p.grad.any() for p in model.backend.parameters())


@pytest.fixture
def teacher(tmp_path):
    from svtk.teachers import wavlm

    torch.manual_seed(18)
    encoder = wavlm.create(wavlm.NewModel(hidden_dim=16, num_layers=2, num_heads=2, ffn_dim=24, conv_channels=8))
    encoder.save_pretrained(str(tmp_path / "teacher/encoder"))
    config = ModelConfig("teacher", 0.5, BACKENDS["linear"], teacher={"name": "wavlm", "source": "encoder"})
    model = build_model(config, base=tmp_path / "teacher")
    save_model(dataclass_config(model, config), tmp_path / "teacher")
    return model.eval(), tmp_path / "teacher"


def dataclass_config(model, config):
    model.config = dataclasses.replace(config)
    return model


def test_a_teachers_model_dir_holds_its_backend_alone(teacher, monkeypatch, tmp_path):
    model, directory = teacher
    assert all(key.startswith("backend.") for key in load_file(directory / "model.safetensors"))
    loaded = load_model(directory)
    assert torch.equal(loaded.embed_cover(wavs([9000])), model.embed_cover(wavs([9000])))
    assert not any(p.requires_grad for p in loaded.encoder.parameters())
    monkeypatch.chdir(directory.parent)
    elsewhere = directory.rename(tmp_path / "moved")  # the encoder moves with it
    assert torch.equal(load_model("moved").embed_cover(wavs([9000])), model.embed_cover(wavs([9000])))
    save_model(load_model("moved"), tmp_path / "copy/deep")  # and a model made from it finds it
    monkeypatch.chdir("/")
    assert torch.equal(load_model(tmp_path / "copy/deep").embed_cover(wavs([9000])), model.embed_cover(wavs([9000])))
    (elsewhere / "encoder/model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load the teacher"):
        load_model(elsewhere)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0), ("bfloat16", 0.05)])
def test_a_copy_for_inference_without_fused_operators(monkeypatch, precision, tolerance):
    monkeypatch.setattr(onednn, "available", lambda precision: False)
    model, some = build(), wavs(LENGTHS)
    fast = model.for_inference(precision)
    assert [type(module) for module in fast.modules()] == [type(module) for module in model.modules()]
    expected, found = model.embed_cover(some), fast.embed_cover(some)
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() <= tolerance
    assert torch.equal(found, expected) == (precision == "float32")


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)])
@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copy_for_inference_gives_the_same(frontend, backend, precision, tolerance):
    model, some = build(frontend, backend), wavs(LENGTHS)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast = model.train().for_inference(precision)
    assert model.training and not fast.training and not any(p.requires_grad for p in fast.parameters())
    expected, found = model.eval().embed_cover(some), fast.embed_cover(some)
    assert found.dtype == torch.float32
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < tolerance
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

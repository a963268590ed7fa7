"""Streaming: whatever the pieces in which audio arrives, embeddings are those of embed_cover."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from svtk.backends._base import RunningBackend
from svtk.errors import AudioError
from svtk.models.speaker_model import StudentSpec, build_model
from svtk.models.streaming import StreamingEmbedder

LAYOUT = {"frequencies": 4, "channels": 4, "stages": [{"reduction": 4}, {"stride": 2, "num_blocks": 1}]}
BACKENDS = {
    "linear": {"name": "linear", "embedding_dim": 6},
    "mean": {"name": "linear", "pooling": "mean", "embedding_dim": 6},
    "ecapa_tdnn": {
        **{"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 16, "attention_channels": 8},
        **{"se_channels": 8, "embedding_dim": 6},
    },
    "mhfa": {"name": "mhfa", "num_heads": 2, "compression_dim": 4, "embedding_dim": 6},
    "redimnet": {"name": "redimnet", "layout": LAYOUT, "embedding_dim": 6},
    "redimnet_fusion": {"name": "redimnet_fusion", "layout": LAYOUT, "num_injected": 1, "embedding_dim": 6},
}
STRIDE = 24 * 320  # a window of 0.5 s gives 24 frames


def build(backend="linear", frontend="waveform_conv"):
    torch.manual_seed(15)
    student = {"name": "sv_mixer", "num_layers": 2, "hidden_dim": 16, "group_dim": 8, "expansion": 2}
    spec = StudentSpec(0.5, {"name": frontend, "channels": 8}, student, BACKENDS[backend])
    return build_model(spec.model_config()).eval()


def noise(num_samples):
    return (0.1 * np.random.default_rng(num_samples).standard_normal(num_samples)).astype(np.float32)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_samples", [1, 3000, 8000, 8001, 8320, 15_680, 15_700, 23_456, 40_001])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_end_is_that_of_the_whole_utterance(backend, num_samples):
    model, wav = build(backend), noise(num_samples)
    whole = torch.from_numpy(np.resize(wav, max(num_samples, 8000)))
    for size in (num_samples, 777, 9000):
        stream = StreamingEmbedder(model)
        for start in range(0, num_samples, size):
            stream.push(wav[start : start + size])
        close(stream.finish(), model.embed_cover([whole])[0])
        close(stream.finish(), model.embed_cover([whole])[0])


@pytest.mark.parametrize("frontend", ["waveform_conv", "log_mel"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_embedding_on_the_way_is_that_of_what_was_covered(backend, frontend):
    model, wav = build(backend, frontend), noise(50_000)
    stream, covered = StreamingEmbedder(model, growth=0), []
    for start in range(0, len(wav), 500):
        row = stream.push(torch.from_numpy(wav[start : start + 500]))
        if row is not None:
            covered.append(stream.covered)
            close(row, model.embed_cover([torch.from_numpy(wav[: stream.covered])])[0])
    stride = model.window_frames * 320
    assert covered == [8000 + i * stride for i in range((50_000 - 8000) // stride + 1)]


@pytest.mark.parametrize("backend", ["mhfa", "redimnet_fusion"])
def test_more_may_follow_the_end(backend):
    model, wav = build(backend), noise(30_000)
    stream = StreamingEmbedder(model)
    for end in (3000, 9000, 20_000, 30_000):
        stream.push(wav[stream.num_samples : end])
        whole = torch.from_numpy(np.resize(wav[:end], max(end, 8000)))
        close(stream.finish(), model.embed_cover([whole])[0])


def test_embeddings_come_as_the_audio_grows():
    """With growth 0.5: after 1, 2, 3, 5, 8 ... windows, however they arrive."""
    stream, rows = StreamingEmbedder(build(), growth=0.5), []
    for window in range(1, 13):
        if stream.push(noise(8000 if window == 1 else STRIDE)) is not None:
            rows.append(window)
    assert rows == [1, 2, 3, 5, 8, 12]
    assert StreamingEmbedder(build()).push(noise(60_000)) is not None


@pytest.mark.parametrize("backend", BACKENDS)
def test_running_statistics_need_constant_memory(backend):
    """Samples of two windows at most, and hidden states only where the backend looks at all of them again."""
    model = build(backend)
    stream, kept = StreamingEmbedder(model), []
    for _ in range(6):
        stream.push(noise(STRIDE * 2))
        kept.append((sum(map(len, stream._chunks)), sum(states[0].shape[1] for states in stream._hidden)))
    samples, frames = zip(*kept, strict=True)
    assert backend == "redimnet_fusion" or max(samples) <= 8000 + STRIDE
    assert (frames[-1] == 0) is isinstance(model.backend, RunningBackend)
    assert isinstance(model.backend, RunningBackend) is (backend in ("linear", "mean", "mhfa"))


def test_statistics_of_far_keys_do_not_overflow():
    model = build("mhfa")
    torch.nn.init.constant_(model.backend.attention.weight, 200.0)
    wav = noise(30_000)
    stream = StreamingEmbedder(model)
    stream.push(wav)
    row = stream.finish()
    assert torch.isfinite(row).all()
    torch.testing.assert_close(row, model.embed_cover([torch.from_numpy(wav)])[0], rtol=0, atol=1e-4)


def test_what_was_pushed_may_be_overwritten():
    model, wav, buffer = build(), noise(20_000), np.zeros(1000, dtype=np.float32)
    stream = StreamingEmbedder(model)
    for start in range(0, 20_000, 1000):
        buffer[:] = wav[start : start + 1000]
        stream.push(buffer)
    close(stream.finish(), model.embed_cover([torch.from_numpy(wav)])[0])


def test_silence_that_never_was():
    with pytest.raises(AudioError, match="empty audio: no sample was heard"):
        StreamingEmbedder(build()).finish()


def test_an_exported_model(student_dir, corpus, tmp_path):
    """It streams and extracts as its MODEL_DIR does."""
    pytest.importorskip("onnxruntime")
    from svtk.deploy.export import export
    from svtk.extract.embeddings import extract_embeddings
    from svtk.kaldi.tables import read_vectors
    from svtk.models.exported import open_embedder

    export(student_dir, str(tmp_path / "onnx"))
    model, wav = open_embedder(tmp_path / "onnx"), noise(23_456)
    stream = StreamingEmbedder(model)
    rows = [stream.push(wav[start : start + 777]) for start in range(0, len(wav), 777)]
    assert sum(row is not None for row in rows) > 1
    close(stream.finish(), model.embed_cover([torch.from_numpy(wav)])[0])
    for name, directory in (("own", student_dir), ("onnx", str(tmp_path / "onnx"))):
        extract_embeddings(directory, corpus.valid, f"ark:{tmp_path}/{name}.ark")
    own, exported = (read_vectors(f"ark:{tmp_path}/{name}.ark") for name in ("own", "onnx"))
    assert own[0] == exported[0]
    np.testing.assert_allclose(exported[1], own[1], rtol=0, atol=1e-4)
